"""Cut a condition for windows, whatever keys and nesting the host or another extension gave it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from tile_utils.surface import Surface, Window, read_all


def mapped(cond: Any, change: Callable[[Tensor], Any]) -> Any:
    """A condition of any keys and nesting with each tensor changed; the caller's own is never touched.

    Dicts, lists and tuples are rebuilt, because hosts cast a condition in place; what else there is passes through.
    """
    if isinstance(cond, Tensor):
        return change(cond)
    if isinstance(cond, dict):
        return {key: mapped(value, change) for key, value in cond.items()}
    if isinstance(cond, (list, tuple)):
        return type(cond)(mapped(value, change) for value in cond)
    return cond


def scale_on(surface: Surface, value: Tensor) -> int:
    """k where a tensor is spatial at k times the surface's size (a picture has k = 8), else 0."""
    if value.ndim < 4:
        return 0
    scale: int = value.shape[-1] // surface.width
    fits = scale and value.shape[-2:] == (surface.height * scale, surface.width * scale)
    return scale if fits else 0


def condition_of(cond: Any, windows: Sequence[Window], surface: Surface, rows: int) -> Any:
    """The condition of `windows` that are denoised in one batch, row by row as `read_all` has it.

    Tensors of the canvas' spatial size (or a whole multiple of it) are cut, others of as many rows are repeated, and
    what has one row for all, or no rows, serves as it is.

    Args:
        cond: the condition of the whole canvas.
        windows: of one size.
        rows: rows of the latent that the condition belongs to.
    """

    def cut(value: Tensor) -> Tensor:
        if value.ndim == 4 and len(value) > rows:
            value = value[:rows]  # the host keeps the rows of a skipped uncond in c_concat, but not in x
        scale = scale_on(surface, value)
        if scale and len(value) == 1:
            value = value.expand(rows, *value.shape[1:])
        if value.ndim == 0 or len(value) != rows:
            return value
        if not scale:
            return value.repeat_interleave(len(windows), dim=0)
        return read_all(value, windows, surface, scale)

    return mapped(cond, cut)


def picked_rows(cond: Any, picks: Sequence[int], rows: int) -> Any:
    """Some of the `rows` of a condition."""

    def pick(value: Tensor) -> Tensor:
        return value[list(picks)] if value.ndim and len(value) == rows else value

    return mapped(cond, pick)
