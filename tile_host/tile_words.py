"""Words for each tile in the host: its interrogators look at what lies under every tile."""

from __future__ import annotations

import logging
from typing import Any

from PIL import Image
from torch import Tensor

from tile_host.door import host
from tile_host.pixels import as_image
from tile_utils.grid import Grid
from tile_utils.prompt_text import AND
from tile_utils.settings import SettingsError
from tile_utils.surface import OPT_F, Surface, read
from tile_utils.tile_words import Spot

logger = logging.getLogger("Tiled Diffusion")
FAILED = "Words for each tile: {} could not say what {} of the tiles show; these keep the main prompt."
NONE_THERE = "this host has none"


def check_interrogator(name: str) -> str:
    """Its name as the host has it. Raises SettingsError for one that the host does not have."""
    known = host.pictures.interrogators()
    found = next((own for own in known if own.lower() == name.lower()), None)
    if found is None:
        raise SettingsError(
            f"Tiled Diffusion: 'Words for each tile' is '{name}'; allowed are places with their words, or an "
            f"interrogator: {', '.join(known) or NONE_THERE}."
        )
    return found


def looked_at(p: Any, name: str, pictures: Tensor, grid: Grid) -> tuple[Spot, ...]:
    """What an interrogator says of the tiles of pictures [B, 3, H, W], 0 … 1.

    A tile of which it says nothing keeps the main prompt; an interrupt ends the looking.
    """
    height, width = (side // OPT_F for side in pictures.shape[-2:])
    surface = Surface(height, width)
    found: list[Spot] = []
    failed = 0
    for number, window in enumerate(grid.windows, 1):
        if host.job.interrupted():
            break
        host.job.report(f"Words for each tile: {number} of {len(grid)}")
        said = []
        for picture in pictures:
            part = read(picture, window, surface, OPT_F)
            text = _said(name, as_image(part))
            failed += text is None
            said.append(text or "")
        found.append(Spot((window.x + window.w / 2) / width, (window.y + window.h / 2) / height, tuple(said)))
    host.job.report(None)
    if failed:
        host.job.tell(p, FAILED.format(name, failed))
    return tuple(found)


def _said(name: str, picture: Image.Image) -> str | None:
    """None where the interrogator fails; the host says why in its own log."""
    try:
        text = host.pictures.caption(name, picture)
    except Exception as error:  # of whatever network it is
        logger.warning("%s: %s", name, error)
        return None
    return None if text is None else AND.sub("and", text)
