"""What SDXL is told about the picture's size, for each tile the tile's own."""

from __future__ import annotations

from typing import Any

from tile_utils.surface import Surface, Window


def for_window(told: dict[str, Any], window: Window, surface: Surface, unit: int) -> dict[str, Any]:
    """The condition with `time_ids` [rows, 6] of a picture of the window's size: (original height and width, top and
    left, target height and width), or [rows, 5] of the refiner, whose last is its score.

    Args:
        unit: pixels of the picture per latent pixel.
    """
    added = told.get("added_cond_kwargs")
    whole = (window.h, window.w) == (surface.height, surface.width)
    if whole or not isinstance(added, dict) or added.get("time_ids") is None:
        return told
    ids = added["time_ids"].clone()
    size = ids.new_tensor([window.h * unit, window.w * unit])
    ids[:, :2], ids[:, 2:4] = size, 0
    if ids.shape[1] == 6:
        ids[:, 4:] = size
    return {**told, "added_cond_kwargs": {**added, "time_ids": ids}}
