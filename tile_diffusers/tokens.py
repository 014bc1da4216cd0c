"""Latents as packed tokens: which lies where is said by position ids [tokens, axes], of which the second and third are
row and column. The picture's own tokens come first; others (a reference picture's) differ from them in the first."""

from __future__ import annotations

import torch
from torch import Tensor

from tile_utils.surface import Surface


def surface_of(ids: Tensor) -> Surface | None:
    """The surface that the picture's own tokens cover, line by line, or None if they are not a whole rectangle.

    Args:
        ids: [tokens, axes].
    """
    own = ids[:, 0] == ids[0, 0]
    count = int(own.sum())
    if ids.shape[1] < 3 or not bool(own[:count].all()):
        return None
    at = ids[:count, 1:3] - ids[0, 1:3]
    height, width = (int(side) + 1 for side in at[-1])
    lines = torch.arange(height * width, device=ids.device)
    whole = torch.stack([lines // max(width, 1), lines % max(width, 1)], dim=1)
    fits = height * width == count and torch.equal(at.to(whole.dtype), whole)
    return Surface(height, width) if fits else None


def unpacked(tokens: Tensor, height: int, width: int) -> Tensor:
    """[B, height · width (+ others), C] -> [B, C, height, width]"""
    return tokens[:, : height * width].transpose(1, 2).unflatten(2, (height, width))


def packed(x: Tensor) -> Tensor:
    """[B, C, height, width] -> [B, height · width, C]"""
    return x.flatten(2).transpose(1, 2)
