"""What one task computes on tensors, with the statistics of its GroupNorm given."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tile_methods.ranks import ALONE, Ranks
from tile_methods.vae.program import Attend, Convolve
from tile_methods.vae.spans import DOWN, UP, Reading
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

    def __call__(
        self, compute: Callable[[torch.dtype], Tensor], dtype: torch.dtype, ranks: Ranks = ALONE
    ) -> Tensor:
        """compute(dtype), or compute(float32), on all of these ranks the same."""
        out = compute(dtype)
        if dtype != torch.float16 or not ranks.any(not is_finite(out)):
            return out
        self.redone += 1
        return compute(torch.float32)


def weights(module: Any, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of a convolution or linear layer."""
    bias = module.bias
    return module.weight.to(dtype), None if bias is None else bias.to(dtype)


def format_for(weight: Tensor) -> torch.memory_format:
    """How feature maps lie in memory: on the CPU channels last, which its convolutions read without reordering."""
    last = weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
    return torch.channels_last if last or weight.device.type == "cpu" else torch.contiguous_format


_IN_PLACE: dict[type, Callable[[Tensor], Tensor]] = {
    nn.SiLU: functools.partial(F.silu, inplace=True),
    nn.ReLU: functools.partial(F.relu, inplace=True),
    nn.Mish: functools.partial(F.mish, inplace=True),
}
ACTIVATIONS = (*_IN_PLACE, nn.GELU)
"""What may stand between GroupNorm and convolution; each leaves zero at zero, so that it may meet the padding."""


def activate(module: nn.Module, x: Tensor) -> Tensor:
    """The activation, in place where torch has that."""
    in_place = _IN_PLACE.get(type(module))
    return module(x) if in_place is None else in_place(x)


def gather(
    task: Convolve, pieces: Sequence[Tensor], norm: Affine | None, rows: Reading, columns: Reading
) -> Tensor:
    """Pieces that lie below each other put together, normalised, activated and padded at the picture's edges.

    In the type of the task's weights if normalised, else in one that holds the widest piece.

    Returns:
        [N, C, rows + before + after, columns + before + after]
    """
    n, c, _, w = pieces[0].shape
    weight = task.conv.weight
    widest = functools.reduce(torch.promote_types, (piece.dtype for piece in pieces))
    height = rows.before + sum(piece.shape[-2] for piece in pieces) + rows.after
    size = (n, c, height, columns.before + w + columns.after)
    dtype = weight.dtype if norm is not None else widest
    out = torch.empty(size, dtype=dtype, device=pieces[0].device, memory_format=format_for(weight))
    inside, top = out[..., columns.before : columns.before + w], rows.before
    for piece in pieces:
        target = inside[..., top : top + piece.shape[-2], :]
        if norm is None:
            target.copy_(piece)
        else:
            torch.addcmul(norm.shift, piece, norm.scale, out=target)
        top += piece.shape[-2]
    out[..., : rows.before, :] = 0
    out[..., height - rows.after :, :] = 0
    out[..., : columns.before] = inside[..., w - columns.before :] if task.wraps[1] else 0
    out[..., columns.before + w :] = inside[..., : columns.after] if task.wraps[1] else 0
    return out if norm is None else activate(task.activation, out)


def joined(pieces: Sequence[Tensor]) -> Tensor:
    """Pieces that lie below each other as one tensor."""
    return pieces[0] if len(pieces) == 1 else torch.cat(list(pieces), -2)


