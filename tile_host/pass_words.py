"""What is said of a sampling pass: to the log, and to the user."""

from __future__ import annotations

import logging
from typing import Any

from torch import Tensor

from tile_host.door import host
from tile_host.passes import Pass
from tile_utils.settings import SettingsError, TiledDiffusionSettings
from tile_utils.surface import OPT_F

logger = logging.getLogger("Tiled Diffusion")
PLANE = 4
"""Axes of a latent: [B, C, H, W]"""
LATENT = (
    "Tiled Diffusion: this model's latent has {} axes and {} image pixels to a latent one; allowed are models with 4 "
    "axes and 8 pixels (Stable Diffusion, SDXL, Flux and their like). Switch Tiled Diffusion off."
)
EVEN = 8
"""Latent pixels: UNets halve a picture three times at most, and a side that cannot be halved does not meet itself."""
UNEVEN = (
    "Seamless: the picture's {} is {} pixels, and one tile covers it, so that its edges may not join exactly; allowed "
    "are multiples of {}, or smaller tiles."
)


def check_latent(x: Tensor) -> None:
    """Raises SettingsError for what is no plane of latent pixels of 8 x 8 image pixels."""
    factor = host.facts.latent_factor()
    if x.ndim != PLANE or factor != OPT_F:
        raise SettingsError(LATENT.format(x.ndim, factor))


def log_pass(name: str, drawn: Pass, settings: TiledDiffusionSettings) -> None:
    """What is drawn, and in what, into the log."""
    layout = drawn.layout
    size = f"{layout.surface.width}x{layout.surface.height}"
    if layout.whole:
        tile = f"{settings.tile_width}x{settings.tile_height}"
        logger.info(
            "%s not tiled: one tile of %s covers the canvas of %s (latent).",
            name.capitalize(),
            tile,
            size,
        )
        return
    down, across = layout.grid.down, layout.grid.across
    logger.info(
        "%s: canvas %s (latent), %dx%d tiles of %dx%d, overlap %s%s, %d regions, %d batches a step, %s.",
        name.capitalize(),
        size,
        across.count,
        down.count,
        across.tile,
        down.tile,
        "x".join(str(overlap) for overlap in dict.fromkeys((across.overlap, down.overlap))),
        (", shifted every step" if layout.shift else "")
        + (", seamless" if any(layout.surface.wraps) else ""),
        len(layout.regions),
        drawn.batches,
        layout.method,
    )
    if layout.needed is not None:
        logger.info("The mask keeps %.0f%% of the canvas.", 100 * (1 - layout.needed.float().mean()))
    if drawn.fills_in:
        logger.info("What no background region covers is drawn with the main prompt.")


def warn_of(p: Any, drawn: Pass) -> None:
    """Tell the user what of this pass may not come out as wished."""
    layout = drawn.layout
    sizes = [
        (layout.grid.down.tile, layout.grid.across.tile),
        *((w.h, w.w) for w in drawn.windows.values()),
    ]
    surface = layout.surface
    for sentence in host.facts.warnings(p, all(w * surface.height == h * surface.width for h, w in sizes)):
        host.job.tell(p, sentence)
    for name, side, tile, joined_there in (
        ("height", surface.height, layout.grid.down.tile, surface.wraps[0]),
        ("width", surface.width, layout.grid.across.tile, surface.wraps[1]),
    ):
        if joined_there and tile == side and side % EVEN:
            host.job.tell(p, UNEVEN.format(name, side * OPT_F, EVEN * OPT_F))
