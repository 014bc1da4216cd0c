"""Before a network is tiled: does each of its parts compute what its tasks compute?

Structure does not tell everything: code may be patched in its class, subclasses may compute something else. So the
network's own forward runs once on a tiny input, and every part's result is compared with its tasks' on the same input.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from tile_methods.vae.exact import ExactWorker
from tile_methods.vae.layers import Guard
from tile_methods.vae.program import Part, Program, UnsupportedNetwork, scale_of
from tile_methods.vae.residence import weights_of
from tile_methods.vae.storage import DeviceStore

SIDES = (3, 4)
"""Latent pixels: not a square, and edges everywhere."""
TOLERANCES = {torch.float16: 1e-2, torch.bfloat16: 4e-2}
"""Relative errors (root mean square) that rounding explains; 1e-3 for float32."""


class _Seen:
    """What parts were given and gave in one forward, of this thread."""

    def __init__(self, parts: list[Part], stack: ExitStack) -> None:
        self._thread = threading.get_ident()
        self.given: dict[int, list[Tensor]] = {index: [] for index in range(len(parts))}
        self.made: dict[int, list[Tensor]] = {index: [] for index in range(len(parts))}
        for index, part in enumerate(parts):
            handles = (
                part.first.register_forward_pre_hook(self._note_given(index)),
                part.last.register_forward_hook(self._note_made(index)),
            )
            for handle in handles:
                stack.callback(handle.remove)

    def _note_given(self, index: int) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
            if threading.get_ident() == self._thread and args:
                self.given[index].append(args[0].clone())

        return hook

    def _note_made(self, index: int) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], out: Any) -> None:
            if threading.get_ident() == self._thread and isinstance(out, Tensor):
                self.made[index].append(out.clone())

        return hook


def _error(a: Tensor, b: Tensor) -> float:
    """Root mean square of the difference over that of `b`."""
    a, b = a.float(), b.float()
    return float((a - b).square().mean().sqrt() / b.square().mean().sqrt().clamp_min(1e-12))


def _differs(a: Tensor, b: Tensor, dtype: torch.dtype) -> bool:
    if a.shape != b.shape:
        return True
    if not bool(b.isfinite().all()):  # half precision overflowed; nothing can be said
        return False
    return not _error(a.to(b.device), b) <= TOLERANCES.get(dtype, 1e-3)


def _input(program: Program, dtype: torch.dtype, device: torch.device) -> Tensor:
    smaller = scale_of(program.tasks)[1]
    channels = program.parts[0].tasks[0].conv.in_channels  # type: ignore[union-attr]
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, channels, *(side * smaller for side in SIDES), generator=generator)
    return x.to(device, dtype)


def check(net: nn.Module, program: Program, dtype: torch.dtype, device: torch.device) -> None:
    """Compare every part.

    Args:
        dtype, device: of what the network is given.

    Raises:
        UnsupportedNetwork: a part computes something else than its tasks; it is named.
    """
    parts, x = program.parts, _input(program, dtype, device)
    with ExitStack() as stack:
        seen = _Seen(parts, stack)
        stack.enter_context(weights_of(net))
        result = type(net).forward(net, x)
    before = x
    for index, part in enumerate(parts):
        if len(seen.given[index]) != 1 or len(seen.made[index]) != 1:
            raise UnsupportedNetwork(f"{part.name} is not used once")
        given, made = seen.given[index][0], seen.made[index][0]
        if _differs(given, before, dtype):
            raise UnsupportedNetwork(f"something is computed before {part.name}")
        worker = ExactWorker(DeviceStore(), 2**30, lambda: None, Guard())
        if given.isfinite().all() and _differs(worker.whole(part.tasks, given, device), made, made.dtype):
            raise UnsupportedNetwork(f"{part.name} computes something else")
        before = made
    if _differs(result, before, dtype):
        raise UnsupportedNetwork("something is computed after conv_out")
