"""The networks between pictures and latents."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from modules import sd_models, sd_vae_approx
from tile_utils import patching
from tile_utils.surface import OPT_F


@contextmanager
def checkpoint_followed(found: Callable[[Any], None]) -> Iterator[None]:
    """The host has no hook for checkpoints that it held in memory."""

    def following(host: Callable[..., None]) -> Callable[..., None]:
        def set_sd_model(model: Any, *args: Any, **kwargs: Any) -> None:
            host(model, *args, **kwargs)
            if model is not None:
                found(model)

        return set_sd_model

    with patching.wrapped(sd_models.model_data, "set_sd_model", following):
        yield


def network(model: Any) -> Any:
    return model.first_stage_model


def counted_on(model: Any, encoder_side: int, decoder_side: int) -> AbstractContextManager[None]:
    """The WebUI makes no room beforehand."""
    return nullcontext()


def approximation(model: Any, latent: Tensor) -> Tensor:
    latent_format = getattr(model, "latent_format", None)  # SD3
    sampled = latent.float()  # the host's coefficients are float32, whatever the latent is
    sampled = sampled * model.scale_factor if latent_format is None else latent_format.process_in(sampled)
    colours = sd_vae_approx.cheap_approximation(sampled)
    return F.interpolate(colours.to(latent), scale_factor=OPT_F, mode="nearest")
