"""Region prompts -> conditions for each row of a denoiser call."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from modules import extra_networks, prompt_parser, sd_samplers, shared
from tile_host.networks import RegionNetworks
from tile_methods.fusing import Denoise
from tile_methods.regions import MAIN, DenoiseRegions
from tile_utils.settings import RegionSettings, SettingsError, region_label

Row = Any
"""The text condition of one row: a tensor [tokens, channels], or a dict of tensors (SDXL)."""
COMMENT = re.compile(r"#[^\n]*")
_PLACE = "\0"  # of the main prompt among its styles


def without_comments(region: RegionSettings) -> RegionSettings:
    """Its prompts without `# ...`, if the host takes comments out of its own."""
    if not shared.opts.enable_prompt_comments:
        return region
    prompt, negative = (COMMENT.sub("", text) for text in (region.prompt, region.neg_prompt))
    return replace(region, prompt=prompt, neg_prompt=negative)


def check_prompts(regions: Sequence[tuple[int, RegionSettings]]) -> None:
    """Raises:
    SettingsError: a prompt holds AND, whose parts could not be matched to those of the main prompt.
    """
    for index, region in regions:
        for label, text in (("Prompt", region.prompt), ("Negative prompt", region.neg_prompt)):
            if re.search(r"\bAND\b", text):
                raise SettingsError(
                    f"Tiled Diffusion, {region_label(index)}: '{label}' holds AND; allowed is AND in the main "
                    "prompt only. Use a second region, or a comma."
                )


@dataclass(frozen=True)
class Rows:
    """Which rows of a denoiser step a model call is about: `start` ... `stop`, at a `step` of the prompts' schedules,
    which may lie between two."""

    step: float
    start: int
    stop: int


class RegionPrompts:
    """The conditions of every region in one sampling pass; made anew when the host changes its checkpoint.

    A region's prompt is the main prompt of each picture of the batch, a comma, and its own, styles around both.
    """

    def __init__(self, p: Any, regions: Sequence[RegionSettings]) -> None:
        self._p = p
        self._hires = bool(getattr(p, "is_hr_pass", False))
        # Networks are mentioned in positive prompts, as the host has it.
        parsed = [extra_networks.parse_prompt(region.prompt) for region in regions]
        self._texts = [(text, region.neg_prompt) for (text, _), region in zip(parsed, regions)]
        self._mentions = [mentions for _, mentions in parsed]
        self.networks = RegionNetworks(p, self._mentions)
        self._checkpoint: Any = None
        self._conds: dict[int, tuple[Any, Any]] = {}
        self._step: float | None = None
        self._rows: dict[int, list[Row]] = {}

    def rows(self, index: int, rows: Rows) -> list[Row]:
        """What a region's rows of a denoiser step are told: first the conds, then the unconds, in the host's order. The
        region's networks are active."""
        checkpoint = shared.sd_model.sd_checkpoint_info
        if self._checkpoint is not checkpoint:
            self._checkpoint, self._step = checkpoint, None
            self._conds.clear()
        if self._step != rows.step:
            self._step = rows.step
            self._rows.clear()
        if index not in self._rows:
            if index not in self._conds:
                self._conds[index] = self._encode(index)
            self._rows[index] = self._rows_of(*self._conds[index], rows.step)
        return self._rows[index][rows.start : rows.stop]

    @staticmethod
    def _rows_of(cond: Any, uncond: Any, step: float) -> list[Row]:
        _, conds = prompt_parser.reconstruct_multicond_batch(cond, step)
        unconds = prompt_parser.reconstruct_cond_batch(uncond, step)
        return [*_split(conds), *_split(unconds)]

    def _encode(self, index: int) -> tuple[Any, Any]:
        """(conds, unconds) of a region for every picture of the batch, with schedules."""
        p, (prompt, negative) = self._p, self._texts[index]
        prompts = p.hr_prompts if self._hires else p.prompts
        negatives = p.hr_negative_prompts if self._hires else p.negative_prompts
        size = (p.hr_upscale_to_x, p.hr_upscale_to_y) if self._hires else (p.width, p.height)
        steps, hires_steps = self._steps()
        results = []
        for function, texts, own, is_negative in (
            (prompt_parser.get_multicond_learned_conditioning, prompts, prompt, False),
            (prompt_parser.get_learned_conditioning, negatives, negative, True),
        ):
            join = joined if is_negative else joined_part
            whole = [with_own(text, own, partial(self._styled, is_negative), join) for text in texts]
            wanted = prompt_parser.SdConditioning(whole, is_negative, *size)
            results.append(
                p.get_conds_with_caching(
                    function, wanted, steps, [[None, None]], self._mentions[index], hires_steps
                )
            )
        return results[0], results[1]

    def _styled(self, is_negative: bool, text: str) -> str:
        """What the host makes of a prompt by the generation's styles."""
        if is_negative:
            return shared.prompt_styles.apply_negative_styles_to_prompt(text, self._p.styles)
        return extra_networks.parse_prompt(shared.prompt_styles.apply_styles_to_prompt(text, self._p.styles))[
            0
        ]

    def _steps(self) -> tuple[int, int | None]:
        """Denoiser calls that schedules are spread over: (first pass, hires pass if this is it)."""
        p = self._p
        if not self._hires:
            return p.firstpass_steps, None
        config = sd_samplers.find_sampler_config(p.hr_sampler_name or p.sampler_name)
        steps = p.hr_second_pass_steps or p.steps
        return p.firstpass_steps, config.total_steps(steps) if config else steps


