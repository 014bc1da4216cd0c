"""LoRA adapters (peft) that regions have of their own: on for their batches, afterwards as they were."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tile_methods.patch import MAIN_NETWORKS
from tile_utils.settings import SettingsError

Weights = tuple[tuple[str, float], ...]


def key_of(adapters: Mapping[str, float]) -> Hashable:
    """What says which networks a region's patches are denoised with."""
    return tuple(sorted(adapters.items())) or MAIN_NETWORKS


class Adapters:
    """A pipeline's layers that have adapters, in its denoiser, control network and text encoders."""

    def __init__(self, pipe: Any, wanted: set[str]) -> None:
        """Raises:
        SettingsError: the pipeline has no adapter of a wanted name.
        """
        self._layers: list[Any] = []
        if not wanted:
            return
        try:
            from peft.tuners.tuners_utils import BaseTunerLayer
        except ImportError as error:
            raise SettingsError(
                "tiled_diffusion: a region names adapters, which need the package peft."
            ) from error
        nets = [part for part in pipe.components.values() if hasattr(part, "modules")]
        self._layers = [layer for net in nets for layer in net.modules() if isinstance(layer, BaseTunerLayer)]
        known = {name for layer in self._layers for name in layer.scaling}
        for name in sorted(wanted - known):
            names = ", ".join(repr(one) for one in sorted(known)) or "none, since none is loaded"
            raise SettingsError(f"tiled_diffusion: a region names the adapter {name!r}; allowed are {names}.")

    @contextmanager
    def kept(self) -> Iterator[Switch]:
        """A switch, and afterwards everything as it was."""
        switch = Switch(self._layers)
        try:
            yield switch
        finally:
            switch.use(MAIN_NETWORKS)


class Switch:
    """Which adapters are on, beside those that were at first."""

    def __init__(self, layers: list[Any]) -> None:
        self._states = [
            (layer, layer._active_adapter, layer._disable_adapters, dict(layer.scaling)) for layer in layers
        ]
        self._in_use: Hashable = MAIN_NETWORKS

    def use(self, networks: Hashable) -> None:
        """Have the adapters of a batch's `networks` on."""
        if networks == self._in_use:
            return
        self._in_use = networks
        weights = dict(networks) if networks != MAIN_NETWORKS else {}  # type: ignore[call-overload]
        for layer, active, disabled, scaling in self._states:
            layer._active_adapter, layer._disable_adapters = active, disabled
            layer.scaling.update(scaling)
            own = {name: weight for name, weight in weights.items() if name in scaling}
            if not own:
                continue
            names = [] if disabled else [active] if isinstance(active, str) else list(active)
            layer._active_adapter = [name for name in dict.fromkeys([*names, *own]) if own.get(name, 1)]
            layer._disable_adapters = False
            for name, weight in own.items():
                layer.set_scale(name, weight)
