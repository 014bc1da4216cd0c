"""Exact work: every task over bands of full width that know their true neighbours; statistics of the whole picture.

Nothing is computed twice but the normalised row above and below a band, and the result equals the untiled forward up
to rounding. Several ranks hold a slab of rows each, and work them off alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import repeat

import torch
from torch import Tensor

from tile_methods.ranks import ALONE, Ranks
from tile_methods.vae import layers
from tile_methods.vae.program import Attend, Convolve, Shape, Task, modules_of, output_shape, resize_of
from tile_methods.vae.ranks import Slab, slab_of
from tile_methods.vae.residence import Residence
from tile_methods.vae.spans import Step, band_bounds, last_uses, reading, steps
from tile_methods.vae.storage import FeatureMap, Store
from tile_utils.group_norm import Affine, Moments, affine, measure


def bounds_of(task: Task, shape: Shape, band_values: int) -> list[int]:
    """Bands of what `task` makes of a feature map of this shape."""
    images, channels, height, width = output_shape(task, shape)
    read = shape[1] * shape[3] * shape[2] // max(1, height)
    return band_bounds(height, max(channels * width, read), band_values, images)


def input_bounds(shape: Shape, band_values: int) -> list[int]:
    """Bands of what goes into the first task."""
    return band_bounds(shape[2], shape[1] * shape[3], band_values, shape[0])


@dataclass
class ExactWorker:
    """Works off tasks, one after the other over the whole picture, band by band.

    Args:
        store: where feature maps wait.
        band_values: size of a band, in values (channels x rows x columns) of one image.
        tick: called after every band and every slice of attention; raises to stop.
        guard: redoes what overflows.
        ranks: who else works off the same tasks on the same input; each has its own store, bands and guard.
    """

    store: Store
    band_values: int
    tick: Callable[[], None]
    guard: layers.Guard
    ranks: Ranks = ALONE
    _aside: FeatureMap | None = field(default=None, init=False)

    def whole(self, tasks: Sequence[Task], x: Tensor, place: torch.device) -> Tensor:
        """All tasks. x: [N, C, H, W]; the result on `place`."""
        own, slab = self.run(tasks, x)
        return slab.joined(own.take_whole(place))

    def run(self, tasks: Sequence[Task], x: Tensor) -> tuple[FeatureMap, Slab]:
        """All tasks: our rows of what they make of x [N, C, H, W], and which these are."""
        groups = [task.norm.num_groups if task.norm is not None else 0 for task in tasks]
        slab, shape = slab_of(tasks, x.shape[-2], self.ranks), tuple(x.shape)
        source = self._map(input_bounds(slab.of(shape), self.band_values), slab)
        moments = self._fill(source, x, 0, groups[0])
        with Residence() as residence:
            for task, following in zip(tasks, [*groups[1:], 0]):
                residence.bring(modules_of(task))
                norm = affine(task.norm, slab.pooled(moments)) if task.norm is not None else None
                bounds, made = (
                    bounds_of(task, slab.of(shape), self.band_values),
                    slab.resized(resize_of(task)),
                )
                target = self._map(bounds, made)
                if isinstance(task, Attend):
                    assert norm is not None
                    moments = self._attend(task, source, target, norm, slab, following)
                else:
                    moments = self._convolve(task, source, target, norm, slab, following)
                source, slab, shape = target, made, output_shape(task, shape)
        return source, slab

    def _map(self, bounds: Sequence[int], slab: Slab) -> FeatureMap:
        """An empty map of a slab, in bands whose bounds are counted from its first row."""
        return FeatureMap([slab.top + bound for bound in bounds], self.store, slab.borrows)

    def _fill(self, target: FeatureMap, x: Tensor, first: int, groups: int) -> list[Moments]:
        """Put in what is known as a whole, x [N, C, h, W], from the map's row `first` on; its moments if `groups`."""
        moments = []
        for index, (top, bottom) in target.bands:
            band = x[..., top - first : bottom - first, :]
            if groups:
                moments.append(measure(band, groups))
            target.put(index, band)
        return moments

    def _attend(
        self, task: Attend, source: FeatureMap, target: FeatureMap, norm: Affine, slab: Slab, groups: int
    ) -> list[Moments]:  # fmt: skip
        x = source.take_whole(task.norm.weight.device)
        out = layers.attend(task, x, norm, self.guard, self.tick, slab.ranks)
        return self._fill(target, out, slab.top, groups)

    def _convolve(
        self, task: Convolve, source: FeatureMap, target: FeatureMap, norm: Affine | None, slab: Slab, groups: int
    ) -> list[Moments]:  # fmt: skip
        slab.lend(source, task.conv.weight.dtype)
        closed = self._aside if task.closes else None
        # The band written last is at hand, so the next task reads it first.
        order = steps(
            task.resize, None if task.wraps[0] else slab.height, source.bounds, target.bands,
            closed.bounds if closed else (), source.upwards,
        )  # fmt: skip
        reads = [step.source for step in order]
        pieces_of = source.stream(reads, None if task.opens and task.shortcut is None else last_uses(reads))
        asides = [step.aside for step in order]
        added_of = closed.stream(asides, last_uses(asides)) if closed else repeat([])
        if task.closes:
            self._aside = None
        if task.opens:
            self._aside = source if task.shortcut is None else target.beside()
        kernel, moments = layers.Kernel(task), []
        for step, pieces, added in zip(order, pieces_of, added_of):
            if task.shortcut is not None:
                self._put_shortcut_aside(task, step, pieces)
            band = self._band(kernel, step, pieces, added, norm)
            if groups:
                moments.append(measure(band, groups))
            target.put(step.band, band)  # last: the next task reads it first
            self.tick()
        return moments

    def _put_shortcut_aside(self, task: Convolve, step: Step, pieces: Sequence[Tensor]) -> None:
        assert self._aside is not None  # the block has opened
        first = step.top - step.read.start
        x = layers.joined(pieces)[..., first : first + step.bottom - step.top, :]
        self._aside.put(step.band, layers.shortcut(task, x, self.guard))

    def _band(
        self, kernel: layers.Kernel, step: Step, pieces: Sequence[Tensor], added: Sequence[Tensor], norm: Affine | None
    ) -> Tensor:  # fmt: skip
        width = pieces[0].shape[-1]
        across = output_shape(kernel.task, (1, 1, 1, width))[-1]
        columns = reading(kernel.task.resize, 0, across, width)
        size = (step.bottom - step.top, across)
        active = layers.gather(kernel.task, pieces, norm, step.read, columns)
        return layers.convolve(kernel, active, step.read, columns, size, added, self.guard)
