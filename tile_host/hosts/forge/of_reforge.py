"""reForge's own: its package `ldm_patched`, a later ComfyUI's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ldm_patched.modules import model_management
from ldm_patched.modules.utils import common_upscale
from modules.processing_scripts.comments import strip_comments
from modules_forge.forge_sampler import cond_from_a1111_to_patched_ldm
from modules_forge.forge_sampler import sampling_cleanup as sampling_cleanup
from modules_forge.forge_sampler import sampling_prepare as sampling_prepare

NAME = "reForge"
CONTROL: tuple[str, ...] = ("control",)
IDS = "uuids"
"""What the host tells of a call: one for each chunk."""
CALL: dict[str, Any] = {IDS: [0]}


def compiled(text: Any) -> list[dict[str, Any]]:
    return cond_from_a1111_to_patched_ldm(text)


def load(unet: Any) -> None:
    model_management.load_models_gpu([unet])


def take_over(unet: Any, other: Any) -> None:
    unet.patches, unet.patches_uuid = other.patches, other.patches_uuid
    load(unet)  # compares what is merged


def told(told: dict[str, Any], chunks: Sequence[int], marks: Sequence[int]) -> dict[str, Any]:
    return {**told, IDS: [told[IDS][chunk] for chunk in chunks]}


def said(nets: Sequence[Any], x: Tensor, t: Tensor, cond: dict[str, Any]) -> Any:
    told = cond["transformer_options"]
    return nets[0].get_control(x, t, cond, len(told["cond_or_uncond"]), told)


def fitted(hint: Tensor, width: int, height: int) -> Tensor:
    return common_upscale(hint, width, height, "nearest-exact", "center")


def schedule(model: Any) -> Any:
    return model.model_sampling


def kept(model: Any, latent: Tensor, sigma: Tensor) -> Tensor:
    return latent


def predicts_v(checkpoint: Any) -> bool:
    return getattr(checkpoint, "parameterization", "eps") == "v"


def dtype(model: Any) -> torch.dtype:
    return model.manual_cast_dtype or model.get_dtype()


def process_in(checkpoint: Any, latent: Tensor) -> Tensor:
    return checkpoint.forge_objects.unet.model.model_config.latent_format.process_in(latent)


def without_comments(prompt: str) -> str:
    return strip_comments(prompt)


def text_settings(p: Any) -> dict[str, Any]:
    return {}
