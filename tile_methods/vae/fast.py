"""Fast work: every tile runs alone through a stretch of tasks; the statistics of GroupNorm are estimated before.

Crops of the true feature map, spread over it, are worked off at full resolution just as tiles are, and their
statistics pooled, weighted so that the crops together have the channel means of the whole map. Nothing is shrunk, so
what is sampled has the distribution of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import ceil
from random import Random

import torch
from torch import Tensor

from tile_methods.ranks import ALONE, Ranks
from tile_methods.vae import layers
from tile_methods.vae.program import Convolve, modules_of, output_shape, scale_of
from tile_methods.vae.residence import Residence
from tile_methods.vae.spans import Reading, chain, reach
from tile_utils.group_norm import Affine, Moments, affine, measure, pool
from tile_utils.surface import Window

SAMPLED = 1 / 8
"""Part of the feature map that the crops cover at most, about; large maps need no more than MOST_CROPS."""
CROP = 6
"""Side of what a crop keeps after all convolutions, in pixels of the map that is cut."""
FEWEST_CROPS, MOST_CROPS = 36, 256
AT_ONCE = 1 / 8
"""Crops are worked off together that have this part of a tile's pixels: all the others wait meanwhile."""
RIDGE = 0.1
"""Pull of the crops' weights towards equal ones."""


def slices_of(box: Window) -> tuple[slice, slice]:
    """Rows and columns, for the last two axes of a tensor."""
    return slice(box.y, box.y + box.h), slice(box.x, box.x + box.w)


@dataclass(frozen=True)
class Tile:
    """A part of the result, and what each task reads for it: no more than what the next one needs."""

    tasks: Sequence[Convolve]
    rows: list[Reading]
    columns: list[Reading]
    box: Window
    """In the result."""

    @cached_property
    def shape(self) -> tuple[tuple[int, ...], ...]:
        """Equal for tiles that can be worked off as one batch."""
        return tuple(
            (read.stop - read.start, read.before, read.after, read.skip)
            for readings in (self.rows, self.columns)
            for read in readings
        ) + ((self.box.w, self.box.h),)

    def output(self, task: int) -> tuple[slice, slice]:
        """(rows, columns) of what a task gives."""
        if task + 1 == len(self.tasks):
            return slices_of(self.box)
        rows, columns = self.rows[task + 1], self.columns[task + 1]
        return slice(rows.start, rows.stop), slice(columns.start, columns.stop)

    def cut(self, x: Tensor) -> Tensor:
        """What the first task reads of `x` [N, C, H, W], around the edges if the network is seamless."""
        (top, bottom), (left, right) = ((read.start, read.stop) for read in (self.rows[0], self.columns[0]))
        if top >= 0 and bottom <= x.shape[-2] and left >= 0 and right <= x.shape[-1]:
            return x[..., top:bottom, left:right]
        rows, columns = (
            torch.arange(start, stop, device=x.device) % size
            for (start, stop), size in zip(((top, bottom), (left, right)), x.shape[-2:])
        )
        return x.index_select(-2, rows).index_select(-1, columns)


def tile_at(tasks: Sequence[Convolve], box: Window, height: int, width: int) -> Tile:
    """The tile of `tasks`, all joined at the same edges, that gives `box` for an input of height x width."""
    readings = []
    axes = ((box.y, box.h, height), (box.x, box.w, width))
    for (first, length, size), seamless in zip(axes, tasks[0].wraps):
        lengths: list[int | None] = []
        for task in tasks:
            lengths.append(None if seamless else size)
            size = output_shape(task, (1, 1, size, size))[-1]
        readings.append(chain([task.resize for task in tasks], first, first + length, lengths))
    return Tile(tasks, readings[0], readings[1], box)


class Part:
    """A tile, or a batch of equal ones, on its way through the tasks: `x` is what the last one gave."""

    def __init__(self, tile: Tile, x: Tensor) -> None:
        self.tile, self.x = tile, x
        self._aside: Tensor | None = None

    def step(self, index: int, kernel: layers.Kernel, norm: Affine | None, guard: layers.Guard) -> None:
        """Go through task `index`."""
        tile, task = self.tile, self.tile.tasks[index]
        read = tile.rows[index], tile.columns[index]
        if task.opens:
            needed = zip(tile.output(index + 1), read)
            y, x = (slice(part.start - whole.start, part.stop - whole.start) for part, whole in needed)
            self._aside = layers.shortcut(task, self.x, guard)[..., y, x]  # cut after: a cut would be copied
        rows, columns = tile.output(index)
        size = (rows.stop - rows.start, columns.stop - columns.start)
        active = layers.gather(task, [self.x], norm, *read)
        del self.x  # as large as what comes out: not both at once
        added = [self._aside] if task.closes and self._aside is not None else []
        self.x = layers.convolve(kernel, active, *read, size, added, guard)
        if task.closes:
            self._aside = None


