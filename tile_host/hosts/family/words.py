"""Prompts: the host's parser, styles and encoder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from modules import extra_networks, prompt_parser, sd_samplers, shared
from tile_host.hosts.controlnet import marked_as as marked_as
from tile_host.hosts.family import networks as family_networks
from tile_host.hosts.family.networks import RegionNetworks
from tile_host.hosts.family.wildcards import resolved as resolved
from tile_host.hosts.protocol import Mentions
from tile_host.rows import Text

COMMENT = re.compile(r"#[^\n]*")


class Encoded:
    """See `protocol.Encoded`."""

    def __init__(self, conds: Any, unconds: Any) -> None:
        self._conds, self._unconds = conds, unconds

    def texts(self, step: float) -> list[Text]:
        _, conds = prompt_parser.reconstruct_multicond_batch(self._conds, step)
        unconds = prompt_parser.reconstruct_cond_batch(self._unconds, step)
        return [*rows_of(conds), *rows_of(unconds)]


def rows_of(texts: Any) -> list[Text]:
    """Each row of a tensor, or of a dict of tensors."""
    if isinstance(texts, Tensor):
        return list(texts)
    count = len(next(iter(texts.values())))
    return [{key: value[row] for key, value in texts.items()} for row in range(count)]


def without_comments(prompt: str) -> str:
    return COMMENT.sub("", prompt) if shared.opts.enable_prompt_comments else prompt


def without_networks(prompt: str) -> tuple[str, Mentions]:
    return extra_networks.parse_prompt(prompt)


def styled(p: Any, text: str, negative: bool) -> str:
    if negative:
        return shared.prompt_styles.apply_negative_styles_to_prompt(text, p.styles)
    return without_networks(shared.prompt_styles.apply_styles_to_prompt(text, p.styles))[0]


def _is_hires(p: Any) -> bool:
    return bool(getattr(p, "is_hr_pass", False))


def prompts(p: Any) -> tuple[Sequence[str], Sequence[str]]:
    if _is_hires(p):
        return p.hr_prompts, p.hr_negative_prompts
    return p.prompts, p.negative_prompts


def encode(p: Any, prompts: list[str], negatives: list[str], mentions: Mentions, **settings: Any) -> Encoded:
    """See `protocol.Words.encode`; `settings`: what a fork's text encoder is told too."""
    size = (p.hr_upscale_to_x, p.hr_upscale_to_y) if _is_hires(p) else (p.width, p.height)
    steps, hires_steps = steps_of(p)
    conds, unconds = (
        p.get_conds_with_caching(
            function,
            prompt_parser.SdConditioning(texts, is_negative, *size, **settings),
            steps,
            [[None, None]],
            mentions,
            hires_steps,
        )
        for function, texts, is_negative in (
            (prompt_parser.get_multicond_learned_conditioning, prompts, False),
            (prompt_parser.get_learned_conditioning, negatives, True),
        )
    )
    return Encoded(conds, unconds)


def steps_of(p: Any) -> tuple[int, int | None]:
    """Denoiser calls that schedules are spread over: (first pass, hires pass if this is it)."""
    if not _is_hires(p):
        return p.firstpass_steps, None
    config = sd_samplers.find_sampler_config(p.hr_sampler_name or p.sampler_name)
    steps = p.hr_second_pass_steps or p.steps
    return p.firstpass_steps, config.total_steps(steps) if config else steps


def positives(conds: Any, step: float) -> tuple[list[list[tuple[int, float]]], Any]:
    return prompt_parser.reconstruct_multicond_batch(conds, step)


def owners(conds: Any) -> list[int]:
    pictures = range(len(conds.batch))
    unconds = 2 * [*pictures]  # twice where the host guides by the picture too
    return [picture for picture in pictures for _ in conds.batch[picture]] + unconds


def networks(p: Any, owns: Sequence[Mentions]) -> RegionNetworks:
    return RegionNetworks(p, owns)


def networks_key(p: Any) -> str:
    return family_networks.key_of(p.extra_network_data or {})


def texts_of(cond: Any) -> list[Text]:
    if "crossattn" in cond:  # SDXL: text and vector
        return rows_of({key: value for key, value in cond.items() if isinstance(value, Tensor)})
    return rows_of(cond["c_crossattn"][0])


def with_texts(cond: Any, texts: Sequence[Text]) -> Any:
    if isinstance(texts[0], dict):
        return {**cond, **{key: torch.stack([text[key] for text in texts]) for key in texts[0]}}
    return {**cond, "c_crossattn": [torch.stack(list(texts))]}


def tokens(text: Text) -> int:
    return len(text["crossattn"] if isinstance(text, dict) else text)
