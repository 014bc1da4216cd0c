"""Exact work: every task over bands of full width that know their true neighbours; statistics of the whole picture.

Nothing is computed twice but the normalised row above and below a band, and the result equals the untiled forward up
to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, repeat

from torch import Tensor

from tile_methods.vae import layers
from tile_methods.vae.program import Attend, Convolve, Shape, Task, modules_of, output_shape
from tile_methods.vae.residence import Residence
from tile_methods.vae.spans import Step, band_bounds, last_uses, reading, steps
from tile_methods.vae.storage import FeatureMap, Store
from tile_utils.group_norm import Affine, Moments, affine, measure, pool


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
    """

    store: Store
    band_values: int
    tick: Callable[[], None]
    guard: layers.Guard
    _aside: FeatureMap | None = field(default=None, init=False)

    def begin(self, x: Tensor, groups: int) -> tuple[FeatureMap, list[Moments]]:
        """A tensor as the first feature map, and its moments if it is normalised (`groups`)."""
        x_map, moments = FeatureMap(input_bounds(x.shape, self.band_values), self.store), []
        for index, (top, bottom) in enumerate(pairwise(x_map.bounds)):
            band = x[..., top:bottom, :]
            if groups:
                moments.append(measure(band, groups))
            x_map.put(index, band)
        return x_map, moments

    def run(self, tasks: Sequence[Task], x: Tensor) -> FeatureMap:
        """All tasks. x: [N, C, H, W]"""
        groups = [task.norm.num_groups if task.norm is not None else 0 for task in tasks]
        source, moments = self.begin(x, groups[0])
        shape: Shape = x.shape
        with Residence() as residence:
            for task, following in zip(tasks, [*groups[1:], 0]):
                residence.bring(modules_of(task))
                target = FeatureMap(bounds_of(task, shape, self.band_values), self.store)
                norm = affine(task.norm, pool(moments)) if task.norm is not None else None
                if isinstance(task, Attend):
                    assert norm is not None
                    moments = self._attend(task, source, target, norm, following)
                else:
                    moments = self._convolve(task, source, target, norm, following)
                source, shape = target, output_shape(task, shape)
        return source

    def _attend(
        self, task: Attend, source: FeatureMap, target: FeatureMap, norm: Affine, groups: int
    ) -> list[Moments]:
        x = source.take_whole(task.norm.weight.device)
        out = layers.attend(task, x, norm, self.guard, self.tick)
        moments = []
        for index, (top, bottom) in enumerate(pairwise(target.bounds)):
            target.put(index, out[..., top:bottom, :])
            if groups:
                moments.append(measure(out[..., top:bottom, :], groups))
        return moments

    def _convolve(
        self, task: Convolve, source: FeatureMap, target: FeatureMap, norm: Affine | None, groups: int
    ) -> list[Moments]:
        closed = self._aside if task.closes else None
        # The band written last is at hand, so the next task reads it first.
        order = steps(
            task.resize, task.wraps, source.bounds, target.bounds, closed.bounds if closed else (),
            upwards=source.latest > 0,
        )  # fmt: skip
        reads = [step.source for step in order]
        pieces_of = source.stream(reads, None if task.opens and task.shortcut is None else last_uses(reads))
        asides = [step.aside for step in order]
        added_of = closed.stream(asides, last_uses(asides)) if closed else repeat([])
        if task.closes:
            self._aside = None
        if task.opens:
            self._aside = source if task.shortcut is None else FeatureMap(target.bounds, self.store)
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
        first = 1 if step.read.start < step.top or (task.wraps and step.read.before) else 0
        x = layers.joined(pieces)[..., first : first + step.bottom - step.top, :]
        self._aside.put(step.band, layers.shortcut(task, x, self.guard))

    def _band(
        self, kernel: layers.Kernel, step: Step, pieces: Sequence[Tensor], added: Sequence[Tensor], norm: Affine | None
    ) -> Tensor:  # fmt: skip
        width = pieces[0].shape[-1]
        across = output_shape(kernel.task, (1, 1, 1, width))[-1]
        columns = reading(kernel.task.resize, 0, across, width)
        size = (step.bottom - step.top, across)
        return layers.convolve(kernel, pieces, norm, step.read, columns, size, added, self.guard)
