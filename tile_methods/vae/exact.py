"""Exact work: every task over bands of full width that know their true neighbours; statistics of the whole picture.

Nothing is computed twice but the normalised row above and below a band, and the result equals the untiled forward up
to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, repeat

import torch
import torch.nn.functional as F
from torch import Tensor

from tile_methods.vae import layers
from tile_methods.vae.program import DOWN, SAME, UP, Attend, Convolve, Task, resize_of
from tile_methods.vae.storage import FeatureMap, Store
from tile_utils.group_norm import Affine, Moments, affine, measure, pool


@dataclass(frozen=True)
class Window:
    """Rows of the input that some rows of the output need, and how they become those rows.

    `spans` are (top, bottom) in the input; `above` and `below` count rows of zeros; `skipped` rows of the doubled
    input are not needed.
    """

    spans: tuple[tuple[int, int], ...]
    above: int
    below: int
    skipped: int


def window_of(task: Convolve, top: int, bottom: int, height: int) -> Window:
    """What the output rows top ... bottom need of an input of `height` rows."""
    first, last, skipped = {
        SAME: (top - 1, bottom + 1, 0),
        UP: ((top - 1) // 2, bottom // 2 + 1, (top - 1) % 2),
        DOWN: (2 * top, 2 * bottom + 1, 0),
    }[task.resize]
    above, below = max(0, -first), max(0, last - height)
    inside = (max(0, first), min(height, last))
    if not layers.wraps(task):
        return Window((inside,), above, below, skipped)
    spans = [(height - above, height)] * (above > 0) + [inside] + [(0, below)] * (below > 0)
    return Window(tuple(spans), 0, 0, skipped)


def output_shape(task: Task, shape: Sequence[int]) -> tuple[int, int, int, int]:
    """[N, C, H, W] of what a task makes of a feature map of this shape."""
    images, channels, height, width = shape
    if isinstance(task, Convolve):
        channels = task.conv.out_channels
    height, width = ({SAME: side, UP: 2 * side, DOWN: side // 2}[resize_of(task)] for side in (height, width))
    return images, channels, height, width


def plan_bounds(shape: Sequence[int], band_values: int) -> list[int]:
    """Even bands of a feature map [N, C, H, W], each of at most about `band_values` values of one image."""
    _, channels, height, width = shape
    bands = max(1, min(height, round(height * width * channels / band_values)))
    return [height * i // bands for i in range(bands + 1)]


@dataclass
class ExactWorker:
    """Works off tasks, one after the other over the whole picture, band by band.

    Args:
        store: where feature maps wait.
        band_values: size of a band, in values (channels x rows x columns) of one image.
        tick: called after every band; raises to stop.
        guard: redoes what overflows.
    """

    store: Store
    band_values: int
    tick: Callable[[], None]
    guard: layers.Guard
    _aside: FeatureMap | None = field(default=None, init=False)
    _backwards: bool = field(default=False, init=False)

    def begin(self, x: Tensor, next_task: Task) -> tuple[FeatureMap, list[Moments]]:
        """A tensor as the first feature map."""
        bounds = plan_bounds(x.shape, self.band_values)
        x_map, moments = FeatureMap(bounds, self.store), []
        for index, (top, bottom) in enumerate(pairwise(bounds)):
            band = x[..., top:bottom, :]
            if next_task.norm is not None:
                moments.append(measure(band, next_task.norm.num_groups))
            x_map.put(index, band)
        self._backwards = True
        return x_map, moments

    def run(self, tasks: list[Task], x: Tensor, next_task: Task | None = None) -> FeatureMap:
        """All tasks; `next_task` is what will be done with the result, elsewhere. x: [N, C, H, W]"""
        current, moments = self.begin(x, tasks[0])
        shape: Sequence[int] = x.shape
        for task, following in zip(tasks, [*tasks[1:], next_task]):
            groups = following.norm.num_groups if following is not None and following.norm is not None else 0
            shape = output_shape(task, shape)
            target = FeatureMap(plan_bounds(shape, self.band_values), self.store)
            if isinstance(task, Attend):
                moments = self._attend(task, current, target, affine(task.norm, pool(moments)), groups)
            else:
                norm = affine(task.norm, pool(moments)) if task.norm is not None else None
                moments = self._convolve(task, current, target, norm, groups)
            current = target
        return current

    def _put_aside(self) -> FeatureMap:
        assert self._aside is not None  # blocks open before they close
        return self._aside

    def _attend(
        self, task: Attend, source: FeatureMap, target: FeatureMap, norm: Affine, groups: int
    ) -> list[Moments]:
        out = layers.attend(task, source.take_whole(task.norm.weight.device), norm, self.guard)
        moments = []
        for index, (top, bottom) in enumerate(pairwise(target.bounds)):
            target.put(index, out[..., top:bottom, :])
            if groups:
                moments.append(measure(out[..., top:bottom, :], groups))
        self._backwards = True
        self.tick()
        return moments

    def _convolve(
        self, task: Convolve, source: FeatureMap, target: FeatureMap, norm: Affine | None, groups: int
    ) -> list[Moments]:
        rows = list(pairwise(target.bounds))
        # Zigzag: the band written last is the one that the next task reads first.
        order = list(range(len(rows)))[:: -1 if self._backwards else 1]
        self._backwards = not self._backwards
        windows = [window_of(task, *rows[index], source.height) for index in order]
        read = [[part for span in window.spans for part in source.parts(*span)] for window in windows]
        pieces_of = source.stream(read, release=not (task.opens and task.shortcut is None))
        added_of: Iterable[list[Tensor]] = repeat([])
        if task.closes:
            aside, self._aside = self._put_aside(), None
            added_of = aside.stream([aside.parts(*rows[index]) for index in order], release=True)
        if task.opens:
            self._aside = source if task.shortcut is None else FeatureMap(target.bounds, self.store)
        moments = []
        for index, window, pieces, added in zip(order, windows, pieces_of, added_of):
            height = rows[index][1] - rows[index][0]
            if task.shortcut is not None:
                first = 0 if window.above else 1  # the row above belongs to the convolution only
                x = layers.activate(pieces, None, pieces[0].dtype)[..., first : first + height, :]
                self._put_aside().put(index, layers.shortcut(task, x, self.guard))
            band = convolve_rows(task, pieces, window, added, norm, height, self.guard)
            if groups:
                moments.append(measure(band, groups))
            target.put(index, band)  # last: the next task reads it first
            self.tick()
        return moments


def convolve_rows(
    task: Convolve,
    pieces: Sequence[Tensor],
    window: Window,
    added: Sequence[Tensor],
    norm: Affine | None,
    height: int,
    guard: layers.Guard,
) -> Tensor:
    """`height` rows of the task's output, from the rows of its window. [N, C, height, W]"""
    dtype = task.conv.weight.dtype
    active = layers.activate(pieces, norm, dtype, window.above, window.below)
    if task.resize == UP:
        active = F.interpolate(active, scale_factor=2.0, mode="nearest")
        active = active[..., window.skipped : window.skipped + height + 2, :]

    def compute(dtype: torch.dtype) -> Tensor:
        out = layers.resize_and_convolve(task, active, dtype, rows_padded=True)
        top = 0
        for piece in added:
            out[..., top : top + piece.shape[-2], :] += piece
            top += piece.shape[-2]
        return out

    return guard(compute, dtype)
