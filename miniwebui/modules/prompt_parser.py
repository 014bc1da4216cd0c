"""Prompts -> conditions: schedules, AND, emphasis, as `modules.prompt_parser` of the WebUI."""

import re
from collections import namedtuple

import torch

from modules.prompt_emphasis import parse_prompt_attention  # noqa: F401  (part of this module's interface)
from modules.prompt_schedule import Timeline, schedule

ScheduledPromptConditioning = namedtuple("ScheduledPromptConditioning", ["end_at_step", "cond"])

re_AND = re.compile(r"\bAND\b")
_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)"
re_weight = re.compile(rf"\A((?:.*?\S)??)(?:\s*:\s*({_NUMBER}))?\s*\Z", re.DOTALL)
"""Of a part between two AND: its text, and its weight where it ends with `: number`. As the text ends with no space, a
run of spaces is looked at once."""


class SdConditioning(list):
    """Prompts with what else SDXL's condition depends on: the size of the picture, in pixels."""

    def __init__(self, prompts, is_negative_prompt=False, width=None, height=None, copy_from=None):
        super().__init__(prompts)
        source = prompts if copy_from is None else copy_from
        self.is_negative_prompt = is_negative_prompt or getattr(source, "is_negative_prompt", False)
        self.width = width or getattr(source, "width", None)
        self.height = height or getattr(source, "height", None)


class ComposableScheduledPromptConditioning:
    """One part of an AND prompt."""

    def __init__(self, schedules, weight=1.0):
        self.schedules: list[ScheduledPromptConditioning] = schedules
        self.weight: float = weight


class MulticondLearnedConditioning:
    """The positive prompts of a batch: for every picture the parts of its AND prompt."""

    def __init__(self, shape, batch):
        self.shape: tuple = shape
        self.batch: list[list[ComposableScheduledPromptConditioning]] = batch


class DictWithShape(dict):
    """A condition of several tensors (SDXL) that has the shape of its cross attention tensor."""

    def __init__(self, x, shape=None):
        super().__init__(x)

    @property
    def shape(self):
        return self["crossattn"].shape


def get_learned_conditioning_prompt_schedules(
    prompts, base_steps, hires_steps=None, use_old_scheduling=False
):
    """For every prompt [[last step, text], …].

    With `hires_steps` the numbers are of the second pass: whole ones count on from `base_steps`, fractions
    on from 1.
    """
    if hires_steps is None or use_old_scheduling:
        timeline = Timeline(base_steps, old_scheduling=use_old_scheduling)
    else:
        timeline = Timeline(hires_steps, whole_offset=base_steps, fraction_offset=1.0)
    schedules = {prompt: schedule(prompt, timeline) for prompt in set(prompts)}
    return [schedules[prompt] for prompt in prompts]


def get_learned_conditioning(
    model, prompts: SdConditioning | list[str], steps, hires_steps=None, use_old_scheduling=False
) -> list[list[ScheduledPromptConditioning]]:
    """For every prompt the schedule of its conditions. A condition is [tokens, channels], or a dict."""
    prompt_schedules = get_learned_conditioning_prompt_schedules(
        prompts, steps, hires_steps, use_old_scheduling
    )
    known: dict[str, list[ScheduledPromptConditioning]] = {}
    for prompt, prompt_schedule in zip(prompts, prompt_schedules, strict=True):
        if prompt in known:
            continue
        texts = SdConditioning([text for _, text in prompt_schedule], copy_from=prompts)
        conds = model.get_learned_conditioning(texts)
        known[prompt] = [
            ScheduledPromptConditioning(end, _item(conds, index))
            for index, (end, _) in enumerate(prompt_schedule)
        ]
    return [known[prompt] for prompt in prompts]


def _item(conds, index: int):
    if isinstance(conds, dict):
        return {key: value[index] for key, value in conds.items()}
    return conds[index]


def get_multicond_prompt_list(prompts: SdConditioning | list[str]):
    """Split at AND -> ([[(index, weight), …] per prompt], the different parts, part -> index)."""
    parts = SdConditioning([], copy_from=prompts)
    indexes: dict[str, int] = {}
    composition = []
    for prompt in prompts:
        weighted = []
        for part in re_AND.split(prompt):
            text, weight = re_weight.search(part).groups()
            if text not in indexes:
                indexes[text] = len(parts)
                parts.append(text)
            weighted.append((indexes[text], 1.0 if weight is None else float(weight)))
        composition.append(weighted)
    return composition, parts, indexes


def get_multicond_learned_conditioning(
    model, prompts, steps, hires_steps=None, use_old_scheduling=False
) -> MulticondLearnedConditioning:
    """The conditions of positive prompts, AND composed (Liu et al., arXiv 2206.01714)."""
    composition, parts, _ = get_multicond_prompt_list(prompts)
    learned = get_learned_conditioning(model, parts, steps, hires_steps, use_old_scheduling)
    batch = [
        [ComposableScheduledPromptConditioning(learned[index], weight) for index, weight in weighted]
        for weighted in composition
    ]
    return MulticondLearnedConditioning(shape=(len(prompts),), batch=batch)


def _cond_at_step(schedules: list[ScheduledPromptConditioning], step: int):
    """The condition in force at a step, counted from 0; past the end the first, as the WebUI does."""
    return next((entry.cond for entry in schedules if step <= entry.end_at_step), schedules[0].cond)


def reconstruct_cond_batch(c: list[list[ScheduledPromptConditioning]], current_step: int):
    """The conditions of a batch at a step, stacked: [batch, tokens, channels], or a dict of such."""
    conds = [_cond_at_step(schedules, current_step) for schedules in c]
    if isinstance(conds[0], dict):
        return DictWithShape({key: torch.stack([cond[key] for cond in conds]) for key in conds[0]})
    return torch.stack(conds)


def stack_conds(tensors: list[torch.Tensor]) -> torch.Tensor:
    """Stack conditions; the last token of a shorter one is repeated. A vector has one length only."""
    longest = max(tensor.shape[0] for tensor in tensors)
    padded = [
        torch.vstack([tensor, tensor[-1:].expand(longest - tensor.shape[0], -1)])
        if tensor.shape[0] < longest
        else tensor
        for tensor in tensors
    ]
    return torch.stack(padded)


def reconstruct_multicond_batch(c: MulticondLearnedConditioning, current_step: int):
    """-> ([[(row, weight), …] per picture], the rows stacked) at a step."""
    rows: list = []
    composition = []
    for parts in c.batch:
        composition.append([(len(rows) + index, part.weight) for index, part in enumerate(parts)])
        rows += [_cond_at_step(part.schedules, current_step) for part in parts]

    if isinstance(rows[0], dict):
        return composition, DictWithShape({key: stack_conds([row[key] for row in rows]) for key in rows[0]})
    return composition, stack_conds(rows)
