"""Passes that the host has no words for: a picture of another size first, and passes that start at a noise level."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from modules import devices, processing, prompt_parser, rng, sd_models, sd_samplers, shared
from modules.sd_samplers_common import approximation_indexes, images_tensor_to_samples
from tile_methods.stages import Size, cut, cut_timesteps
from tile_utils import patching
from tile_utils.settings import SettingsError
from tile_utils.surface import OPT_F


@contextmanager
def sized(p: Any, size: Size) -> Iterator[None]:
    """Inside, the generation is one of this size: with a sampler, noise and conditions of its own, of the checkpoint
    that it has begun with (a refiner may have left another)."""
    with sd_models.SkipWritingToConfig():
        sd_models.reload_model_weights()
    channels = getattr(shared.sd_model, "latent_channels", 4)
    names = ("subseeds", "subseed_strength", "seed_resize_from_h", "seed_resize_from_w")
    noise = rng.ImageRNG(
        (channels, size.height, size.width), p.seeds, **{name: getattr(p, name) for name in names}
    )
    sampler = sd_samplers.create_sampler(p.sampler_name, p.sd_model)
    values = {"width": size.width * OPT_F, "height": size.height * OPT_F, "rng": noise, "sampler": sampler}
    with ExitStack() as stack:
        for name, value in {**values, "c": p.c, "uc": p.uc}.items():
            stack.enter_context(patching.attribute(p, name, value))
        p.setup_conds()
        yield


def sampled(p: Any) -> Tensor:
    """A pass from noise alone, as the host's first one. [B, C, h, w]"""
    x = p.rng.next()
    _announce(p, x, x)
    return p.sampler.sample(p, x, p.c, p.uc, image_conditioning=p.txt2img_image_conditioning(x))


def resampled(p: Any, latent: Tensor, sigma: float) -> Tensor:
    """A pass from a latent with noise of the level `sigma`, down the rest of the user's schedule. [B, C, h, w]

    Raises:
        SettingsError: the sampler has no schedule that can be entered.
    """
    noise = p.rng.next()
    with ExitStack() as stack:
        steps, left_out = stack.enter_context(_entered(p, sigma))
        stack.enter_context(patching.attribute(p, "denoising_strength", 1.0))
        stack.enter_context(patching.attribute(p, "c", _later(p.c, left_out)))
        stack.enter_context(patching.attribute(p, "uc", [_rest(each, left_out) for each in p.uc]))
        _announce(p, latent, noise)
        conditioning = p.txt2img_image_conditioning(latent)
        return p.sampler.sample_img2img(
            p, latent, noise, p.c, p.uc, steps=steps, image_conditioning=conditioning
        )


def entry(p: Any, sigma: float) -> tuple[int, int]:
    """(steps of such a pass by the sampler that `p` has now, model calls of the whole schedule before it)."""
    with _entered(p, sigma) as found:
        return found


def decoded(p: Any, latent: Tensor) -> Tensor:
    """Pictures [B, 3, H, W], 0 … 1."""
    found = processing.decode_latent_batch(p.sd_model, latent, target_device=devices.cpu, check_for_nans=True)
    return ((torch.stack(list(found)).float() + 1) / 2).clamp(0, 1)


def encoded(p: Any, pictures: Tensor) -> Tensor:
    """The latents of pictures [B, 3, H, W], 0 … 1."""
    method = approximation_indexes.get(getattr(shared.opts, "sd_vae_encode_method", "Full"))
    return images_tensor_to_samples(pictures.to(shared.device, devices.dtype_vae), method, p.sd_model)


def _announce(p: Any, x: Tensor, noise: Tensor) -> None:
    if p.scripts is not None:
        p.scripts.process_before_every_sampling(p=p, x=x, noise=noise, c=p.c, uc=p.uc)


def _order(p: Any) -> int:
    """Model calls of a step."""
    return p.sampler.config.total_steps(1)


@contextmanager
def _entered(p: Any, sigma: float) -> Iterator[tuple[int, int]]:
    """Inside, img2img's part of the sampler's schedule is what follows `sigma`: (steps, model calls before that)."""
    sampler = p.sampler
    if hasattr(sampler, "get_timesteps"):
        alphas = shared.sd_model.alphas_cumprod
        levels = ((1 - alphas) / alphas).sqrt()
        whole = sampler.get_timesteps(p, p.steps)
        entered = cut_timesteps(whole, levels.to(whole.device), sigma)
        # The host noises to the timestep after the first that is drawn; here they are the same.
        entered = torch.cat([entered, entered[-1:]])
        name, steps, drawn = "get_timesteps", len(entered), len(entered) - 1
    elif hasattr(sampler, "get_sigmas"):
        flow = hasattr(
            shared.sd_model, "add_noise_to_latent"
        )  # SD3's latents fade out as their noise comes in
        whole = sampler.get_sigmas(p, p.steps)
        entered = cut(whole, sigma / (1 + sigma) if flow else sigma)
        name, steps, drawn = "get_sigmas", len(entered) - 1, len(entered) - 1
    else:
        raise SettingsError(
            f"Tiled Diffusion: 'Composition first' is on and the sampler '{p.sampler_name}' has no noise levels that "
            "a stage could start from; choose another one."
        )
    with patching.attribute(sampler, name, lambda *_args, **_kwargs: entered):
        yield steps, max(0, p.steps - drawn) * _order(p)


def _rest(schedule: Sequence[Any], calls: int) -> list[Any]:
    """What of a prompt's schedule is left after this many model calls, counted from there."""
    left = [part for part in schedule if part.end_at_step >= calls] or [schedule[-1]]
    return [prompt_parser.ScheduledPromptConditioning(part.end_at_step - calls, part.cond) for part in left]


def _later(conds: Any, calls: int) -> Any:
    """The same of every part of the positive prompts."""
    batch = [
        [
            prompt_parser.ComposableScheduledPromptConditioning(_rest(part.schedules, calls), part.weight)
            for part in parts
        ]
        for parts in conds.batch
    ]
    return prompt_parser.MulticondLearnedConditioning(shape=conds.shape, batch=batch)
