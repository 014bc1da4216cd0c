"""Boxes on a canvas, and the regular grid of tiles that covers it. All sizes are integers, in latent pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import TypeVar

OPT_F = 8
"""Pixels of the image per latent pixel."""
MIN_STRIDE = 4
"""Smallest step from one tile to the next, in latent pixels; bounds the number of tiles."""


@dataclass(frozen=True)
class Box:
    """An axis-parallel rectangle: left edge `x`, top edge `y`, width `w`, height `h`."""

    x: int
    y: int
    w: int
    h: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slices, for the last two axes of a tensor."""
        return slice(self.y, self.y + self.h), slice(self.x, self.x + self.w)


@dataclass(frozen=True)
class Grid:
    """Evenly spread tiles of one size that cover a canvas.

    `tile_w`, `tile_h` and `overlap` are the sizes really used: capped by the canvas, clamped to leave a stride.
    """

    tile_w: int
    tile_h: int
    overlap: int
    cols: int
    rows: int
    boxes: tuple[Box, ...]

    @property
    def canvas(self) -> tuple[int, int]:
        """Height and width of what the tiles cover."""
        return max(box.y + box.h for box in self.boxes), max(box.x + box.w for box in self.boxes)


def region_box(
    x: float, y: float, w: float, h: float, width: int, height: int, multiple: int = 1
) -> Box | None:
    """The latent box of a region given in fractions of a canvas of `width` x `height` latent pixels.

    Left and top round down, sizes round up, both to a `multiple` (of the canvas' sides too), and the box is cut at the
    canvas' edges; None where nothing is left of it.
    """

    def down(position: float) -> int:
        return max(0, int(position) // multiple * multiple)

    def up(size: float) -> int:
        return ceil(ceil(size) / multiple) * multiple

    left, top = down(x * width), down(y * height)
    right, bottom = min(width, left + up(w * width)), min(height, top + up(h * height))
    if left >= right or top >= bottom:
        return None
    return Box(left, top, right - left, bottom - top)


def _starts(length: int, tile: int, count: int) -> list[int]:
    """First pixel of each of `count` tiles spread evenly over `length` pixels."""
    if count == 1:
        return [0]
    return [min(int(i * (length - tile) / (count - 1)), length - tile) for i in range(count)]


def make_grid(width: int, height: int, tile_w: int, tile_h: int, overlap: int) -> Grid:
    """The grid of a canvas of `width` x `height` latent pixels.

    Tiles are capped by the canvas; neighbours overlap by at least `overlap`, which is clamped to
    0 ... min(tile) - MIN_STRIDE.

    Raises:
        ValueError: a size is not positive.
    """
    if min(width, height, tile_w, tile_h) < 1:
        raise ValueError(f"sizes must be positive: canvas {width}x{height}, tile {tile_w}x{tile_h}")
    tile_w, tile_h = min(tile_w, width), min(tile_h, height)
    overlap = max(0, min(overlap, min(tile_w, tile_h) - MIN_STRIDE))
    cols = max(1, ceil((width - overlap) / (tile_w - overlap)))
    rows = max(1, ceil((height - overlap) / (tile_h - overlap)))
    boxes = tuple(
        Box(x, y, tile_w, tile_h) for y in _starts(height, tile_h, rows) for x in _starts(width, tile_w, cols)
    )
    return Grid(tile_w, tile_h, overlap, cols, rows, boxes)


T = TypeVar("T")


def split_evenly(boxes: Sequence[T], batch_size: int) -> list[Sequence[T]]:
    """Batches of at most `batch_size` boxes, as few as possible and as even as possible."""
    if not boxes:
        return []
    batches = ceil(len(boxes) / batch_size)
    size = ceil(len(boxes) / batches)
    return [boxes[i : i + size] for i in range(0, len(boxes), size)]
