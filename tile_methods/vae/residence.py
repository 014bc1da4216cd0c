"""Hooks that bring a module's weights to where it is computed, or into the type it is computed in, and back.

`accelerate` (sequential offload) and `diffusers` (group offload, layer-wise casting) put them around a module's
forward. Tasks do without that forward, so they run the hooks around themselves.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

from tile_methods.joins import is_joined
from tile_utils import patching

MOVING = {
    "accelerate.hooks": {"AlignDevicesHook", "CpuOffload", "LayerwiseCastingHook", "SequentialHook"},
    "diffusers.hooks.group_offloading": {"GroupOffloadingHook"},
    "diffusers.hooks.layerwise_casting": {"LayerwiseCastingHook", "PeftInputAutocastDisableHook"},
}
"""Hooks, by module and class, that do nothing but move or cast weights."""


def _is_moving(hook: Any) -> bool:
    kind = type(hook)
    parts = getattr(hook, "hooks", ()) if kind.__name__ == "SequentialHook" else ()
    return kind.__name__ in MOVING.get(kind.__module__, ()) and all(map(_is_moving, parts))


def _hooks(module: nn.Module) -> tuple[list[Any], Any]:
    """(hooks around the module's forward from the outermost, the forward below them or None for the class's own)."""
    forward, hooks = patching.below_wrappers(module, "forward"), []
    registry = getattr(module, "_diffusers_hook", None)
    waiting = list(zip(registry.hooks.values(), registry._fn_refs)) if registry is not None else []
    while isinstance(forward, functools.partial):
        origin = getattr(forward.func, "__module__", "")
        if origin == "accelerate.hooks":
            hooks.append(module._hf_hook)
            forward = module._old_forward
        elif origin == "diffusers.hooks.hooks" and waiting:
            hook, reference = waiting.pop()
            hooks.append(hook)
            forward = reference.original_forward or reference.forward
        else:
            break
    return hooks, forward


def strange_forward(module: nn.Module) -> str | None:
    """What stands in place of a module's forward besides ours and hooks that move weights, in words; or None."""
    hooks, forward = _hooks(module)
    for hook in hooks:
        if not _is_moving(hook):
            return f"has a hook of the kind {type(hook).__name__}"
    if forward is not None and getattr(forward, "__func__", None) is not type(module).forward:
        return "has another forward"
    return None


def stranger(module: nn.Module) -> str | None:
    """The same, with what stands around the forward, and in place of a convolution's padding."""
    if (words := strange_forward(module)) is not None:
        return words
    if module._forward_hooks or module._forward_pre_hooks:
        return "has a hook"
    if "_conv_forward" in vars(module) and not is_joined(module):
        return "has another way of padding"
    return None


@contextmanager
def weights_of(module: nn.Module) -> Iterator[None]:
    """With the module's weights as its forward would have them."""
    with ExitStack() as stack:
        for hook in _hooks(module)[0]:
            hook.pre_forward(module)
            stack.callback(hook.post_forward, module, None)
        yield


class Residence:
    """Brings the weights of one task after the other; what holds several tasks' modules is entered once for all."""

    def __init__(self) -> None:
        self._entered: list[tuple[nn.Module, ExitStack]] = []

    def __enter__(self) -> Residence:
        return self

    def __exit__(self, *error: Any) -> None:
        self._leave(0)

    def bring(self, modules: Sequence[nn.Module]) -> None:
        """Have the weights of these modules, holders first, and no others."""
        hooked = [module for module in modules if _hooks(module)[0]]
        common = 0
        for (entered, _), wanted in zip(self._entered, hooked):
            if entered is not wanted:
                break
            common += 1
        self._leave(common)
        for module in hooked[common:]:
            stack = ExitStack()
            stack.enter_context(weights_of(module))
            self._entered.append((module, stack))

    def _leave(self, kept: int) -> None:
        while len(self._entered) > kept:
            self._entered.pop()[1].close()
