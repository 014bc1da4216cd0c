"""What the host, its device and its checkpoint are."""

from __future__ import annotations

from modules import sd_models, shared
from tile_host.hosts.family.facts import SD2_V_SIDE, SD_SIDE, SDXL_SIDE
from tile_host.hosts.family.facts import checkpoint as checkpoint
from tile_host.hosts.family.facts import collect as collect
from tile_host.hosts.family.facts import device as device
from tile_host.hosts.family.facts import device_memory as device_memory
from tile_host.hosts.family.facts import free_gpu as free_gpu
from tile_host.hosts.family.facts import free_memory as free_memory
from tile_host.hosts.family.facts import warnings as warnings
from tile_host.hosts.forge.engine import engine
from tile_utils.surface import OPT_F

PATCH = 2
"""Latent pixels a side of what transformers take for one token."""


def bytes_per_number() -> int:
    return engine.dtype(shared.sd_model.forge_objects.unet.model).itemsize


def latent_factor() -> int:
    ratio = shared.sd_model.forge_objects.vae.downscale_ratio
    return int(ratio[-1] if isinstance(ratio, tuple) else ratio)  # of videos: (time, height, width)


def native_side() -> int | None:
    model = sd_models.model_data.sd_model
    if getattr(model, "forge_objects", None) is None:  # a stand-in until the first picture is drawn
        return None
    if model.is_sd1:
        return SD_SIDE
    if model.is_sd2:
        return SD2_V_SIDE if engine.predicts_v(model) else SD_SIDE
    return SDXL_SIDE


def size_multiple() -> int:
    model = shared.sd_model
    return OPT_F if model.is_sd1 or model.is_sd2 or model.is_sdxl else OPT_F * PATCH