def _phases(weight: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Along one axis, 3 taps on doubled pixels as 2 taps on single ones: for even outputs, for odd ones."""
    first, middle, last = weight.unbind(dim)
    return torch.stack([first, middle + last], dim), torch.stack([first + middle, last], dim)


class Kernel:
    """A convolution's weights, made ready once for all bands of a task.

    An upsampling convolution looks at four doubled pixels only four ways: each is a 2x2 convolution of the small
    picture, so that 16 multiplications do what 36 would.
    """

    def __init__(self, task: Convolve) -> None:
        self.task = task
        self.dtype = task.conv.weight.dtype
        self._format = format_for(task.conv.weight)
        self._made: dict[torch.dtype, list[Tensor]] = {}

    def _weights(self, dtype: torch.dtype) -> list[Tensor]:
        if dtype not in self._made:
            weight = self.task.conv.weight
            if self.task.resize == UP:
                parts = [part for rows in _phases(weight.float(), 2) for part in _phases(rows, 3)]
            else:
                parts = [weight]
            self._made[dtype] = [part.to(dtype).contiguous(memory_format=self._format) for part in parts]
        return self._made[dtype]

    def __call__(
        self, x: Tensor, rows: int, columns: int, skip: tuple[int, int], dtype: torch.dtype
    ) -> Tensor:
        """The convolution of padded `x`. [N, C, rows, columns]

        Args:
            skip: see `Reading`, of rows and of columns.
        """
        bias = None if self.task.conv.bias is None else self.task.conv.bias.to(dtype)
        x, parts = x.to(dtype), self._weights(dtype)
        if self.task.resize != UP:
            return F.conv2d(x, parts[0], bias, stride=2 if self.task.resize == DOWN else 1)
        size = (x.shape[0], self.task.conv.out_channels, rows, columns)
        out = torch.empty(size, dtype=dtype, device=x.device, memory_format=self._format)
        for index, weight in enumerate(parts):
            (y, top, height), (x0, left, width) = (
                _phase(odd, first, count)
                for odd, first, count in zip(divmod(index, 2), skip, (rows, columns))
            )
            if height and width:
                part = x[..., top : top + height + 1, left : left + width + 1]
                out[..., y::2, x0::2] = F.conv2d(part, weight, bias)
        return out


def _phase(odd: int, skip: int, count: int) -> tuple[int, int, int]:
    """(first of the outputs that are odd or even, first pixel that it reads, how many there are).

    The first two outputs of a reading are an odd one and an even one, and both read its first two pixels.
    """
    first = (skip + 1 - odd) % 2
    return first, (first + skip) // 2, max(0, (count - first + 1) // 2)


def convolve(
    kernel: Kernel,
    active: Tensor,
    rows: Reading,
    columns: Reading,
    size: tuple[int, int],
    added: Sequence[Tensor],
    guard: Guard,
) -> Tensor:
    """The convolution of what `gather` has put together. [N, C, *size]

    Args:
        added: what the block put aside, as pieces below each other.
    """

    def compute(dtype: torch.dtype) -> Tensor:
        out = kernel(active, *size, (rows.skip, columns.skip), dtype)
        top = 0
        for piece in added:
            out[..., top : top + piece.shape[-2], :] += piece
            top += piece.shape[-2]
        return out

    return guard(compute, kernel.dtype)


def shortcut(task: Convolve, x: Tensor, guard: Guard) -> Tensor:
    """What a block that opens puts aside for `x`."""
    if task.shortcut is None:
        return x
    conv = task.shortcut
    return guard(lambda dtype: F.conv2d(x.to(dtype), *weights(conv, dtype)), conv.weight.dtype)


def query_slices(images: int, heads: int, pixels: int, keys: int | None = None) -> list[tuple[int, int]]:
    """(first, last + 1) of the queries that attention works off at once.

    Args:
        pixels: that ask; `keys`: that are asked, if they are others.
    """
    at_once = max(1, SCORES // (images * heads * (keys or pixels)))
    return [(start, min(pixels, start + at_once)) for start in range(0, pixels, at_once)]


def attend(
    task: Attend, x: Tensor, norm: Affine, guard: Guard, tick: Callable[[], None], ranks: Ranks = ALONE
) -> Tensor:
    """Self-attention over all pixels of `x` [N, C, h, w], a slice of the queries at a time, exactly.

    Args:
        tick: called after every slice; raises to stop.
        ranks: those that hold the rows above and below; all pixels are theirs too.
    """
    n, c, h, w = x.shape
    tokens = x.flatten(2).transpose(1, 2)  # [N, h w, C]
    scale, shift = (t.flatten(1)[:, None] for t in (norm.scale, norm.shift))

    def project(module: Any, given: Tensor, dtype: torch.dtype) -> Tensor:
        weight, bias = weights(module, dtype)
        return F.linear(given, weight.flatten(1), bias)

    def heads(module: Any, given: Tensor, dtype: torch.dtype) -> Tensor:
        return project(module, given, dtype).view(n, given.shape[1], task.heads, -1).transpose(1, 2)

    def compute(dtype: torch.dtype) -> Tensor:
        normed = torch.addcmul(shift, tokens, scale).to(dtype)
        key, value = (ranks.joined(heads(module, normed, dtype), 2) for module in (task.key, task.value))
        del normed
        out = torch.empty(n, h * w, c, dtype=torch.promote_types(x.dtype, dtype), device=x.device)
        for start, stop in query_slices(n, task.heads, h * w, key.shape[2]):
            given = torch.addcmul(shift, tokens[:, start:stop], scale).to(dtype)
            mixed = F.scaled_dot_product_attention(heads(task.query, given, dtype), key, value)
            mixed = mixed.transpose(1, 2).reshape(n, stop - start, -1)
            torch.add(tokens[:, start:stop], project(task.out, mixed, dtype), out=out[:, start:stop])
            tick()
        return out.view(n, h, w, c).permute(0, 3, 1, 2)

    return guard(compute, task.norm.weight.dtype, ranks)
