"""What the host, its device and its checkpoint are."""

from __future__ import annotations

import gc
from collections.abc import Hashable

import torch

from modules import devices, sd_models, shared
from tile_host.hosts.family.cautions import warnings as warnings
from tile_methods.vae.memory import PINNED
from tile_utils.surface import OPT_F

SD_SIDE, SD2_V_SIDE, SDXL_SIDE = 64, 96, 128
"""Latent sides of the pictures that Stable Diffusion 1.x, 2.x with v prediction, and SDXL and SD3, were trained on."""
MULTIPLES = [OPT_F * 2**power for power in range(8)]


def device() -> torch.device:
    return devices.device


def device_memory() -> int | None:
    drawing = devices.get_optimal_device()
    if drawing.type != "cuda":
        return None
    return torch.cuda.get_device_properties(drawing).total_memory // 2**20


def free_memory() -> int | None:
    drawing = devices.get_optimal_device()
    if drawing.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(drawing)
    cached = torch.cuda.memory_reserved(drawing) - torch.cuda.memory_allocated(drawing)
    return (free + cached) // 2**20


def free_gpu() -> str:
    gc.collect()
    devices.torch_gc()
    PINNED.give_back()
    gc.collect()
    return "Caches dropped, unused memory given back."


def collect() -> None:
    devices.torch_gc()


def bytes_per_number() -> int:
    return torch.empty(0, dtype=devices.dtype_unet).element_size()


def native_side() -> int | None:
    model = sd_models.model_data.sd_model
    if model is None:
        return None
    if getattr(model, "is_sdxl", False) or getattr(model, "is_sd3", False):
        return SDXL_SIDE
    if getattr(model, "is_sd2", False) and getattr(model, "parameterization", "eps") == "v":
        return SD2_V_SIDE  # its configuration says 64 all the same
    return getattr(model, "image_size", SD_SIDE)


def size_multiple() -> int:
    fix = getattr(shared.sd_model, "fix_dimensions", None)  # SD3's patches
    if fix is None:
        return OPT_F
    return next(multiple for multiple in MULTIPLES if tuple(fix(multiple, multiple)) == (multiple, multiple))


def latent_factor() -> int:
    return OPT_F


def checkpoint() -> Hashable:
    info = shared.sd_model.sd_checkpoint_info
    return info.filename, shared.sd_model.sd_model_hash
