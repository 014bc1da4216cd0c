"""How much memory fast work takes: the same crops and tiles as `fast` has, counted instead of computed."""

from __future__ import annotations

from math import prod

import torch

from tile_methods.vae.fast import Sample, Tile, tiles_of
from tile_methods.vae.program import shapes_of
from tile_methods.vae.spans import UP
from tile_methods.vae.stages import Sampled


class _Part:
    """Values of what `fast.Part` holds, of `count` equal tiles or crops."""

    def __init__(self, tile: Tile, count: int) -> None:
        self._tile, self._count = tile, count
        rows, columns = tile.rows[0], tile.columns[0]
        self._x = (rows.stop - rows.start) * (columns.stop - columns.start) * tile.tasks[0].conv.in_channels
        self._aside = 0

    @property
    def size(self) -> int:
        """Between two tasks."""
        return (self._x + self._aside) * self._count

    def step(self, index: int) -> int:
        """Go through task `index`: the most at once."""
        tile, task = self._tile, self._tile.tasks[index]
        sides = tile.rows[index], tile.columns[index]
        active = prod(read.stop - read.start + read.before + read.after for read in sides)
        active *= task.conv.in_channels
        made = prod(part.stop - part.start for part in tile.output(index)) * task.conv.out_channels
        given = self._x
        if task.opens and task.shortcut is None:
            self._aside, given = self._x, 0  # the same memory
        elif task.opens and task.shortcut is not None:
            self._aside = self._x // task.conv.in_channels * task.shortcut.out_channels
        phase = active + made // 4 if task.resize == UP else 0
        most = active + self._aside + max(given, made + phase)
        self._x = made
        if task.closes:
            self._aside = 0
        return most * self._count


def _crops_need(sample: Sample, images: int) -> int:
    """Values of all crops at once, at most; one batch after the other is worked off."""
    crops = [_Part(batch[0][1], len(batch) * images) for batch in sample.batches]
    most = waiting = sum(crop.size for crop in crops)
    for index in range(len(sample.tasks)):
        for crop in crops:
            waiting -= crop.size
            most = max(most, waiting + crop.step(index))
            waiting += crop.size
    return most


def tile_work(tile: Tile, images: int, dtype: torch.dtype) -> int:
    """Bytes that one tile takes at its largest."""
    part = _Part(tile, images)
    return max(part.step(index) for index in range(len(tile.tasks))) * dtype.itemsize


def stage_tiles(stage: Sampled) -> list[Tile]:
    return tiles_of(stage.tasks, stage.shape[-2], stage.shape[-1], stage.side)


def sampled_need(stage: Sampled, dtype: torch.dtype) -> int:
    """Bytes that a sampled stage takes beside what goes in: the crops, or the tiles and what is made of them."""
    images, _, height, width = stage.shape
    crops = _crops_need(Sample(stage.tasks, height, width, stage.side), images) * dtype.itemsize
    made = prod(shapes_of(stage.tasks, stage.shape)[-1]) * dtype.itemsize
    return max(crops, made + max(tile_work(tile, images, dtype) for tile in stage_tiles(stage)))
