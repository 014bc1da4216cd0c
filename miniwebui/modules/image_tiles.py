"""A picture cut into overlapping tiles and put together again, as `modules.images` of the WebUI does for upscalers."""

import math
from collections import namedtuple

import numpy as np
from PIL import Image


class Grid(namedtuple("_Grid", ["tiles", "tile_w", "tile_h", "image_w", "image_h", "overlap"])):
    """tiles: rows of [y, tile_h, [[x, tile_w, picture], …]]."""

    @property
    def tile_count(self) -> int:
        return sum(len(row) for _, _, row in self.tiles)


def _starts(side: int, tile: int, overlap: int) -> list[int]:
    """Where the tiles of one axis begin; negative where the picture is smaller than a tile."""
    count = math.ceil((side - overlap) / (tile - overlap))
    step = (side - tile) / (count - 1) if count > 1 else 0
    return [min(int(number * step), side - tile) for number in range(count)]


def split_grid(image: Image.Image, tile_w: int = 512, tile_h: int = 512, overlap: int = 64) -> Grid:
    """Evenly spread tiles of one size that cover the picture; outside of it they are black."""
    width, height = image.size
    rows = []
    for y in _starts(height, tile_h, overlap):
        columns = _starts(width, tile_w, overlap)
        rows.append([y, tile_h, [[x, tile_w, image.crop((x, y, x + tile_w, y + tile_h))] for x in columns]])
    return Grid(rows, tile_w, tile_h, width, height, overlap)


def _ramp(width: int, height: int, axis: int) -> Image.Image:
    """A mask that grows from 0 along an axis, over its whole length."""
    length = (height, width)[axis]
    values = (np.arange(length, dtype=np.float32) * 255 / length).astype(np.uint8)
    values = values[:, None] if axis == 0 else values[None, :]
    return Image.fromarray(np.ascontiguousarray(np.broadcast_to(values, (height, width))))


def _lay(onto: Image.Image, part: Image.Image, start: int, overlap: int, axis: int) -> None:
    """Put a part on what is there, from `start` on; in its first `overlap` pixels it fades in."""
    if start == 0:
        onto.paste(part, (0, 0))
        return
    width, height = part.size
    seam = (width, overlap) if axis == 0 else (overlap, height)
    place, rest = ((0, start), (0, start + overlap)) if axis == 0 else ((start, 0), (start + overlap, 0))
    if overlap:
        onto.paste(part.crop((0, 0, *seam)), place, mask=_ramp(*seam, axis))
    corner = (0, overlap) if axis == 0 else (overlap, 0)
    onto.paste(part.crop((*corner, width, height)), rest)


def combine_grid(grid: Grid) -> Image.Image:
    """The tiles put together; where they overlap, the later one fades in."""
    combined = Image.new("RGB", (grid.image_w, grid.image_h))
    for y, height, row in grid.tiles:
        strip = Image.new("RGB", (grid.image_w, height))
        for x, _, tile in row:
            _lay(strip, tile, x, grid.overlap, axis=1)
        _lay(combined, strip, y, grid.overlap, axis=0)
    return combined
