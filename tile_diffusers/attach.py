"""Put a hook of `diffusers` on a network, below accelerate's, and take it off without a trace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from diffusers.hooks import HookRegistry, ModelHook
from torch import nn

REGISTRY = "_diffusers_hook"


@contextmanager
def attached(net: nn.Module, hook: ModelHook, name: str) -> Iterator[None]:
    """The network with the hook. Hooks that others put on meanwhile stay, in any order."""
    had_registry = REGISTRY in vars(net)
    with _below_accelerate(net):
        registry = HookRegistry.check_if_exists_or_initialize(net)
        registry.register_hook(hook, name)
    try:
        yield
    finally:
        with _below_accelerate(net):
            _remove(registry, name)
            _tidy(net, registry, had_registry)


def is_attached(net: nn.Module, name: str) -> bool:
    """Is a hook of this name on the network?"""
    registry = getattr(net, REGISTRY, None)
    return registry is not None and name in registry.hooks


@contextmanager
def _below_accelerate(net: nn.Module) -> Iterator[None]:
    """Without accelerate's hook, which is put back on top: at the end of every call a pipeline with offload takes it
    off and restores the forward that it found, whatever was put upon it since."""
    hook = vars(net).get("_hf_hook")
    if hook is None:
        yield
        return
    from accelerate.hooks import add_hook_to_module, remove_hook_from_module

    remove_hook_from_module(net)
    try:
        yield
    finally:
        add_hook_to_module(net, hook)


def _remove(registry: HookRegistry, name: str) -> None:
    """Take a hook off; one above it that has a forward of its own keeps it, which the registry would lose."""
    at = registry._hook_order.index(name)
    below = registry._fn_refs[at].original_forward
    above = registry._fn_refs[at + 1] if at + 1 < len(registry._fn_refs) else None
    forward = above.forward if above is not None else None
    registry.remove_hook(name, recurse=False)
    if above is not None and above.original_forward is not None:
        above.forward, above.original_forward = forward, below


def _tidy(net: nn.Module, registry: HookRegistry, had_registry: bool) -> None:
    """Take away what the registry leaves on a network when its last hook has gone."""
    if registry.hooks:
        return
    forward: Any = vars(net).get("forward")
    if getattr(forward, "__func__", None) is type(net).forward:
        del net.forward
    if not had_registry:
        del net._diffusers_hook
