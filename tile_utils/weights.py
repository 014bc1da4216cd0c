"""How much each pixel of a tile counts where tiles overlap."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, pad

GAUSSIAN_VARIANCE = 0.01
"""Variance of the Gaussian as a fraction of the tile side squared (Jiménez, arXiv 2302.02412)."""


OPEN = (False, False)
"""`closed` of what has edges all around: (down, across), is its one edge joined to the opposite one?"""


def uniform_weights(
    width: int, height: int, device: torch.device | None = None, closed: tuple[bool, bool] = OPEN
) -> Tensor:
    """Every pixel counts 1: the average of MultiDiffusion (arXiv 2302.08113, eq. 7). [h, w], float32"""
    return torch.ones(height, width, device=device)


def gaussian_weights(
    width: int, height: int, device: torch.device | None = None, closed: tuple[bool, bool] = OPEN
) -> Tensor:
    """The Gaussian of Mixture of Diffusers, centred on (side - 1) / 2 of each axis; a circle has no centre, there all
    pixels count alike. [h, w], float32"""

    def profile(side: int, circle: bool) -> Tensor:
        if circle:
            return torch.ones(side, device=device)
        offset = torch.arange(side, device=device, dtype=torch.float32) - (side - 1) / 2
        return torch.exp(-(offset**2) / (2 * GAUSSIAN_VARIANCE * side**2))

    return profile(height, closed[0])[:, None] * profile(width, closed[1])[None, :]


def feather_mask(
    width: int,
    height: int,
    ratio: float,
    device: torch.device | None = None,
    closed: tuple[bool, bool] = OPEN,
    shape: Tensor | None = None,
) -> Tensor:
    """How much of a foreground region is laid over the background. [h, w], 0 ... 1, float32

    Within `ratio` of half the smaller side from the nearest edge it grows with the square of the distance, from 0 on
    the edge's own pixels; further inside it is 1. Edges that are joined to each other are none.

    Args:
        shape: the region's pixels, [h, w] bool: then its outline is the edge, and half its thickness counts as well.
    """
    sides = [side // 2 for side, circle in zip((height, width), closed) if not circle]
    if shape is not None and not shape.all():
        depth = _depth(shape, closed)
        radius = int(min([*sides, int(depth.max()) + 1]) * ratio)
        return (depth / radius).clamp(max=1).square() if radius else shape.float()
    radius = int(min(sides, default=0) * ratio)
    if radius == 0:
        return torch.ones(height, width, device=device)

    def distance(side: int, circle: bool) -> Tensor:
        at = torch.arange(side, device=device, dtype=torch.float32)
        return torch.full_like(at, torch.inf) if circle else torch.minimum(at, side - 1 - at)

    nearest = torch.minimum(distance(height, closed[0])[:, None], distance(width, closed[1])[None, :])
    return (nearest / radius).clamp(max=1).square()


def _depth(shape: Tensor, closed: tuple[bool, bool]) -> Tensor:
    """Pixels between each of a shape and the nearest that is none of it, in steps to any of eight neighbours; what lies
    beyond edges that are not joined is none. [h, w], float32"""
    left, depth = shape.float(), torch.zeros_like(shape, dtype=torch.float32)
    while left.any():
        beyond = 1 - left[None]
        for edges, joined in zip(((0, 0, 1, 1), (1, 1, 0, 0)), closed):
            beyond = pad(beyond, edges, "circular") if joined else pad(beyond, edges, value=1.0)
        left = 1 - max_pool2d(beyond, 3, 1)[0]
        depth += left
    return depth


WEIGHTINGS: dict[str, Callable[..., Tensor]] = {
    "MultiDiffusion": uniform_weights,
    "Mixture of Diffusers": gaussian_weights,
}
"""How each method weighs a tile: MultiDiffusion and Mixture of Diffusers are one algorithm with two weightings."""
