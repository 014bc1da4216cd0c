"""What regions say: their prompts, joined to the main one, and how each patch of a batch is told its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tile_host.door import host
from tile_host.hosts.protocol import Denoise, Encoded
from tile_host.rows import Asked, Text
from tile_methods.fuse import Model
from tile_methods.patch import MAIN_WORDS, Batch
from tile_utils.conditions import picked_rows
from tile_utils.prompt_text import AND
from tile_utils.settings import RegionSettings, SettingsError, region_label

NUMBER = re.compile(r"[-+]?(?:\d+\.?|\d*\.\d+)")
_PLACE = "\0"  # of the main prompt among its styles


def without_comments(region: RegionSettings) -> RegionSettings:
    """Its prompts without what the host takes for comments in its own."""
    prompt, negative = map(host.words.without_comments, (region.prompt, region.neg_prompt))
    return replace(region, prompt=prompt, neg_prompt=negative)


def check_prompts(regions: Sequence[tuple[int, RegionSettings]]) -> None:
    """Raises:
    SettingsError: a prompt holds AND, whose parts could not be matched to those of the main prompt.
    """
    for index, region in regions:
        for label, text in (("Prompt", region.prompt), ("Negative prompt", region.neg_prompt)):
            if AND.search(text):
                raise SettingsError(
                    f"Tiled Diffusion, {region_label(index)}: '{label}' holds AND; allowed is AND in the main "
                    "prompt only. Use a second region, or a comma."
                )


def in_pictures(p: Any, index: int, region: RegionSettings, seed: int) -> list[RegionSettings]:
    """A region as it is in each picture of the generation: its wildcards are drawn by its seed, which counts on.

    Raises:
        SettingsError: what was drawn holds AND.
    """
    seeds = [seed + number for number in range(len(p.all_prompts))]
    texts = host.words.resolved(p, region.prompt, region.neg_prompt, seeds)
    pictures = [replace(region, prompt=prompt, neg_prompt=negative) for prompt, negative in texts]
    check_prompts([(index, said) for said in pictures])
    return pictures


class RegionWords:
    """What the regions of one sampling pass say, by number; made anew when the host changes its checkpoint.

    A region's prompt is the main prompt of each picture of the batch, a comma, and its own, styles around both. Its
    networks are those that it mentions in the batch's first picture, as it is with the main prompt's.

    Args:
        regions: each as it is in every picture of the batch.
    """

    def __init__(self, p: Any, regions: Mapping[int, Sequence[RegionSettings]]) -> None:
        self._p = p
        self._own = {
            number: [(host.words.without_networks(said.prompt)[0], said.neg_prompt) for said in pictures]
            for number, pictures in regions.items()
        }
        self._mentions = {n: host.words.without_networks(said[0].prompt)[1] for n, said in regions.items()}
        self.networks = host.words.networks(p, list(self._mentions.values()))
        self.keys: dict[int, Hashable] = dict(zip(regions, self.networks.keys))
        self._checkpoint = host.facts.checkpoint()
        self._encoded: dict[int, Encoded] = {}
        self._step: float | None = None
        self._texts: dict[int, list[Text]] = {}

    def texts(self, number: int, asked: Asked) -> list[Text]:
        """What these rows of a step are told in a region."""
        checkpoint = host.facts.checkpoint()
        if self._checkpoint != checkpoint:
            self._checkpoint, self._step = checkpoint, None
            self._encoded.clear()
        if self._step != asked.step:
            self._step = asked.step
            self._texts.clear()
        if number not in self._texts:
            self._texts[number] = self._encoding(number).texts(asked.step)
        return [self._texts[number][row] for row in asked.rows]

    def encode_all(self) -> None:
        """Encode every region's prompts, set of networks by set of networks: a switch may take seconds."""
        for number in sorted(self.keys, key=self._order):
            self._encoding(number)

    def _order(self, number: int) -> tuple[bool, str]:
        key = self.keys[number]
        return key != self.networks.in_use, str(key)

    def _encoding(self, number: int) -> Encoded:
        """Its prompts for every picture of the batch, encoded once, by its own networks."""
        if number not in self._encoded:
            self.networks.use(self.keys[number])
            own, own_negative = zip(*self._own[number])
            prompts, negatives = host.words.prompts(self._p)
            self._encoded[number] = host.words.encode(
                self._p,
                [
                    with_own(text, said, partial(self._styled, False), joined_part)
                    for text, said in zip(prompts, own)
                ],
                [
                    with_own(text, said, partial(self._styled, True), joined)
                    for text, said in zip(negatives, own_negative)
                ],
                self._mentions[number],
            )
        return self._encoded[number]

    def _styled(self, negative: bool, text: str) -> str:
        return host.words.styled(self._p, text, negative)

    def telling(self, denoise: Denoise, asked: Asked) -> Model:
        """The model that is asked about these rows: each patch is told its own words, by its batch's networks."""

        def model(batch: Batch, x: Tensor, sigma: Tensor, cond: Any) -> Tensor:
            numbers = [patch.words for patch in batch.patches]
            own = {number: self.texts(number, asked) for number in numbers if number != MAIN_WORDS}
            self.networks.use(batch.networks)
            if not own:
                return denoise(x, sigma, cond)
            main = host.words.texts_of(cond)  # of the rows of all patches
            texts = [
                text if number == MAIN_WORDS else host.words.marked_as(own[number][row], text)
                for row in range(len(asked.rows))
                for number, text in zip(numbers, main[row * len(numbers) :])
            ]
            return _by_length(denoise, x, sigma, cond, texts)

        return model


