"""Prompts: the host's encoder, and what of a prompt's encoding goes where in a model call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from modules import shared
from tile_host.hosts.family import words as family_words
from tile_host.hosts.family.networks import RegionNetworks
from tile_host.hosts.family.wildcards import resolved as resolved
from tile_host.hosts.family.words import Encoded, rows_of
from tile_host.hosts.family.words import networks_key as networks_key
from tile_host.hosts.family.words import owners as owners
from tile_host.hosts.family.words import positives as positives
from tile_host.hosts.family.words import prompts as prompts
from tile_host.hosts.family.words import styled as styled
from tile_host.hosts.family.words import tokens as tokens
from tile_host.hosts.family.words import without_networks as without_networks
from tile_host.hosts.forge.engine import engine
from tile_host.hosts.protocol import Mentions
from tile_host.rows import Text

PLACES = {"crossattn": "c_crossattn", "vector": "y", "guidance": "guidance"}
"""What the encoder's parts are called in a model call."""


def without_comments(prompt: str) -> str:
    return engine.without_comments(prompt)


def encode(p: Any, prompts: list[str], negatives: list[str], mentions: Mentions) -> Encoded:
    encoded = family_words.encode(p, prompts, negatives, mentions, **engine.text_settings(p))
    # The model, where the text encoder has pushed it out in the middle of a pass.
    unet = shared.sd_model.forge_objects.unet
    if unet.model_options.get("conditioning_modifiers"):
        engine.load(unet)
    return encoded


def networks(p: Any, owns: Sequence[Mentions]) -> RegionNetworks:
    return _MergedNetworks(p, owns)


class _MergedNetworks(RegionNetworks):
    """The host merges networks into the weights, by a UNet object of its own, which lacks what is put onto the pass'
    one: a copy of this one takes over its networks, and goes on."""

    _unet: Any = None

    @contextmanager
    def _switched(self) -> Iterator[None]:
        model = shared.sd_model
        if (unet := model.forge_objects.unet) is not self._unet:
            self._unet = unet = unet.clone()
        try:
            yield
        finally:
            other, model.forge_objects.unet = model.forge_objects.unet, unet
        engine.take_over(unet, other)


def texts_of(cond: Any) -> list[Text]:
    if "y" not in cond:
        return rows_of(cond["c_crossattn"])
    return rows_of({part: cond[place] for part, place in PLACES.items() if place in cond})


def with_texts(cond: Any, texts: Sequence[Text]) -> Any:
    if isinstance(texts[0], dict):
        stacked = {PLACES[part]: torch.stack([text[part] for text in texts]) for part in texts[0]}
        return {**cond, **stacked}
    return {**cond, "c_crossattn": torch.stack(list(texts))}


def marked_as(text: Text, main: Text) -> Text:
    """ControlNet marks nothing here."""
    return text
