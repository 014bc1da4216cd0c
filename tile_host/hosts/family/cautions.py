"""What else is switched on and does not go together with tiles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from modules import shared

CONTROLNET = (
    "ControlNet is on: it fits its whole picture into every tile, and each tile is drawn as if it were all of the "
    "picture."
)
SEAMLESS = (
    "'Tiling' is on: every tile is joined to itself, so that the picture is not seamless; "
    "allowed is 'Tiling' or Tiled Diffusion."
)
HYPERTILE = (
    "Hypertile is on: it scrambles tiles and regions of another aspect ratio than the picture's; switch it off, "
    "or give tiles the picture's aspect ratio."
)


def warnings(p: Any, same_aspect: bool) -> Iterator[str]:
    if _controlled(p):
        yield CONTROLNET
    if p.tiling:
        yield SEAMLESS
    if _hypertiled(p) and not same_aspect:
        yield HYPERTILE


def _controlled(p: Any) -> bool:
    """Has sd-webui-controlnet hooked the UNet for this generation?"""
    networks = (getattr(script, "latest_network", None) for script in p.scripts.alwayson_scripts)
    return any(getattr(network, "control_params", None) for network in networks)


def _hypertiled(p: Any) -> bool:
    names = ["hypertile_enable_unet"]
    if getattr(p, "is_hr_pass", False):
        names.append("hypertile_enable_unet_secondpass")
    return any(getattr(shared.opts, name, False) for name in names)
