"""The regular grid of tiles that covers a canvas, and where a region lies. Sizes are integers, in latent pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import ceil, floor, prod
from typing import TypeVar

from tile_utils.surface import Surface, Window

MIN_STRIDE = 4
"""Smallest step from one tile to the next, in latent pixels; bounds the number of tiles."""
ROUNDING = 1e-6
"""Of positions on the canvas, in latent pixels."""
REACH = 0.25
"""How far, in tiles, borders must be able to move, or half a step from tile to tile."""
GOLDEN, SILVER = (5**0.5 - 1) / 2, 2**0.5 - 1
"""Multiples of these, modulo 1, are spread most evenly, however many there are: no fraction comes near them."""


@dataclass(frozen=True)
class Span:
    """A tile along one axis: its first pixel, and how many pixels further on than wanted that is, since it has to lie
    on the canvas. It counts only where it was wanted."""

    start: int
    moved: int


@dataclass(frozen=True)
class Axis:
    """Tiles of one size along one side of a canvas: as few as cover `length`, evenly spread, on a circle if it `wraps`.

    `tile` and `overlap` are what is really used; see `make_axis`.
    """

    length: int
    tile: int
    overlap: int
    wraps: bool = False

    @property
    def count(self) -> int:
        if self.tile == self.length:
            return 1
        joins = 0 if self.wraps else self.overlap  # on a circle the last tile overlaps the first
        return ceil((self.length - joins) / (self.tile - self.overlap))

    @property
    def steps(self) -> tuple[int, int]:
        """(pixels that the tiles' starts are spread over, how many steps there are from tile to tile on these)."""
        return (self.length, self.count) if self.wraps else (self.length - self.tile, self.count - 1)

    @property
    def shifted_count(self) -> int:
        """How many tiles cover it while they shift: where it has ends, as few as let their borders walk `REACH`."""
        room, stride = self.length - self.tile, self.tile - self.overlap
        if self.wraps or not room:
            return self.count
        return ceil((room + min(self.tile * REACH, stride / 2)) / stride) + 1

    def start(self, index: int) -> int:
        """First pixel of tile `index`."""
        pixels, steps = self.steps
        return index * pixels // max(1, steps)

    def shifted(self, phase: float, multiple: int = 1) -> list[Span]:
        """`shifted_count` tiles, `phase` (0 … 1) of their way on: one step from tile to tile, or as far as they still
        cover the canvas.

        Those that would leave the canvas are moved inside, but count only where they would have lain: so that their
        borders move like all others. On a circle nothing can leave it. What is covered by one tile stays as it is.

        Args:
            multiple: of which positions are, in latent pixels.
        """
        room = self.length - self.tile
        if not room:
            return [Span(0, 0)]
        if self.wraps:
            stride = Fraction(*self.steps)
            first = Fraction(phase) * stride
        else:
            stride = Fraction(self.tile - self.overlap)
            way = (self.shifted_count - 1) * stride - room
            if way > stride:
                way = stride = Fraction(room, self.shifted_count - 2)
            first = (Fraction(phase) - 1) * way
        spans = []
        for i in range(self.shifted_count):
            wanted = floor((first + i * stride) / multiple) * multiple
            start = wanted if self.wraps else min(max(wanted, 0), room)
            spans.append(Span(start, start - wanted))
        return spans


def make_axis(length: int, tile: int, overlap: int, wraps: bool = False) -> Axis:
    """Tiles capped by the canvas; neighbours overlap by at least `overlap`, clamped to 0 … tile − MIN_STRIDE.

    Raises:
        ValueError: a size is not positive.
    """
    if min(length, tile) < 1:
        raise ValueError(f"sizes must be positive: a canvas of {length}, tiles of {tile}")
    tile = min(tile, length)
    return Axis(length, tile, max(0, min(overlap, tile - MIN_STRIDE)), wraps)


@dataclass(frozen=True)
class Grid:
    """Tiles along both axes. What is asked of it costs no more than what is looked at: tiles are counted by axis."""

    down: Axis
    across: Axis

    def __len__(self) -> int:
        return self.down.count * self.across.count

    @property
    def shifted(self) -> int:
        """How many tiles there are when they shift; see `Axis.shifted_count`."""
        return prod(axis.shifted_count for axis in (self.down, self.across))

    @property
    def windows(self) -> Iterator[Window]:
        """Every tile, line by line."""
        for row, column in product(range(self.down.count), range(self.across.count)):
            yield Window(self.down.start(row), self.across.start(column), self.down.tile, self.across.tile)

    @property
    def tile_area(self) -> int:
        """Latent pixels of one tile."""
        return self.down.tile * self.across.tile


def make_grid(
    width: int, height: int, tile_w: int, tile_h: int, overlap: int, wraps: tuple[bool, bool] = (False, False)
) -> Grid:
    """The grid of a canvas of `width` x `height` latent pixels; each axis clamps the overlap by its own tile.

    Args:
        wraps: (down, across), see `Surface`.

    Raises:
        ValueError: a size is not positive.
    """
    down, across = wraps
    return Grid(make_axis(height, tile_h, overlap, down), make_axis(width, tile_w, overlap, across))


def phases(step: int) -> tuple[float, float]:
    """How far the grid of a step is shifted, down and across: steps that follow each other lie far apart."""
    return (0.5 + step * GOLDEN) % 1, (0.5 + step * SILVER) % 1


def region_window(
    x: float, y: float, w: float, h: float, surface: Surface, multiple: int = 1, covered: bool = False
) -> Window | None:
    """The window of a region given in fractions of a canvas.

    Left and top round down, sizes round up, both to a `multiple` (of the canvas' sides too). It is cut at the canvas'
    edges, but goes on where these are joined, once around at most; None where nothing is left of it. `covered`: right
    and bottom round up instead of sizes, so that all of the region lies in its window.
    """

    def along(position: float, size: float, length: int, wraps: bool) -> tuple[int, int]:
        start = max(0, int(position * length) // multiple * multiple)
        wanted = (position + size) * length - start - ROUNDING if covered else size * length
        pixels = ceil(ceil(wanted) / multiple) * multiple
        return start, min(pixels, length if wraps else length - start)

    top, rows = along(y, h, surface.height, surface.wraps[0])
    left, columns = along(x, w, surface.width, surface.wraps[1])
    return Window(top, left, rows, columns) if rows > 0 and columns > 0 else None


def batch_count(items: int, batch_size: int) -> int:
    """How many batches of at most `batch_size` so many items make."""
    return ceil(items / batch_size)


T = TypeVar("T")


def split_evenly(items: Sequence[T], batch_size: int) -> list[Sequence[T]]:
    """Batches of at most `batch_size`, as few as possible, and as even as possible: 10 by 4 are 4, 3 and 3.

    Their sizes differ by at most one, so that a compiled model and cuDNN meet two shapes at most.
    """
    if not items:
        return []
    batches = batch_count(len(items), batch_size)
    size, larger = divmod(len(items), batches)
    ends = [(i + 1) * size + min(i + 1, larger) for i in range(batches)]
    return [items[start:end] for start, end in zip([0, *ends], ends)]
