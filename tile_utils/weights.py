"""How much each pixel of a tile counts where tiles overlap."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

GAUSSIAN_VARIANCE = 0.01
"""Variance of the Gaussian as a fraction of the tile side squared (Jiménez, arXiv 2302.02412)."""


def uniform_weights(width: int, height: int, device: torch.device | None = None) -> Tensor:
    """Every pixel counts 1: the average of MultiDiffusion (arXiv 2302.08113, eq. 7). [h, w], float32"""
    return torch.ones(height, width, device=device)


def gaussian_weights(width: int, height: int, device: torch.device | None = None) -> Tensor:
    """The Gaussian of Mixture of Diffusers, centred on (side - 1) / 2 of each axis. [h, w], float32"""

    def profile(side: int) -> Tensor:
        offset = torch.arange(side, device=device, dtype=torch.float32) - (side - 1) / 2
        return torch.exp(-(offset**2) / (2 * GAUSSIAN_VARIANCE * side**2))

    return profile(height)[:, None] * profile(width)[None, :]


def feather_mask(width: int, height: int, ratio: float, device: torch.device | None = None) -> Tensor:
    """How much of a foreground region is laid over the background. [h, w], 0 ... 1, float32

    Within `ratio` of half the smaller side from the nearest edge it grows with the square of the distance, from 0 on
    the edge's own pixels; further inside it is 1.
    """
    radius = int(min(width // 2, height // 2) * ratio)
    if radius == 0:
        return torch.ones(height, width, device=device)

    def distance(side: int) -> Tensor:
        at = torch.arange(side, device=device, dtype=torch.float32)
        return torch.minimum(at, side - 1 - at)

    nearest = torch.minimum(distance(height)[:, None], distance(width)[None, :])
    return (nearest / radius).clamp(max=1).square()


WEIGHTINGS: dict[str, Callable[..., Tensor]] = {
    "MultiDiffusion": uniform_weights,
    "Mixture of Diffusers": gaussian_weights,
}
"""How each method weighs a tile: MultiDiffusion and Mixture of Diffusers are one algorithm with two weightings."""
