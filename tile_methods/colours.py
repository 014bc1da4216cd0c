"""Colours held: the low frequencies of one picture in another, which keeps its own detail.

Tiles tint what they draw, each its own way. A tint has low frequencies only, and those are known: they are the input's.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor

LATENT_BLUR, PICTURE_BLUR = 4.0, 16.0
"""Deviation of the Gaussian that parts low from high frequencies, in latent pixels and in pixels; see
`docs/benchmarks.md`."""
LEAST = 1e-4
"""What a mask lets see of a neighbourhood; below it nothing is known there."""


def _along(values: Tensor, sigma: float, axis: int, wraps: bool) -> Tensor:
    """Gaussian means along an axis of [B, C, H, W]; beyond an edge that is not joined to the opposite one lies 0."""
    radius, size = ceil(3 * sigma), values.shape[axis]
    distance = torch.arange(-radius, radius + 1, device=values.device)
    kernel = torch.exp(-(distance**2) / (2 * sigma**2)).to(values)
    if wraps:
        beyond = torch.arange(-radius, size + radius, device=values.device) % size
        values = values.index_select(axis, beyond)
    turned = values.movedim(axis, -1)
    rows = turned.flatten(0, -2)[:, None]
    blurred = F.conv1d(rows, (kernel / kernel.sum())[None, None], padding=0 if wraps else radius)
    return blurred.view(*turned.shape[:-1], size).movedim(-1, axis)


@dataclass(frozen=True)
class LowPass:
    """A Gaussian of deviation `sigma` whose weights sum up to 1 everywhere, at edges too.

    Args:
        mask: how much it sees of each pixel, 0 … 1, [H, W]; None: all of them.
        wraps: which edges are joined; see `Surface`.
    """

    sigma: float
    mask: Tensor | None = None
    wraps: tuple[bool, bool] = (False, False)

    def __call__(self, values: Tensor) -> Tensor:
        """The low frequencies of [B, C, H, W], and 0 where nothing near is seen. The same shape."""
        mask = values.new_ones(values.shape[-2:]) if self.mask is None else self.mask.to(values)
        near = self._sums(mask[None, None])
        return self._sums(values * mask) / near.clamp_min(LEAST) * (near > LEAST)

    def _sums(self, values: Tensor) -> Tensor:
        return _along(_along(values, self.sigma, 2, self.wraps[0]), self.sigma, 3, self.wraps[1])


def held(values: Tensor, low: Tensor, low_pass: LowPass) -> Tensor:
    """`values` [B, C, H, W] with the low frequencies `low`, as this low pass gives them, wherever it sees anything."""
    change = low - low_pass(values)
    return values + (change if low_pass.mask is None else change * low_pass.mask.to(values))
