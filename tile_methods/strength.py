"""Places that are drawn anew less than the rest of a canvas: they are let go later.

Until then x0 is what the pass starts from there, so that the noisy latent stays that picture with noise, at every noise
level; from then on it is drawn as anywhere (compare Levin & Fried, Differential Diffusion, arXiv 2306.00950).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from tile_methods.colours import LowPass
from tile_methods.patch import Patch
from tile_utils.surface import Surface, add

SOFT = 2.0
"""Deviation, in latent pixels, of the Gaussian that a border is let go along."""


def strength_map(patches: Iterable[tuple[Patch, float]], surface: Surface, device: torch.device) -> Tensor:
    """The share of the pass in which each latent pixel is drawn, [H, W]: the factor of the last patch that counts
    there, 1 where none does, with soft borders.
    """
    found = torch.ones(surface.height, surface.width, device=device)
    for patch, factor in patches:
        counted = torch.zeros_like(found)
        add(counted, (patch.weights > 0).float(), patch.window, surface)
        found = torch.where(counted > 0, factor, found)
    return LowPass(SOFT, None, surface.wraps)(found[None, None])[0, 0]


def let_go(denoised: Tensor, start: Tensor, strength: Tensor, left: float, before: float) -> Tensor:
    """x0 [B, C, H, W] where a pixel is drawn already, `start` where it waits, and half of each in the first call that
    draws it: samplers that remember earlier calls (LMS, UniPC, DPM++ 2M) carry on a jump of x0.

    Args:
        left: the share of the pass that is still to come, 1 … 0.
        before: that at the call before this one; 1 at the first.
    """
    drawn, settled = ((strength >= share - 1e-6).to(denoised) for share in (left, before))
    return torch.lerp(start.to(denoised), denoised, (drawn + settled) / 2)
