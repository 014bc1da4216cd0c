"""Noise of regions' own on a canvas."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

import torch
from torch import Tensor

from tile_utils.surface import Surface, Window, add


def add_noise(
    noise: Tensor,
    windows: Sequence[Window],
    own: Sequence[Tensor],
    surface: Surface,
    masks: Sequence[Tensor | None] = (),
) -> None:
    """Put regions' own noise into `noise` [C, H, W], in place; where windows overlap the variance stays 1.

    Args:
        own: unit normal noise of each window, [C, h, w].
        masks: where it is put in, [h, w] bool; None: everywhere.
    """
    total = torch.zeros_like(noise)
    count = noise.new_zeros(noise.shape[-2:])
    for window, part, mask in zip_longest(windows, own, masks):
        shape = 1 if mask is None else mask.to(part)
        add(total, part * shape, window, surface)
        add(count, shape, window, surface)
    noise[:, count > 0] = (total / count.clamp(min=1).sqrt())[:, count > 0]
