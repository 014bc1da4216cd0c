"""Extra networks (LoRA and their like) that act in a region only, switched as seldom as possible."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from modules import devices, errors, extra_networks
from tile_host.hosts.protocol import Mentions
from tile_methods.patch import MAIN_NETWORKS
from tile_utils import patching


def key_of(mentions: Mentions) -> str:
    """Prompts of one key use the same networks."""
    return repr(
        sorted((name, [param.items for param in params]) for name, params in mentions.items() if params)
    )


def of_main_prompt(p: Any) -> Mentions:
    """What the main prompt of this pass mentions."""
    hires = getattr(p, "is_hr_pass", False)
    return (p.hr_extra_network_data if hires else p.extra_network_data) or {}


def _comments() -> Sequence[str]:
    """What the host has to say of its networks; Forge says nothing, Neo lacks the module."""
    try:
        from modules import sd_hijack
    except ImportError:
        return ()
    return getattr(sd_hijack.model_hijack, "comments", ())


class RegionNetworks:
    """See `protocol.Networks`. A network that a region mentions replaces the main prompt's mention of the same network,
    so that its weight may differ, or be 0."""

    def __init__(self, p: Any, owns: Sequence[Mentions]) -> None:
        self._p = p
        main = of_main_prompt(p)
        self._sets: dict[Hashable, Mentions] = {MAIN_NETWORKS: main}
        self.keys: list[Hashable] = []
        for own in owns:
            both = self._together(main, own)
            same = p.disable_extra_networks or key_of(both) == key_of(main)
            key = MAIN_NETWORKS if same else key_of(both)
            self._sets.setdefault(key, both)
            self.keys.append(key)
        self.in_use: Hashable = MAIN_NETWORKS  # None: not known

    @staticmethod
    def _together(main: Mentions, own: Mentions) -> Mentions:
        both = {name: list(params) for name, params in main.items()}
        for name, params in own.items():
            mentioned = [param.items[:1] for param in params]
            kept = [param for param in both.get(name, []) if param.items[:1] not in mentioned]
            both[name] = [*kept, *params]
        return both

    def use(self, key: Hashable) -> None:
        """Make the networks of `key` the active ones; only those that differ are told.

        The host's own `activate` would call every script's hook again at every step.
        """
        if key == self.in_use:
            return
        wanted = extra_networks.lookup_extra_networks(self._sets[key])
        known = [self._sets[self.in_use]] if self.in_use is not None else list(self._sets.values())
        before = {
            n: params for each in known for n, params in extra_networks.lookup_extra_networks(each).items()
        }
        prompts = self._p.all_prompts
        for network in {**before, **wanted}:
            mentions = wanted.get(network, [])
            if self.in_use is not None and mentions == before.get(network, []):
                continue
            try:
                # The host's Lora begins the picture's list of hashes anew at every activation but a hires pass'.
                with devices.autocast(), patching.attribute(self._p, "is_hr_pass", True), self._switched():
                    network.activate(self._p, mentions)
            except Exception as error:  # as the host does it
                errors.display(error, f"activating extra network {network.name} with arguments {mentions}")
        self._p.all_prompts = prompts  # the host's option for one more LoRA adds it at every activation
        for comment in _comments():
            self._p.comment(comment)
        self.in_use = key

    def _switched(self) -> AbstractContextManager[None]:
        """Around the host's activation of one kind of network."""
        return nullcontext()

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Afterwards, and whenever the host encodes its prompts anew (the refiner), the main prompt's are active."""
        if len(self._sets) == 1:
            yield
            return

        def after_main(setup_conds: Callable[[], None]) -> Callable[[], None]:
            def with_main() -> None:
                self.in_use = None  # loading the refiner may have switched all off
                self.use(MAIN_NETWORKS)
                setup_conds()

            return with_main

        with patching.wrapped(self._p, "setup_conds", after_main):
            try:
                yield
            finally:
                self.use(MAIN_NETWORKS)
