"""Forge's and Neo's own: their package `backend`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from backend import memory_management, utils
from backend.misc import image_resize
from backend.sampling import condition
from backend.sampling.sampling_function import sampling_cleanup as sampling_cleanup
from backend.sampling.sampling_function import sampling_prepare as sampling_prepare
from tile_host.hosts.family.words import without_comments as without_comments

NAME = "Forge"
CONTROL: tuple[str, ...] = ("control", "control_model")
CALL: dict[str, Any] = {}


def compiled(text: Any) -> list[dict[str, Any]]:
    return condition.compile_conditions(text)


def load(unet: Any) -> None:
    memory_management.load_models_gpu([unet])


def take_over(unet: Any, other: Any) -> None:
    if not hasattr(unet, "refresh_loras"):  # Neo, as ComfyUI: loading compares what is merged
        unet.patches, unet.patches_uuid = other.patches, other.patches_uuid
        load(unet)
        return
    unet.lora_patches = other.lora_patches
    unet.refresh_loras()
    if unet.has_online_lora():
        dtype = unet.model.computation_dtype
        utils.nested_move_to_device(unet.lora_patches, device=unet.current_device, dtype=dtype)


def told(told: dict[str, Any], chunks: Sequence[int], marks: Sequence[int]) -> dict[str, Any]:
    return {
        **told,
        "cond_mark": torch.tensor(marks).to(told["sigmas"]),
        "cond_indices": [index for index, mark in enumerate(marks) if not mark],
        "uncond_indices": [index for index, mark in enumerate(marks) if mark],
    }


def said(nets: Sequence[Any], x: Tensor, t: Tensor, cond: dict[str, Any]) -> Any:
    told = cond["transformer_options"]
    for net in nets:
        net.transformer_options = told
    return nets[0].get_control(x, t, cond, len(told["cond_or_uncond"]))


def fitted(hint: Tensor, width: int, height: int) -> Tensor:
    return image_resize.adaptive_resize(hint, width, height, "nearest-exact", "center")


def schedule(model: Any) -> Any:
    return model.predictor


def kept(model: Any, latent: Tensor, sigma: Tensor) -> Tensor:
    return model.predictor.noise_scaling(sigma, torch.zeros_like(latent), latent.clone())


def predicts_v(checkpoint: Any) -> bool:
    return bool(checkpoint.forge_objects.unet.model.predictor.prediction_type == "v_prediction")


def dtype(model: Any) -> torch.dtype:
    return model.computation_dtype


def process_in(checkpoint: Any, latent: Tensor) -> Tensor:
    return checkpoint.forge_objects.vae.first_stage_model.process_in(latent)


def text_settings(p: Any) -> dict[str, Any]:
    return {"distilled_cfg_scale": p.hr_distilled_cfg if p.is_hr_pass else p.distilled_cfg_scale}
