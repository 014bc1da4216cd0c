"""What depends on a picture's size is a tile's: SDXL's size conditions, and schedules."""

import diffusers
import pytest
import torch
from diffusers.pipelines.flux2.pipeline_flux2 import compute_empirical_mu

from tests import diffusers_models as models
from tile_diffusers import tiled_diffusion
from tile_diffusers.schedule import of_tile


def stop(pipe, step, time, tensors):
    pipe._interrupt = True
    return tensors


def sigmas(pipe, side, **call):
    """What the scheduler is set up for."""
    pipe(
        height=side,
        width=side,
        num_inference_steps=28,
        callback_on_step_end=stop,
        output_type="latent",
        generator=torch.Generator().manual_seed(0),
        **call,
    )
    return pipe.scheduler.sigmas.clone()


def flux():
    return models.flux(net=models.flux_net(models.PointFlux)), models.flux_words()


def sd3():
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(**models.FLUX_SCHEDULE)
    return models.sd3(net=models.sd3_net(models.PointSD3), scheduler=scheduler), models.sd3_words()


@pytest.mark.parametrize("make", [flux, sd3])
def test_a_large_picture_has_the_schedule_of_one_tile(make):
    pipe, words = make()
    one, large = sigmas(pipe, 1024, **words), sigmas(pipe, 4096, **words)
    assert large[-2] > 0.99 > 0.2 > one[-2]
    with tiled_diffusion(pipe, tile=1024, overlap=128):
        assert torch.equal(sigmas(pipe, 4096, **words), one)
        assert torch.equal(sigmas(pipe, 1024, **words), one)
    assert torch.equal(sigmas(pipe, 4096, **words), large)


def test_a_schedule_of_ones_own_stays():
    pipe, words = sd3()
    own = sigmas(pipe, 2048, mu=0.7, **words)
    with tiled_diffusion(pipe, tile=1024, overlap=128):
        assert torch.equal(sigmas(pipe, 2048, mu=0.7, **words), own)


@pytest.mark.parametrize("steps", [4, 28, 50])
@pytest.mark.parametrize("canvas", [4096, 65536])
def test_flux_2_has_a_formula_of_its_own(steps, canvas):
    mu = of_tile(compute_empirical_mu(canvas, steps), (canvas, 1024), steps, {})
    assert mu == pytest.approx(compute_empirical_mu(1024, steps), abs=1e-9)


class Sizes(models.PointUNet):
    def forward(self, sample, timestep, encoder_hidden_states, added_cond_kwargs=None, **call):
        self.told = [*getattr(self, "told", []), added_cond_kwargs["time_ids"]]
        return super().forward(sample, timestep, encoder_hidden_states, **call)


def told_sizes(pipe, **options):
    pipe.unet.told = []
    with tiled_diffusion(pipe, tile=(128, 64), overlap=16, batch_size=2, **options):
        pipe("sea", width=256, height=192, num_inference_steps=1, output_type="latent")
    return {tuple(row) for ids in pipe.unet.told for row in ids.tolist()}


def test_sdxl_is_told_the_size_of_a_tile():
    pipe = models.sdxl(net=models.unet(Sizes, **models.XL))
    assert told_sizes(pipe) == {(64, 128, 0, 0, 64, 128)}
    assert told_sizes(pipe, size_condition="canvas") == {(192, 256, 0, 0, 192, 256)}


def test_the_refiner_keeps_its_score():
    config = {**models.XL, "projection_class_embeddings_input_dim": 8 * 5 + 32}
    pipe = models.sdxl(
        diffusers.StableDiffusionXLImg2ImgPipeline,
        models.unet(Sizes, **config),
        requires_aesthetics_score=True,
    )
    pipe.unet.told = []
    with tiled_diffusion(pipe, tile=64, overlap=16):
        pipe(
            "sea", image=torch.rand(1, 3, 128, 128), num_inference_steps=2, strength=0.6, output_type="latent"
        )
    rows = {tuple(row) for ids in pipe.unet.told for row in ids.tolist()}
    assert rows == {(64, 64, 0, 0, 6), (64, 64, 0, 0, 2.5)}
