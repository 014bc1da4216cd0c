"""Where things lie on a canvas, and the only two functions that cut one: `read` and `add`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

OPT_F = 8
"""Pixels of the image per latent pixel."""


@dataclass(frozen=True)
class Surface:
    """What a canvas is: a plane, or joined at its top and bottom, at its left and right, or both (a torus).

    `height` and `width` are in latent pixels; `wraps` says (down, across) whether opposite edges are joined.
    """

    height: int
    width: int
    wraps: tuple[bool, bool] = (False, False)

    def closed(self, window: Window) -> tuple[bool, bool]:
        """(down, across): does the window go all the way around, so that its own opposite edges are joined?"""
        return (
            self.wraps[0] and window.h == self.height,
            self.wraps[1] and window.w == self.width,
        )


@dataclass(frozen=True)
class Window:
    """A rectangle on a surface: top edge `y`, left edge `x`, height `h`, width `w`, in latent pixels.

    Where the surface wraps, it may cross an edge: positions count on beyond it, or below 0.
    """

    y: int
    x: int
    h: int
    w: int


def _spans(start: int, length: int, size: int, wraps: bool) -> Iterator[tuple[slice, slice]]:
    """(on the canvas, in the window) of each stretch of a window's axis that lies between two joins.

    Raises:
        ValueError: the window leaves a surface that does not wrap, or is longer than one that does.
    """
    inside = start >= 0 and start + length <= size
    if not inside and (not wraps or length > size):
        raise ValueError(f"{start} … {start + length} does not lie on an axis of {size}")
    done = 0
    while done < length:
        at = (start + done) % size
        step = min(length - done, size - at)
        yield slice(at, at + step), slice(done, done + step)
        done += step


def _pieces(
    window: Window, surface: Surface, scale: int
) -> list[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """(on the canvas, in the window): rows and columns of each piece of a window, at `scale` times the latent size."""
    down = _spans(window.y * scale, window.h * scale, surface.height * scale, surface.wraps[0])
    across = list(_spans(window.x * scale, window.w * scale, surface.width * scale, surface.wraps[1]))
    return [((y, x), (at_y, at_x)) for (y, at_y), (x, at_x) in product(down, across)]


def read(tensor: Tensor, window: Window, surface: Surface, scale: int = 1) -> Tensor:
    """What of a canvas lies under a window: a view where it crosses no join. [..., h·scale, w·scale]

    Args:
        tensor: [..., height·scale, width·scale].
        scale: pixels of the tensor per latent pixel: 8 for a picture.

    Raises:
        ValueError: the window does not lie on the surface.
    """
    pieces = _pieces(window, surface, scale)
    if len(pieces) == 1:
        return tensor[(..., *pieces[0][0])]
    out = tensor.new_empty(*tensor.shape[:-2], window.h * scale, window.w * scale)
    for on_canvas, in_window in pieces:
        out[(..., *in_window)] = tensor[(..., *on_canvas)]
    return out


def add(tensor: Tensor, part: Tensor | float, window: Window, surface: Surface, scale: int = 1) -> None:
    """Add to a canvas, in place, what `read` would give; a number counts for every pixel. See `read`."""
    for on_canvas, in_window in _pieces(window, surface, scale):
        tensor[(..., *on_canvas)] += part[(..., *in_window)] if isinstance(part, Tensor) else part


def read_all(tensor: Tensor, windows: Sequence[Window], surface: Surface, scale: int = 1) -> Tensor:
    """Several windows of one size, row by row: row 0 of all of them, then row 1. [rows · windows, ..., h, w]

    In that order a batch can be cut into cond and uncond wherever the rows of the canvas can.
    """
    return torch.stack([read(tensor, window, surface, scale) for window in windows], dim=1).flatten(0, 1)