def _by_length(denoise: Denoise, x: Tensor, sigma: Tensor, cond: Any, texts: Sequence[Text]) -> Tensor:
    """Rows whose texts have the same length fit into one call."""
    lengths = [host.words.tokens(text) for text in texts]
    if len(set(lengths)) == 1:
        return denoise(x, sigma, host.words.with_texts(cond, texts))
    out = torch.empty_like(x)
    for length in dict.fromkeys(lengths):
        picks = [i for i, own in enumerate(lengths) if own == length]
        part = host.words.with_texts(picked_rows(cond, picks, len(texts)), [texts[i] for i in picks])
        out[picks] = denoise(x[picks], sigma[picks], part).to(out)
    return out


def with_own(text: str, own: str, styled: Callable[[str], str], join: Callable[[str, str], str]) -> str:
    """The main prompt, a comma, and the region's own, either may be empty; styles stay around both.

    Args:
        text: what the host made of the main prompt, and scripts (wildcards) of that.
        styled: the host's styles: a prompt -> the prompt with its styles.
        join: (main, own) -> both; see `joined` and `joined_part`.
    """
    before, _, after = styled(_PLACE).partition(_PLACE)
    main = text[len(before) : len(text) - len(after)]
    if text == styled(""):
        return styled(own) if own.strip() else text
    if before + main + after != text:  # a script has rewritten the styles too
        before, main, after = "", text, ""
    return before + join(main, own) + after


def joined(main: str, own: str) -> str:
    """Both, with a comma between; either may be empty."""
    return ", ".join(part for part in (main, own) if part.strip())


def joined_part(main: str, own: str) -> str:
    """The same for a positive prompt, whose parts, joined by AND, may end in a weight: ` :0.5`.

    Own words go to the last part. A weight at its end stays at the end, and where it takes the part away (`AND fog
    :-0.5`) they go to the last part that does not.
    """
    parts = [_weighted(part) for part in AND.split(main)]
    draws = [i for i, (_, _, weight) in enumerate(parts) if weight > 0]
    chosen = draws[-1] if draws else len(parts) - 1
    return " AND ".join(
        (joined(words, own) if i == chosen else words) + end for i, (words, end, _) in enumerate(parts)
    )


def _weighted(part: str) -> tuple[str, str, float]:
    """(the words of a part, its end with colon and weight, the weight)."""
    words, colon, weight = part.rpartition(":")
    has_weight = bool(colon and NUMBER.fullmatch(weight.strip()))
    words = (words if has_weight else part).rstrip()
    return words, part[len(words) :], float(weight) if has_weight else 1.0
