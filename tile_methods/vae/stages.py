"""A network's tasks as stages: exact ones, and in fast mode one whose statistics are sampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tile_methods.vae.program import Convolve, Program, Shape, Task, resize_of, shapes_of
from tile_methods.vae.spans import DOWN, UP

Mode = Literal["exact", "fast"]
EXACT_LEVELS = 2
"""Fast mode: resolutions next to the latent that are exact all the same; fewer where memory is short, more where that
takes no more of it than sampling does."""


@dataclass(frozen=True)
class Exact:
    """Tasks over bands of the whole picture, which goes in as `shape`."""

    tasks: Sequence[Task]
    shape: Shape


@dataclass(frozen=True)
class Sampled:
    """Tasks tile by tile with estimated statistics; `side` of a tile in pixels of what goes in as `shape`."""

    tasks: Sequence[Convolve]
    shape: Shape
    side: int


Stage = Exact | Sampled


def _cut(tasks: Sequence[Task], decodes: bool, color_fix: bool, exact_levels: int) -> tuple[int, int]:
    """(first, last + 1) of the tasks at the large resolutions; none where nothing is resized."""
    if decodes:
        ups = [i for i, task in enumerate(tasks) if resize_of(task) == UP]
        return (ups[min(exact_levels, len(ups)) - 1], len(tasks)) if ups else (0, 0)
    downs = [i for i, task in enumerate(tasks) if resize_of(task) == DOWN]
    return (0, downs[0 if color_fix else max(0, len(downs) - exact_levels)] + 1) if downs else (0, 0)


def _samples(tasks: Sequence[Task], shape: Shape, side: int) -> bool:
    """Can these tasks run tile by tile, and are there several tiles?

    Attention needs the whole picture. By the host's *Tiling* alone an encoder is joined at the edges, but not where it
    shrinks: its tiles would have to be both.
    """
    attends = any(not isinstance(task, Convolve) for task in tasks)
    joins = {task.wraps for task in tasks if isinstance(task, Convolve)}
    return max(shape[-2:]) > side and not attends and len(joins) == 1


def stages_of(
    program: Program, shape: Shape, tile: int, mode: Mode, color_fix: bool = False, exact_levels: int = EXACT_LEVELS
) -> list[Stage]:  # fmt: skip
    """The stages that `mode` works off for an input [N, C, H, W].

    Args:
        tile: side of a tile in pixels of the input.
        color_fix: encoder: only what comes before the first downsampling is sampled.
    """
    tasks, shapes = program.tasks, shapes_of(program.tasks, shape)
    start, end = (0, 0) if mode == "exact" else _cut(tasks, program.decodes, color_fix, exact_levels)
    side = max(1, tile * shapes[start][-2] // shape[-2])
    if start == end or not _samples(tasks[start:end], shapes[start], side):
        return [Exact(tasks, shape)]
    sampled = Sampled([task for task in tasks[start:end] if isinstance(task, Convolve)], shapes[start], side)
    stages: list[Stage] = [Exact(tasks[:start], shape)] if start else []
    stages.append(sampled)
    return [*stages, Exact(tasks[end:], shapes[end])] if end < len(tasks) else stages
