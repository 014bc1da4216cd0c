"""GroupNorm over a feature map that is seen piece by piece: every pixel counts once, in any order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Moments:
    """Mean and variance (biased) of every group of a piece of a feature map.

    `count` is the number of values in one group; `mean` and `var` are [N, groups].
    """

    count: int
    mean: Tensor
    var: Tensor


CHUNK = 2**18
"""Values that are measured at once on the CPU: they stay in its cache."""


def measure(piece: Tensor, groups: int) -> Moments:
    """The moments of `piece` [N, C, h, w]; on the CPU in float64, elsewhere in float32 on its device."""
    if piece.device.type == "cpu":
        return _by_groups(_measure_channels(piece), groups)
    values = piece.float().reshape(piece.shape[0], groups, -1)
    var, mean = torch.var_mean(values, dim=-1, correction=0)
    return Moments(values.shape[-1], mean, var)


def _measure_channels(piece: Tensor) -> Moments:
    """Of every channel: a chunk of rows at a time, the mean first (`torch.var_mean` takes as long as a convolution)."""
    n, c, _, w = piece.shape
    chunks = []
    for rows in piece.split(max(1, CHUNK // (n * c * w)), dim=2):
        values = rows.movedim(1, -1).reshape(n, -1, c).float()
        mean = values.mean(1)
        chunks.append(Moments(values.shape[1], mean, (values - mean[:, None]).square_().mean(1)))
    return pool(chunks)


def _by_groups(channels: Moments, groups: int) -> Moments:
    """The moments of groups of channels, from those of the channels."""
    mean, var = (value.unflatten(1, (groups, -1)) for value in (channels.mean, channels.var))
    pooled = mean.mean(-1)
    between = (mean - pooled[..., None]).square()
    return Moments(channels.count * mean.shape[-1], pooled, (var + between).mean(-1))


def pool(pieces: Sequence[Moments]) -> Moments:
    """The moments of all pieces together, exactly: spread inside the pieces and between them.

    Chan, Golub, LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances" (1979), for any
    number of pieces at once. Worked out in float64 on the CPU (not every device has float64).
    """
    mean = torch.stack([piece.mean for piece in pieces]).cpu().double()
    var = torch.stack([piece.var for piece in pieces]).cpu().double()
    count = torch.tensor([piece.count for piece in pieces], dtype=torch.float64).view(-1, 1, 1)
    share = count / count.sum()
    pooled = (share * mean).sum(0)
    return Moments(int(count.sum()), pooled, (share * (var + (mean - pooled).square())).sum(0))


@dataclass(frozen=True)
class Affine:
    """What GroupNorm does once the moments are known: `x * scale + shift`. Both [N, C, 1, 1], float32."""

    scale: Tensor
    shift: Tensor

    def images(self, repeats: int) -> Affine:
        """For a batch in which every image stands `repeats` times in a row."""
        return Affine(self.scale.repeat_interleave(repeats, 0), self.shift.repeat_interleave(repeats, 0))


def affine(norm: nn.GroupNorm, moments: Moments) -> Affine:
    """GroupNorm with these moments, on the device of its weights."""
    per_group = norm.num_channels // norm.num_groups
    mean = moments.mean.repeat_interleave(per_group, 1)
    scale = (moments.var + norm.eps).rsqrt().repeat_interleave(per_group, 1)
    shift = -mean * scale
    if norm.affine:
        weight, bias = norm.weight.detach().cpu().double(), norm.bias.detach().cpu().double()
        scale, shift = scale * weight, shift * weight + bias
    scale, shift = (t.float().to(norm.weight.device)[:, :, None, None] for t in (scale, shift))
    return Affine(scale, shift)