class RowPlan:
    """Follows which rows of a denoiser step a model call is about.

    The host may send a step's rows in one call or in several, without the uncond rows in steps that skip them, but
    always in one order: every call goes on where the last one of its step ended.
    """

    def __init__(self, cfg_denoiser: Any) -> None:
        self._cfg_denoiser = cfg_denoiser
        self._step: int | None = None
        self._cursor = 0
        self._texts: list[Tensor] = []  # of the rows of this step so far

    def next_rows(self, cond: Any, count: int) -> Rows:
        """The next call, of `count` rows that are told `cond` by the host."""
        step = self._cfg_denoiser.step
        if step != self._step:
            self._step, self._cursor = step, 0
            self._texts.clear()
        text = cond["crossattn"] if "crossattn" in cond else cond["c_crossattn"][0]
        if self._cursor + count > self._rows_of_a_step():
            start = self._asked_before(text, count)
        else:
            start = self._cursor
            self._cursor += count
            self._texts.extend(text)
        return Rows(step, start, start + count)

    def _rows_of_a_step(self) -> int:
        args = self._cfg_denoiser.sampler.sampler_extra_args
        return sum(map(len, args["cond"].batch)) + len(args["uncond"])

    def _asked_before(self, text: Tensor, count: int) -> int:
        """The first of the rows that an extension asks about once more (self-attention guidance and its like): those of
        the same text, else the unconds."""
        for start in range(len(self._texts) - count + 1):
            rows = self._texts[start : start + count]
            if all(row.shape == asked.shape and torch.equal(row, asked) for row, asked in zip(rows, text)):
                return start
        return max(0, self._rows_of_a_step() - count)


def denoisers(denoise: Denoise, prompts: RegionPrompts, rows: Rows) -> tuple[Denoise, DenoiseRegions]:
    """In a call about `rows`: how tiles are denoised, and crops of regions with their own text."""

    def denoise_tiles(x: Tensor, sigma: Tensor, cond: Any) -> Tensor:
        prompts.networks.use(MAIN)
        return denoise(x, sigma, cond)

    def denoise_regions(regions: Sequence[int], x: Tensor, sigma: Tensor, cond: Any) -> Tensor:
        prompts.networks.use(prompts.networks.keys[regions[0]])
        texts = [text for index in regions for text in prompts.rows(index, rows)]
        if len(texts) != len(x):
            raise ValueError(
                f"The model is asked about {len(x)} rows; the regions' prompts have {len(texts)}."
            )
        out = torch.empty_like(x)
        for length in dict.fromkeys(map(tokens, texts)):
            picks = [i for i, text in enumerate(texts) if tokens(text) == length]
            part = with_text(rows_of(cond, picks, len(texts)), [texts[i] for i in picks])
            out[picks] = denoise(x[picks], sigma[picks], part).to(out)
        return out

    return denoise_tiles, denoise_regions


def rows_of(cond: Any, picks: Sequence[int], rows: int) -> Any:
    """Some rows of a condition of any keys and nesting."""
    if isinstance(cond, Tensor):
        return cond[list(picks)] if cond.ndim and len(cond) == rows else cond
    if isinstance(cond, dict):
        return {key: rows_of(value, picks, rows) for key, value in cond.items()}
    if isinstance(cond, (list, tuple)):
        return type(cond)(rows_of(value, picks, rows) for value in cond)
    return cond


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
    parts = prompt_parser.re_AND.split(main)
    found = [prompt_parser.re_weight.search(part) for part in parts]
    draws = [i for i, match in enumerate(found) if match[2] is None or float(match[2]) > 0]
    chosen = draws[-1] if draws else len(parts) - 1
    end = found[chosen].end(1)  # where the weight begins
    parts[chosen] = joined(parts[chosen][:end], own) + parts[chosen][end:]
    return " AND ".join(parts)


def _split(conds: Any) -> list[Row]:
    if isinstance(conds, Tensor):
        return list(conds)
    keys = list(conds)
    return [{key: conds[key][row] for key in keys} for row in range(len(conds[keys[0]]))]


def tokens(row: Row) -> int:
    """Token length of a row's condition; rows of one length fit into one call."""
    return len(row["crossattn"] if isinstance(row, dict) else row)


def with_text(cond: dict[str, Any], rows: Sequence[Row]) -> dict[str, Any]:
    """The host's condition with the text of these rows."""
    if isinstance(rows[0], dict):
        return {**cond, **{key: torch.stack([row[key] for row in rows]) for key in rows[0]}}
    return {**cond, "c_crossattn": [torch.stack(list(rows))]}
