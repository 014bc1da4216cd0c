"""Noise of regions' own on a canvas."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tile_utils.surface import Surface, Window, add


def add_noise(noise: Tensor, windows: Sequence[Window], own: Sequence[Tensor], surface: Surface) -> None:
    """Put regions' own noise into `noise` [C, H, W], in place; where windows overlap the variance stays 1.

    Args:
        own: unit normal noise of each window, [C, h, w].
    """
    total = torch.zeros_like(noise)
    count = noise.new_zeros(noise.shape[-2:])
    for window, part in zip(windows, own):
        add(total, part, window, surface)
        add(count, 1, window, surface)
    noise[:, count > 0] = (total / count.clamp(min=1).sqrt())[:, count > 0]