def _within(part: int, parts: int, length: int, side: int, random: Random) -> int:
    """The first pixel of a span of `side`, anywhere in one of `parts` equal parts of `length`.

    Not evenly: what repeats in the picture must not meet what repeats in the sample.
    """
    return int((part + random.random()) * (length - side) / parts)


def sample_boxes(height: int, width: int, unit: int = 1) -> list[Window]:
    """Crops of side CROP, spread over the map, at multiples of `unit`."""
    tall, wide = (min(side, max(1, CROP // unit)) for side in (height // unit, width // unit))
    count = min(MOST_CROPS, max(FEWEST_CROPS, height * width * SAMPLED / CROP**2))
    rows = max(1, min(MOST_CROPS, round((count * height / width) ** 0.5)))
    cols = max(1, min(MOST_CROPS // rows, ceil(count / rows)))
    random = Random(rows * cols)  # the same picture every time
    return [  # each has a place of its own in both directions, else all crops of a row would see a horizon, or none
        Window(
            _within(row, rows, height // unit, tall, random) * unit,
            _within(col, cols, width // unit, wide, random) * unit,
            tall * unit,
            wide * unit,
        )
        for row in range(rows)
        for col in range(cols)
    ]


def _resized(box: Window, larger: int, smaller: int) -> Window:
    """Where the tasks put a part of their input that begins and ends at multiples of `smaller`."""
    return Window(*(value * larger // smaller for value in (box.y, box.x, box.h, box.w)))


def descriptions(parts: Sequence[Tensor]) -> Tensor:
    """What is known of pictures in short: mean and mean square of every channel. [N, 2 C], float64 on the CPU

    Args:
        parts: pieces of the same pictures, each [N, C, h, w].
    """
    moments = pool([measure(part, part.shape[1]) for part in parts])
    return torch.cat([moments.mean, moments.var + moments.mean.square()], -1)


def calibrated_weights(sampled: Tensor, wanted: Tensor) -> Tensor:
    """How much each crop counts, so that together they are described as the whole is. [N, K], sums to 1

    Calibration of survey samples (Deville & Särndal, 1992), by ridge regression around equal weights.

    Args:
        sampled: descriptions of the crops, [N, K, D], float64 on the CPU.
        wanted: that of the whole, [N, D].
    """
    count = sampled.shape[1]
    spread = sampled.std(1, keepdim=True) + 1e-8
    sampled, wanted = sampled / spread, wanted[:, None] / spread
    gap = (wanted - sampled.mean(1, keepdim=True)).transpose(1, 2)  # [N, D, 1]
    centred = (sampled - sampled.mean(1, keepdim=True)).transpose(1, 2)  # [N, D, K]
    gram = centred.transpose(1, 2) @ centred + RIDGE * centred.shape[1] * torch.eye(
        count, dtype=torch.float64
    )
    change = torch.linalg.solve(gram, centred.transpose(1, 2) @ gap)[..., 0]
    weights = (1 / count + change).clamp_min(0)
    return weights / weights.sum(1, keepdim=True)


def _by_image(per_crop: Sequence[Tensor], images: int) -> Tensor:
    """Values of crops, batch by batch, each [images x crops, D], as [images, all crops, D] in float64 on the CPU."""
    return torch.cat([part.view(images, -1, part.shape[-1]).cpu().double() for part in per_crop], 1)


def _pool_crops(batches: Sequence[Moments], weights: Tensor) -> Moments:
    """Moments of [images x crops], batch by batch, to those of [images]."""
    mean, var = (_by_image([getattr(m, name) for m in batches], len(weights)) for name in ("mean", "var"))
    share = weights[..., None]
    pooled = (share * mean).sum(1)
    return Moments(batches[0].count, pooled, (share * (var + (mean - pooled[:, None]).square())).sum(1))


class Sample:
    """The crops of a map, in batches of equal ones that take no more work than a padded tile, but at least a crop."""

    def __init__(self, tasks: Sequence[Convolve], height: int, width: int, side: int) -> None:
        larger, smaller = scale_of(tasks)
        self.tasks = tasks
        self.batches: list[list[tuple[Window, Tile]]] = []
        alike: dict[object, list[tuple[Window, Tile]]] = {}
        for box in sample_boxes(height, width, smaller):
            tile = tile_at(tasks, _resized(box, larger, smaller), height, width)
            alike.setdefault(tile.shape, []).append((box, tile))
        margin = reach([task.resize for task in tasks])
        for crops in alike.values():
            one = crops[0][1]
            area = (one.rows[0].stop - one.rows[0].start) * (one.columns[0].stop - one.columns[0].start)
            at_once = max(1, round((side + 2 * margin) ** 2 * AT_ONCE / area))
            self.batches += [crops[start : start + at_once] for start in range(0, len(crops), at_once)]

    @property
    def ticks(self) -> int:
        return len(self.tasks) * len(self.batches)

    def _weights(self, x: Tensor) -> Tensor:
        """`calibrated_weights` of the crops of `x` [N, C, H, W]."""
        kept = [[x[(..., *slices_of(box))] for box, _ in batch] for batch in self.batches]
        sampled = _by_image(
            [descriptions([torch.stack(parts, 1).flatten(0, 1)]) for parts in kept], x.shape[0]
        )
        rows = max(1, kept[0][0][0, 0].numel() * len(kept[0]) // x.shape[-1])
        return calibrated_weights(sampled, descriptions(x.split(rows, dim=-2)))

    def norms(self, x: Tensor, tick: Callable[[], None], guard: layers.Guard) -> list[Affine | None]:
        """GroupNorm of each task, as the crops of `x` [N, C, H, W] show it.

        Args:
            tick: called after every task on every batch; raises to stop.
            guard: redoes what overflows.
        """
        weights = self._weights(x)
        crops = [
            Part(batch[0][1], torch.stack([tile.cut(x) for _, tile in batch], 1).flatten(0, 1))
            for batch in self.batches
        ]
        norms: list[Affine | None] = []
        with Residence() as residence:
            for index, task in enumerate(self.tasks):
                residence.bring(modules_of(task))
                norm, kernel = None, layers.Kernel(task)
                if task.norm is not None:
                    seen = [measure(crop.x, task.norm.num_groups) for crop in crops]
                    norm = affine(task.norm, _pool_crops(seen, weights))
                norms.append(norm)
                for crop, batch in zip(crops, self.batches):
                    crop.step(index, kernel, norm.images(len(batch)) if norm is not None else None, guard)
                    tick()
        return norms


def _bounds(length: int, tile: int, unit: int) -> list[int]:
    """Even parts of at most about `tile`, cut at multiples of `unit`."""
    count = max(1, ceil(length / tile))
    return sorted({length * i // count // unit * unit for i in range(count)} | {length // unit * unit})


def tile_boxes(height: int, width: int, tile: int, unit: int) -> list[Window]:
    """Tiles without overlap, cut at multiples of `unit`; less than a unit is left at the end."""
    return [
        Window(top, left, bottom - top, right - left)
        for top, bottom in pairwise(_bounds(height, tile, unit))
        for left, right in pairwise(_bounds(width, tile, unit))
    ]


def tiles_of(tasks: Sequence[Convolve], height: int, width: int, side: int) -> list[Tile]:
    """The tiles of a map of height x width; `side` of one without its padding, in pixels of the map."""
    larger, smaller = scale_of(tasks)
    return [
        tile_at(tasks, _resized(box, larger, smaller), height, width)
        for box in tile_boxes(height, width, side, smaller)
    ]


def share_of(tiles: Sequence[Tile], ranks: Ranks) -> list[Tile]:
    """Those that are ours."""
    return ranks.share(tiles, lambda tile: tile.box.h * tile.box.w)


def run_tiles(
    tiles: Sequence[Tile],
    norms: Sequence[Affine | None],
    x: Tensor,
    place: torch.device,
    tick: Callable[[], None],
    guard: layers.Guard,
    ranks: Ranks = ALONE,
) -> Tensor:
    """The tasks tile by tile.

    Args:
        norms: GroupNorm of each task.
        x: what goes in, [N, C, H, W].
        place: the device that the result is put together on.
        tick: called after every task on every one of our tiles; raises to stop.
        guard: redoes what overflows.
        ranks: among whom the tiles are shared out; all get the whole result.

    Returns:
        In x's type, or in float32 where a tile overflows it.
    """
    tasks = tiles[0].tasks
    height, width = (
        max(box.stop for box in boxes) for boxes in zip(*(slices_of(tile.box) for tile in tiles))
    )
    size = (x.shape[0], tasks[-1].conv.out_channels, height, width)
    out = torch.zeros(size, dtype=x.dtype, device=place)
    for tile in share_of(tiles, ranks):
        part = Part(tile, tile.cut(x))
        with Residence() as residence:
            for index, (task, norm) in enumerate(zip(tasks, norms)):
                residence.bring(modules_of(task))
                part.step(index, layers.Kernel(task), norm, guard)
                tick()
        out = out.to(torch.promote_types(out.dtype, part.x.dtype))
        out[(..., *slices_of(tile.box))] = part.x
    return ranks.summed([ranks.widest(out)])[0]
