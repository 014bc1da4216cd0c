"""What else is switched on and does not go together with tiles: told in the log and below the picture."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from modules import shared
from tile_utils.geometry import Box

logger = logging.getLogger("Tiled Diffusion")
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
NOT_SAMPLED = (
    "Another script draws in its own way and gives no pass to Tiled Diffusion: nothing was tiled, and no region was "
    "drawn."
)


def found(p: Any, canvas: Box, boxes: Sequence[Box]) -> Iterator[str]:
    """A sentence for each thing that spoils what is drawn of `canvas` in `boxes`, tiles and regions."""
    if _controlled(p):
        yield CONTROLNET
    if p.tiling:
        yield SEAMLESS
    if _hypertiled(p) and any(box.w * canvas.h != box.h * canvas.w for box in boxes):
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


def tell(p: Any, sentence: str) -> None:
    """Log it, once a generation, and let the host show it below the picture."""
    if sentence not in p.comments:
        logger.warning("%s", sentence)
        p.comment(sentence)
