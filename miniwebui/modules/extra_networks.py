"""`<name:arguments>` in prompts: who acts on them, and when, as `modules.extra_networks` of the WebUI."""

import logging
import re
from collections import defaultdict

from modules import errors

log = logging.getLogger(__name__)

extra_network_registry: dict[str, "ExtraNetwork"] = {}
extra_network_aliases: dict[str, "ExtraNetwork"] = {}

re_extra_net = re.compile(r"<(\w+):([^>]+)>")


def initialize() -> None:
    extra_network_registry.clear()
    extra_network_aliases.clear()


def register_extra_network(extra_network: "ExtraNetwork") -> None:
    extra_network_registry[extra_network.name] = extra_network


def register_extra_network_alias(extra_network: "ExtraNetwork", alias: str) -> None:
    extra_network_aliases[alias] = extra_network


class ExtraNetworkParams:
    """The arguments of one mention: `<lora:name:0.5:te=1>` has items ['name', '0.5', 'te=1']."""

    def __init__(self, items=None):
        self.items = items or []
        pairs = [item.split("=") if isinstance(item, str) else [item] for item in self.items]
        self.named = dict(pair for pair in pairs if len(pair) == 2)
        self.positional = [item for item, pair in zip(self.items, pairs) if len(pair) != 2]

    def __eq__(self, other):
        return self.items == other.items


class ExtraNetwork:
    """Something that acts on the model while a prompt mentions it."""

    def __init__(self, name):
        self.name = name

    def activate(self, p, params_list):
        """Apply exactly the mentions in `params_list`, one ExtraNetworkParams each, instead of earlier ones.

        Called for every batch, with an empty list when the prompt does not mention this network.
        """
        raise NotImplementedError

    def deactivate(self, p):
        """Called when the generation ends."""
        raise NotImplementedError


def lookup_extra_networks(extra_network_data: dict) -> dict:
    """The networks that the data names (by name, else by alias), each with all of its mentions."""
    found: dict[ExtraNetwork, list] = {}
    for name, mentions in extra_network_data.items():
        network = extra_network_registry.get(name) or extra_network_aliases.get(name)
        if network is None:
            log.info("Skipping unknown extra network: %s", name)
            continue
        found.setdefault(network, []).extend(mentions)
    return found


def activate(p, extra_network_data: dict) -> None:
    """Activate every registered network, the mentioned ones first; then tell the scripts."""
    mentioned = lookup_extra_networks(extra_network_data)
    rest = {network: [] for network in extra_network_registry.values() if network not in mentioned}
    for network, mentions in {**mentioned, **rest}.items():
        try:
            network.activate(p, mentions)
        except Exception as error:
            errors.display(error, f"activating extra network {network.name} with arguments {mentions}")

    if p.scripts is not None:
        p.scripts.after_extra_networks_activate(
            p,
            batch_number=p.iteration,
            prompts=p.prompts,
            seeds=p.seeds,
            subseeds=p.subseeds,
            extra_network_data=extra_network_data,
        )


def deactivate(p, extra_network_data: dict) -> None:
    """Deactivate every registered network, the mentioned ones first."""
    mentioned = lookup_extra_networks(extra_network_data)
    rest = [network for network in extra_network_registry.values() if network not in mentioned]
    for network in [*mentioned, *rest]:
        try:
            network.deactivate(p)
        except Exception as error:
            errors.display(error, f"deactivating extra network {network.name}")


def parse_prompt(prompt: str) -> tuple[str, dict]:
    """A prompt -> the prompt without mentions, and the mentions: name -> list of ExtraNetworkParams."""
    mentions = defaultdict(list)
    end = prompt.rfind(">") + 1  # behind it every `<` would be followed to the prompt's end in vain
    for match in re_extra_net.finditer(prompt, 0, end):
        mentions[match.group(1)].append(ExtraNetworkParams(items=match.group(2).split(":")))
    return re_extra_net.sub("", prompt[:end]) + prompt[end:], mentions


def parse_prompts(prompts: list[str]) -> tuple[list[str], dict | None]:
    """As parse_prompt for a batch; the mentions are those of its first prompt."""
    parsed = [parse_prompt(prompt) for prompt in prompts]
    return [text for text, _ in parsed], parsed[0][1] if parsed else None
