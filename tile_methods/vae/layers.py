"""What one task computes on tensors, with the statistics of its GroupNorm given."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tile_methods.vae.program import DOWN, UP, Attend, Convolve
from tile_utils.group_norm import Affine

SCORES = 2**26
"""Attention scores that are held at once, at most."""


def is_finite(x: Tensor) -> bool:
    """Is neither infinity nor NaN in `x`? Of half precision: its sum never leaves float32's range."""
    return bool(torch.isfinite(x.sum(dtype=torch.float32)))


@dataclass
class Guard:
    """Computes again in float32 what overflows in half precision; that piece then stays float32.

    `redone` counts such pieces.
    """

    redone: int = 0

    def __call__(self, compute: Callable[[torch.dtype], Tensor], dtype: torch.dtype) -> Tensor:
        """compute(dtype), or compute(float32)."""
        out = compute(dtype)
        if dtype != torch.float16 or is_finite(out):
            return out
        self.redone += 1
        return compute(torch.float32)


def weights(module: Any, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of a convolution or linear layer."""
    bias = module.bias
    return module.weight.to(dtype), None if bias is None else bias.to(dtype)


def wraps(task: Convolve) -> bool:
    """Does the convolution continue at the opposite edge? (The host's "Tiling" option makes it so.)"""
    return task.conv.padding_mode == "circular" and task.resize != DOWN


def activate(
    pieces: Sequence[Tensor], norm: Affine | None, dtype: torch.dtype, above: int = 0, below: int = 0
) -> Tensor:
    """Rows put together, normalised and through SiLU, in one pass over memory; rows of zeros above and below.

    Without `norm` they are only put together, in a type that holds the widest of them.

    Returns:
        [N, C, above + sum of h + below, w]
    """
    if norm is None:
        if len(pieces) == 1 and not above and not below:
            return pieces[0]
        dtype = functools.reduce(torch.promote_types, (piece.dtype for piece in pieces))
    n, c, _, w = pieces[0].shape
    height = above + sum(piece.shape[-2] for piece in pieces) + below
    out = torch.empty(n, c, height, w, dtype=dtype, device=pieces[0].device)
    out[..., :above, :] = 0
    out[..., height - below :, :] = 0
    top = above
    for piece in pieces:
        rows = out[..., top : top + piece.shape[-2], :]
        if norm is None:
            rows.copy_(piece)
        else:
            torch.addcmul(norm.shift, piece, norm.scale, out=rows)
        top += piece.shape[-2]
    return out if norm is None else F.silu(out, inplace=True)


def resize_and_convolve(task: Convolve, x: Tensor, dtype: torch.dtype, rows_padded: bool) -> Tensor:
    """The task's convolution of activated `x`; rows that were already padded above and below are not again."""
    weight, bias = weights(task.conv, dtype)
    x = x.to(dtype)
    if task.resize == DOWN:
        return F.conv2d(F.pad(x, (0, 1, 0, 0 if rows_padded else 1)), weight, bias, stride=2)
    rows = 0 if rows_padded else 1
    if wraps(task):
        x = F.pad(x, (1, 1, 0, 0), mode="circular")
        return F.conv2d(F.pad(x, (0, 0, rows, rows), mode="circular") if rows else x, weight, bias)
    return F.conv2d(x, weight, bias, padding=(rows, 1))


def shortcut(task: Convolve, x: Tensor, guard: Guard) -> Tensor:
    """What a block that opens puts aside for `x`."""
    if task.shortcut is None:
        return x
    conv = task.shortcut
    return guard(lambda dtype: F.conv2d(x.to(dtype), *weights(conv, dtype)), conv.weight.dtype)


def _resized(task: Convolve, x: Tensor, norm: Affine | None) -> Tensor:
    """What the task's convolution is given, but for padding."""
    active = activate([x], norm, task.conv.weight.dtype)
    return F.interpolate(active, scale_factor=2.0, mode="nearest") if task.resize == UP else active


def whole(task: Convolve, x: Tensor, aside: Tensor | None, norm: Affine | None, guard: Guard) -> Tensor:
    """The task on a picture of its own: padded at all four edges."""
    active = _resized(task, x, norm)

    def compute(dtype: torch.dtype) -> Tensor:
        out = resize_and_convolve(task, active, dtype, rows_padded=False)
        return out.add_(aside) if aside is not None else out

    return guard(compute, task.conv.weight.dtype)


def inner(task: Convolve, x: Tensor, aside: Tensor | None, norm: Affine | None, guard: Guard) -> Tensor:
    """The task on a part of a picture, without padding: what comes out lacks the border that is not known."""
    active = _resized(task, x, norm)

    def compute(dtype: torch.dtype) -> Tensor:
        stride = 2 if task.resize == DOWN else 1
        out = F.conv2d(active.to(dtype), *weights(task.conv, dtype), stride=stride)
        return out.add_(trimmed(aside, out)) if aside is not None else out

    return guard(compute, task.conv.weight.dtype)


def trimmed(x: Tensor, like: Tensor) -> Tensor:
    """The middle of `x`, of the height and width of `like`."""
    top, left = ((a - b) // 2 for a, b in zip(x.shape[-2:], like.shape[-2:]))
    return x[..., top : top + like.shape[-2], left : left + like.shape[-1]]


def attend(task: Attend, x: Tensor, norm: Affine, guard: Guard) -> Tensor:
    """Self-attention over all pixels of `x` [N, C, h, w], a slice of the queries at a time, exactly."""
    n, c, h, w = x.shape

    def project(module: Any, tokens: Tensor, dtype: torch.dtype) -> Tensor:
        weight, bias = weights(module, dtype)
        return F.linear(tokens, weight.flatten(1), bias)

    def compute(dtype: torch.dtype) -> Tensor:
        tokens = torch.addcmul(norm.shift, x, norm.scale).to(dtype).flatten(2).transpose(1, 2)
        q, k, v = (
            project(module, tokens, dtype).view(n, h * w, task.heads, -1).transpose(1, 2)
            for module in (task.query, task.key, task.value)
        )
        at_once = max(1, SCORES // (n * task.heads * h * w))
        parts = [F.scaled_dot_product_attention(part, k, v) for part in q.split(at_once, dim=2)]
        mixed = torch.cat(parts, 2).transpose(1, 2).reshape(n, h * w, -1)
        return x + project(task.out, mixed, dtype).transpose(1, 2).reshape(n, c, h, w)

    return guard(compute, task.norm.weight.dtype)
