"""Conditions of a call, before rows are put together."""

import math

import torch


class Condition:
    def __init__(self, cond):
        self.cond = cond

    def process_cond(self, batch_size, device, **_area):
        times = math.ceil(batch_size / len(self.cond))
        return type(self)(self.cond.repeat(times, *[1] * (self.cond.ndim - 1))[:batch_size].to(device))

    def can_concat(self, other):
        return self.cond.shape == other.cond.shape

    def concat(self, others):
        return torch.cat([self.cond, *(other.cond for other in others)])


class ConditionCrossAttn(Condition):
    """Texts of several chunks: the shorter is repeated, up to four times."""

    def can_concat(self, other):
        mine, theirs = self.cond.shape[1], other.cond.shape[1]
        return math.lcm(mine, theirs) // min(mine, theirs) <= 4

    def concat(self, others):
        texts = [self.cond, *(other.cond for other in others)]
        longest = math.lcm(*(text.shape[1] for text in texts))
        return torch.cat([text.repeat(1, longest // text.shape[1], 1) for text in texts])


def compile_conditions(cond):
    if cond is None:
        return None
    if isinstance(cond, torch.Tensor):
        return [{"cross_attn": cond, "model_conds": {"c_crossattn": ConditionCrossAttn(cond)}}]
    told = {"c_crossattn": ConditionCrossAttn(cond["crossattn"]), "y": Condition(cond["vector"])}
    return [{"cross_attn": cond["crossattn"], "pooled_output": cond["vector"], "model_conds": told}]


def compile_weighted_conditions(cond, weights):
    """One entry for each part of the prompts, of all pictures."""
    entries = []
    for parts in zip(*weights):
        rows = [row for row, _ in parts]
        feed = (
            cond[rows]
            if isinstance(cond, torch.Tensor)
            else {key: value[rows] for key, value in cond.items()}
        )
        (entry,) = compile_conditions(feed)
        entries.append({**entry, "strength": parts[-1][1]})
    return entries
