"""Step caches of `diffusers` keep what a network said a step ago: for tiles they need one memory a batch."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from diffusers.hooks import HookRegistry, ModelHook
from diffusers.hooks.hooks import StateManager, _set_cache_context
from torch import nn

from tile_diffusers.attach import REGISTRY
from tile_utils.settings import SettingsError


def _memories(hook: ModelHook) -> list[StateManager]:
    return [value for value in vars(hook).values() if isinstance(value, StateManager)]


class Caches:
    """The step caches that are on at a network, which are looked for once a call of the pipeline.

    Raises:
        SettingsError: one cannot be used with tiles, or with tiles that shift.
    """

    def __init__(self, net: nn.Module, shift: bool) -> None:
        registries: list[HookRegistry] = [
            vars(module)[REGISTRY] for module in net.modules() if REGISTRY in vars(module)
        ]
        hooks = [hook for one in registries for hook in one.hooks.values() if hook._is_stateful]
        self._net, self._memories = net, [memory for hook in hooks for memory in _memories(hook)]
        for hook in hooks:
            if not _memories(hook):
                raise SettingsError(
                    f"tiled_diffusion: the step cache of {type(hook).__name__} cannot tell tiles apart; allowed are "
                    "FirstBlockCache, MagCache and TaylorSeer, or none (disable_cache)."
                )
        if self._memories and shift:
            raise SettingsError(
                "tiled_diffusion: 'shift' is True and a step cache is on, which needs tiles that stay in their "
                "places; allowed is one of the two (disable_cache)."
            )

    @contextmanager
    def of(self, place: Hashable) -> Iterator[None]:
        """With the memory of a batch."""
        context = next((memory._context for memory in self._memories if memory._context), None)
        if context is None:
            yield
            return
        _set_cache_context(self._net, replace(context, name=f"{context.name}/{place}"))
        try:
            yield
        finally:
            _set_cache_context(self._net, context)
