"""How much memory exact work takes: the same steps as the worker's, counted instead of computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

import torch

from tile_methods.vae.exact import bounds_of, input_bounds
from tile_methods.vae.layers import query_slices
from tile_methods.vae.memory import Pinned
from tile_methods.vae.program import Attend, Convolve, Shape, Task, output_shape
from tile_methods.vae.spans import UP, Step, last_uses, steps

ATTENTION_MAPS = 2
"""Feature maps that attention holds at once, what came in included; the other one is what is normed, or goes out."""
KEY_MAPS = 2
"""Likewise: key and value, of all ranks."""
SLICE_MAPS = 3
"""The same of one slice of the queries: normed, query or result, attended."""


@dataclass(frozen=True)
class Need:
    """Bytes: what waits (bands of feature maps), what waits in pinned memory if it is that, and the work beside it.

    `waiting` and `pinned` are the most at any time; `together` is the most of waiting and work at one time, without
    the bands of what goes in: where feature maps wait on the device they are no copy.
    """

    waiting: int
    pinned: int
    work: int
    together: int


class _Map:
    """Which bands of a feature map wait."""

    def __init__(self, bounds: Sequence[int], row: int, full: bool) -> None:
        self.bounds, self._row = bounds, row
        self._here = dict.fromkeys(range(len(bounds) - 1), True) if full else {}

    def _sizes(self) -> list[int]:
        return [(self.bounds[band + 1] - self.bounds[band]) * self._row for band in self._here]

    def put(self, band: int) -> None:
        self._here[band] = True

    def give_up(self, bands: Sequence[int]) -> None:
        for band in bands:
            self._here.pop(band, None)

    @property
    def size(self) -> int:
        return sum(self._sizes())

    @property
    def pinned(self) -> int:
        return sum(map(Pinned.block_size, self._sizes()))


class _Count:
    """Runs through the tasks, and keeps the most of everything."""

    def __init__(self, shape: Shape, item: int, band_values: int, ranks: int) -> None:
        self.shape, self._item, self._band_values, self._ranks = shape, item, band_values, ranks
        self.source = self._given = _Map(input_bounds(shape, band_values), self._row(shape), full=True)
        self._aside: _Map | None = None
        self._upwards = len(self.source.bounds) > 2
        self.waiting = self.pinned = self.work = self.together = 0

    def _row(self, shape: Shape) -> int:
        return prod(shape) // shape[2] * self._item

    def _note(self, maps: Sequence[_Map], work: int) -> None:
        waiting = sum(one.size for one in maps)
        self.waiting = max(self.waiting, waiting)
        self.pinned = max(self.pinned, sum(one.pinned for one in maps))
        self.work = max(self.work, work)
        made = sum(one.size for one in maps if one is not self._given)
        self.together = max(self.together, made + work)

    def attend(self, task: Attend) -> None:
        size = prod(self.shape) * self._item
        pixels = self.shape[2] * self.shape[3]
        slices = query_slices(self.shape[0], task.heads, pixels, pixels * self._ranks)
        self._note([], (ATTENTION_MAPS + KEY_MAPS * self._ranks) * size + SLICE_MAPS * size // len(slices))
        target = bounds_of(task, self.shape, self._band_values)
        self.source = _Map(target, self._row(self.shape), full=True)
        self._note([self.source], size)
        self._upwards = len(target) > 2

    def convolve(self, task: Convolve) -> None:
        shape = output_shape(task, self.shape)
        target = _Map(bounds_of(task, self.shape, self._band_values), self._row(shape), full=False)
        closed = self._aside if task.closes else None
        order = steps(
            task.resize, self.shape[2], self.source.bounds, list(enumerate(pairwise(target.bounds))),
            closed.bounds if closed else (), self._upwards,
        )  # fmt: skip
        keeps = task.opens and task.shortcut is None
        if task.opens:
            self._aside = self.source if keeps else _Map(target.bounds, self._row(shape), full=False)
        gone = last_uses([step.source for step in order])
        closed_gone = last_uses([step.aside for step in order])
        for position, step in enumerate(order):
            waiting = [self.source, target, *([self._aside] if self._aside and not keeps else [])]
            if task.shortcut is not None and self._aside is not None:
                self._aside.put(step.band)
            self._note(waiting, self._work(task, step, shape))
            target.put(step.band)
            if not keeps:
                self.source.give_up(gone[position])
            if closed is not None:
                closed.give_up(closed_gone[position])
        if task.closes:
            self._aside = None
        self._upwards = bool(order) and order[-1].band > 0
        self.source, self.shape = target, shape

    def _work(self, task: Convolve, step: Step, shape: Shape) -> int:
        """What one band takes: its padded input, the convolution's own memory, its output."""
        read = step.read
        rows = read.stop - read.start + read.before + read.after
        given = self._row(self.shape) * rows
        made = self._row(shape) * (step.bottom - step.top)
        joined = given if task.shortcut is not None else 0
        phase = (given + made // 4) if task.resize == UP else 0
        return given + made + max(joined, phase)


def needed(tasks: Sequence[Task], shape: Shape, dtype: torch.dtype, band_values: int, ranks: int = 1) -> Need:
    """What `ExactWorker` takes for a feature map [N, C, H, W] of that type, without what goes in.

    The result, put together at the end, takes its bands' memory as it grows.

    Args:
        shape: of the rows that are ours, where so many `ranks` hold about as many.
    """
    count = _Count(shape, dtype.itemsize, band_values, ranks)
    for task in tasks:
        if isinstance(task, Attend):
            count.attend(task)
        else:
            count.convolve(task)
    return Need(count.waiting, count.pinned, count.work, count.together)
