"""What each patch is told in the place of what the canvas is told: its own words, and its own size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tile_diffusers import sizes
from tile_diffusers.words import Words
from tile_methods.patch import Batch
from tile_utils.surface import Surface


class Telling:
    """Tells each patch its own words and sizes, in the place of the canvas'.

    Args:
        unit: pixels of the picture per latent pixel, or None where patches are told the canvas' size.
    """

    def __init__(self, words: Words, surface: Surface, unit: int | None) -> None:
        self._words, self._surface, self._unit = words, surface, unit

    def of(self, cond: dict[str, Any], rows: int) -> Callable[[Batch, dict[str, Any]], dict[str, Any]]:
        """How to tell the patches of a batch, from what they were told by cutting this condition of `rows` rows."""
        found = self._words.find(cond, rows)

        def tell(batch: Batch, told: dict[str, Any]) -> dict[str, Any]:
            told = self._words.tell(batch.patches, told, found)
            if self._unit is None:
                return told
            return sizes.for_window(told, batch.windows[0], self._surface, self._unit)

        return tell
