"""How much each pixel of a tile counts where tiles overlap."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

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
) -> Tensor:
    """How much of a foreground region is laid over the background. [h, w], 0 ... 1, float32

    Within `ratio` of half the smaller side from the nearest edge it grows with the square of the distance, from 0 on
    the edge's own pixels; further inside it is 1. Edges that are joined to each other are none.
    """
    sides = [side // 2 for side, circle in zip((height, width), closed) if not circle]
    radius = int(min(sides, default=0) * ratio)
    if radius == 0:
        return torch.ones(height, width, device=device)

    def distance(side: int, circle: bool) -> Tensor:
        at = torch.arange(side, device=device, dtype=torch.float32)
        return torch.full_like(at, side) if circle else torch.minimum(at, side - 1 - at)

    nearest = torch.minimum(distance(height, closed[0])[:, None], distance(width, closed[1])[None, :])
    return (nearest / radius).clamp(max=1).square()


WEIGHTINGS: dict[str, Callable[..., Tensor]] = {
    "MultiDiffusion": uniform_weights,
    "Mixture of Diffusers": gaussian_weights,
}
"""How each method weighs a tile: MultiDiffusion and Mixture of Diffusers are one algorithm with two weightings."""
