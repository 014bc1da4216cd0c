"""Convolutions that go on at the opposite edge: down, across, both, or neither. A `padding_mode` knows no direction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tile_utils import patching

Wraps = tuple[bool, bool]
"""(down, across), as a `Surface` has it."""
Forward = Callable[[Tensor], Tensor]


@dataclass
class Joins:
    """At which edges the convolutions that share this are joined; may change from call to call."""

    wraps: Wraps = (False, False)


class JoinedConvolution:
    """The marker: stands in place of a convolution's own padding, whatever its `padding_mode` says.

    A VAE's downsampling has none of its own: it is given a row of zeros below and a column on the right.
    """

    def __init__(self, conv: nn.Conv2d, joins: Joins) -> None:
        self._conv, self.joins, self._is_given_padded = conv, joins, False

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        conv = self._conv
        x, left = (x, conv.padding) if self._is_given_padded else self._padded(x)
        return nn.functional.conv2d(x, weight, bias, conv.stride, left, conv.dilation, conv.groups)

    def before(self, forward: Forward) -> Forward:
        """The forward of a class that asks its parent's convolution, past the marker (Forge's): it pads no more."""

        def call(x: Tensor) -> Tensor:
            x, left = self._padded(x)
            with ExitStack() as stack:
                for owner, name, value in (
                    (self._conv, "padding", left),
                    (self._conv, "padding_mode", "zeros"),
                    (self, "_is_given_padded", True),
                ):
                    stack.enter_context(patching.attribute(owner, name, value))
                return forward(x)

        return call

    def _padded(self, x: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        """(the input with what lies at the joined edges, the padding that is left to do)."""
        left = [int(pad) for pad in self._conv.padding]
        for index, axis in enumerate((-2, -1)):
            if not self.joins.wraps[index]:
                continue
            size, pad, left[index] = x.shape[axis], left[index], 0
            before, whole, after = (pad, size, pad) if pad else (0, size - 1, 1)
            parts = (
                x.narrow(axis, size - before, before),
                x.narrow(axis, 0, whole),
                x.narrow(axis, 0, after),
            )
            x = torch.cat(parts, axis)
        return x, tuple(left)


def _looks_around(module: nn.Module) -> bool:
    """Is it a convolution that sees its neighbours, and is padded in one of the two known ways?"""
    if not isinstance(module, nn.Conv2d) or module.kernel_size == (1, 1) or isinstance(module.padding, str):
        return False
    return module.padding != (0, 0) or (module.kernel_size, module.stride) == ((3, 3), (2, 2))


@contextmanager
def joined(modules: Iterable[nn.Module], joins: Joins) -> Iterator[None]:
    """Inside, the convolutions among these modules, and in them, are padded as `joins` says at each call."""
    with ExitStack() as stack:
        for conv in {part: None for module in modules for part in module.modules()}:
            if _looks_around(conv):
                mark = JoinedConvolution(conv, joins)  # type: ignore[arg-type]
                stack.enter_context(patching.attribute(conv, "_conv_forward", mark))
                if type(conv).forward is not nn.Conv2d.forward:
                    stack.enter_context(patching.wrapped(conv, "forward", mark.before))
        yield


def is_joined(module: nn.Module) -> bool:
    """Has it the marker?"""
    return isinstance(vars(module).get("_conv_forward"), JoinedConvolution)


def wraps_of(conv: nn.Conv2d) -> Wraps:
    """At which edges a convolution is joined: by the marker, or else by its `padding_mode`, if it pads."""
    mark = vars(conv).get("_conv_forward")
    if isinstance(mark, JoinedConvolution):
        return mark.joins.wraps
    circular = conv.padding_mode == "circular" and conv.padding != (0, 0)
    return circular, circular
