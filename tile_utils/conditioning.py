"""Cut a condition for tiles, whatever keys and nesting the host or another extension gave it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tile_utils.geometry import Box


def _scale_to_canvas(shape: torch.Size, canvas: tuple[int, int]) -> int:
    """k where the tensor is spatial at k times the canvas' size (a hint image has k = 8), else 0."""
    if len(shape) < 4:
        return 0
    height, width = canvas
    scale = shape[-1] // width
    return scale if scale and (shape[-2], shape[-1]) == (height * scale, width * scale) else 0


def _tile_tensor(value: Tensor, boxes: Sequence[Box], canvas: tuple[int, int], rows: int) -> Tensor:
    if value.ndim == 4 and len(value) > rows:
        value = value[:rows]  # the host keeps the rows of a skipped uncond in c_concat, but not in x
    scale = _scale_to_canvas(value.shape, canvas)
    if scale and len(value) == 1:
        value = value.expand(rows, *value.shape[1:])
    if value.ndim == 0 or len(value) != rows:
        return value  # not of rows: it serves them all
    if not scale:
        return value.repeat(len(boxes), *[1] * (value.ndim - 1))
    scaled = (Box(b.x * scale, b.y * scale, b.w * scale, b.h * scale) for b in boxes)
    return torch.cat([value[(..., *box.slices)] for box in scaled])


def tile_conditioning(cond: Any, boxes: Sequence[Box], canvas: tuple[int, int], rows: int) -> Any:
    """The condition for `boxes` denoised in one batch, rows ordered tile by tile.

    Tensors of the canvas' spatial size (or a whole multiple of it) are cropped, other tensors of as many rows are
    repeated; dicts, lists and tuples are rebuilt, because hosts cast a condition in place; anything else passes
    through.

    Args:
        cond: the condition of the whole canvas.
        boxes: tiles of one size, in latent pixels.
        canvas: height and width of the canvas, in latent pixels.
        rows: rows of the latent that the condition belongs to.
    """
    if isinstance(cond, Tensor):
        return _tile_tensor(cond, boxes, canvas, rows)
    if isinstance(cond, dict):
        return {key: tile_conditioning(value, boxes, canvas, rows) for key, value in cond.items()}
    if isinstance(cond, (list, tuple)):
        return type(cond)(tile_conditioning(value, boxes, canvas, rows) for value in cond)
    return cond
