"""The networks between pictures and latents."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from modules import sd_vae_approx
from tile_host.hosts.family.vae import checkpoint_followed as checkpoint_followed
from tile_host.hosts.forge.engine import engine
from tile_utils import patching
from tile_utils.surface import OPT_F

Estimate = Callable[[Sequence[int], Any], float]
"""(shape [B, C, h, w], dtype) -> bytes"""


def network(model: Any) -> Any:
    return model.forge_objects.vae.first_stage_model


@contextmanager
def counted_on(model: Any, encoder_side: int, decoder_side: int) -> Iterator[None]:
    """Of every VAE object of the checkpoint: the host takes now one, now another."""
    sets = (model.forge_objects, model.forge_objects_original, model.forge_objects_after_applying_lora)
    with ExitStack() as stack:
        for vae in {id(objects.vae): objects.vae for objects in sets}.values():
            for name, side in (("memory_used_encode", encoder_side), ("memory_used_decode", decoder_side)):
                stack.enter_context(patching.attribute(vae, name, _at_most(getattr(vae, name), side)))
        yield


def _at_most(estimate: Estimate, side: int) -> Estimate:
    def estimated(shape: Sequence[int], dtype: Any) -> float:
        height, width = (min(length, side) for length in shape[-2:])
        return estimate([*shape[:-2], height, width], dtype)

    return estimated


def approximation(model: Any, latent: Tensor) -> Tensor:
    colours = sd_vae_approx.cheap_approximation(engine.process_in(model, latent.float()))
    return F.interpolate(colours.to(latent), scale_factor=OPT_F, mode="nearest")
