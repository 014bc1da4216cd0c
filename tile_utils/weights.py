"""How much each pixel of a tile counts where tiles overlap."""

from __future__ import annotations

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
