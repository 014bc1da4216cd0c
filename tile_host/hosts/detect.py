"""Why the scripts may have to stay off. Asked first: imports none of our packages, which could be shadowed."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
FORGE, REFORGE, A1111 = "Forge", "reForge", "AUTOMATIC1111 WebUI"
SHARED_NAMES = ("tile_methods", "tile_utils")
"""Package names that the original extension uses too."""


def host_name() -> str | None:
    """Which of the hosts this is, or None where it is another."""
    if _is_there("modules_forge"):  # a fork of the WebUI
        forks = {FORGE: "backend.patcher", REFORGE: "ldm_patched.modules.patcher_extension"}
        return next((name for name, module in forks.items() if _is_there(module)), None)
    return A1111 if _is_there("modules.sd_hijack_clip") else None


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even its package
        return False


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
    if host_name() is None:
        return (
            "this WebUI is none of AUTOMATIC1111's, Forge, Forge Neo and reForge; "
            "Tiled Diffusion and Tiled VAE stay off."
        )
    return None
