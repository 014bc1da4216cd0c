"""What this host is, and why the scripts may have to stay off. Imports none of our packages that could be shadowed."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
SHARED_NAMES = ("tile_methods", "tile_utils")
"""Package names that the original extension uses too."""

SD_SIDE, SDXL_SIDE = 64, 128
"""Latent sides of the pictures that Stable Diffusion 1.x, and SDXL and SD3, were trained on."""


def problem() -> str | None:
    """One sentence that says why this extension cannot work here, or None."""
    for name in SHARED_NAMES:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None or not Path(spec.origin).resolve().is_relative_to(ROOT):
            place = spec.origin if spec else "nowhere"
            return (
                f"another extension brings a package '{name}' ({place}); remove or disable "
                "multidiffusion-upscaler-for-automatic1111 and restart. Tiled Diffusion and Tiled VAE stay off."
            )
    from modules import scripts

    hook = getattr(scripts.Script, "process_before_every_sampling", None)
    if hook is None or "kwargs" not in inspect.signature(hook).parameters:
        return "this WebUI is older than 1.10; Tiled Diffusion and Tiled VAE need 1.10 or newer and stay off."
    return None


def device_memory() -> int | None:
    """Total memory of the device that draws, in MiB; None where it is no GPU that tells."""
    from modules import devices

    device = devices.get_optimal_device()
    if device.type != "cuda":
        return None
    return torch.cuda.get_device_properties(device).total_memory // 2**20


def free_memory() -> int | None:
    """Memory of that device which is free, in MiB, torch's own cache included; None as above."""
    from modules import devices

    device = devices.get_optimal_device()
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return (free + cached) // 2**20


def bytes_per_number() -> int:
    """Size of the numbers that the UNet computes with."""
    from modules import devices

    return torch.empty(0, dtype=devices.dtype_unet).element_size()


def native_side() -> int | None:
    """Latent side of the pictures that the loaded checkpoint was trained on; None while none is loaded."""
    from modules import sd_models

    model = sd_models.model_data.sd_model
    if model is None:
        return None
    if getattr(model, "is_sdxl", False) or getattr(model, "is_sd3", False):
        return SDXL_SIDE
    return getattr(model, "image_size", SD_SIDE)
