"""Pipelines that ranks draw with, in tests; each is given the group and returns what can be sent back."""

from contextlib import contextmanager

import torch

from tests import diffusers_models as models
from tests.rank_work import rank_of
from tile_diffusers import Region, tiled_diffusion, tiled_vae

CASES = {
    "SD": (models.sd, {"prompt": "sea, day", "negative_prompt": "fog"}),
    "Flux": (models.flux, models.flux_words()),
}


@contextmanager
def drawing(group, case):
    """What draws a picture of six tiles, and one region. [1, 3, 192, 320]"""
    make, words = CASES[case]
    pipe = make()
    region = Region(40, 30, 120, 100, foreground=True)

    def draw(callback=None, seed=1):
        return pipe(
            **words,
            width=320,
            height=192,
            num_inference_steps=3,
            generator=torch.Generator().manual_seed(seed),
            output_type="pt",
            callback_on_step_end=callback,
        ).images

    with (
        tiled_diffusion(pipe, tile=128, overlap=32, batch_size=2, regions=[region], group=group),
        tiled_vae(pipe.vae, tile_size=8, group=group),
    ):
        yield draw


def drawn(group, case, callback=None, seed=1):
    with drawing(group, case) as draw:
        return draw(callback, seed)


def drawn_again(group):
    """(what the first one ends with where rank 1 fails, the second picture), in one `with`"""
    with drawing(group, "SD") as draw:
        try:
            draw(raising if rank_of(group) == 1 else None)
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        return said, draw()


def drawn_until(group, callback, seeds=(1, 1)):
    """What a drawing ends with, in words, where rank 1 has this callback."""
    rank = rank_of(group)
    try:
        drawn(group, "SD", callback if rank == 1 else None, seeds[rank])
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def told_by_denoiser(group, return_dict):
    """(is it a tuple?, what the denoiser says) about two tiles, asked as pipelines ask that want `.sample`."""
    pipe = models.sd()
    with torch.no_grad(), tiled_diffusion(pipe, tile=128, overlap=0, group=group):
        out = pipe.unet(models.noise(2, 4, 16, 32), 500, models.noise(2, 77, 32), return_dict=return_dict)
    return isinstance(out, tuple), out.sample if return_dict else out[0]


def raising(pipe, step, timestep, kwargs):
    raise OSError("no such file")


def interrupting(pipe, step, timestep, kwargs):
    pipe._interrupt = True
    return kwargs
