"""What the stand-ins of Forge and reForge share: one step's conditions, and how they are put into calls. In our own
words: the hosts' order of calls and arguments, no line of theirs."""

import math
from dataclasses import dataclass

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

    def size(self):
        return list(self.cond.shape)


class ConditionCrossAttn(Condition):
    """Texts of several chunks: the shorter is repeated, up to four times."""

    def can_concat(self, other):
        mine, theirs = self.cond.shape[1], other.cond.shape[1]
        return math.lcm(mine, theirs) // min(mine, theirs) <= 4

    def concat(self, others):
        texts = [self.cond, *(other.cond for other in others)]
        longest = math.lcm(*(text.shape[1] for text in texts))
        return torch.cat([text.repeat(1, longest // text.shape[1], 1) for text in texts])


def entries(cond):
    """What a text is to the sampling function."""
    if isinstance(cond, torch.Tensor):
        return [{"cross_attn": cond, "model_conds": {"c_crossattn": ConditionCrossAttn(cond)}}]
    told = {"c_crossattn": ConditionCrossAttn(cond["crossattn"]), "y": Condition(cond["vector"])}
    return [{"cross_attn": cond["crossattn"], "pooled_output": cond["vector"], "model_conds": told}]


def weighted_entries(cond, weights):
    """One entry for each part of the prompts, of all pictures."""
    found = []
    for parts in zip(*weights):
        rows = [row for row, _ in parts]
        feed = (
            cond[rows]
            if isinstance(cond, torch.Tensor)
            else {key: value[rows] for key, value in cond.items()}
        )
        (entry,) = entries(feed)
        found.append({**entry, "strength": parts[-1][1]})
    return found


def put_beside(conds, unet, image, x):
    """The picture that a checkpoint sees beside its latent, and the control networks."""
    for entry in conds:
        if image is not None and image.shape[2:] == x.shape[2:]:
            entry["model_conds"]["c_concat"] = Condition(image)
        if unet.controlnet_linked_list is not None:
            entry["control"] = unet.controlnet_linked_list


@dataclass
class Chunk:
    mark: int
    strength: float
    told: dict
    control: object

    def goes_with(self, other):
        return (
            self.control is other.control
            and self.told.keys() == other.told.keys()
            and all(part.can_concat(other.told[name]) for name, part in self.told.items())
        )


def _chunks(found, mark, x, area):
    for entry in found or ():
        told = {
            name: part.process_cond(batch_size=len(x), device=x.device, area=area)
            for name, part in entry["model_conds"].items()
        }
        yield Chunk(mark, entry.get("strength", 1.0), told, entry.get("control"))


def answers(conds, x, area, fits, ask):
    """What the model says about each list of entries: calls of as many chunks as fit, from the back.

    Args:
        fits: `fits(chunks)`.
        ask: `ask(chunks, x, told)`, of all their rows.
    """
    waiting = [chunk for mark, found in enumerate(conds) for chunk in _chunks(found, mark, x, area)]
    sums, weights = [torch.zeros_like(x) for _ in conds], [1e-37 for _ in conds]
    while waiting:
        fitting = [i for i, chunk in enumerate(waiting) if chunk.goes_with(waiting[0])][::-1]
        taken = fitting[:1]
        for parts in range(1, len(fitting) + 1):
            some = fitting[: len(fitting) // parts]
            if fits([waiting[i] for i in some]):
                taken = some
                break
        chunks = [waiting.pop(i) for i in taken]
        first, *others = (chunk.told for chunk in chunks)
        told = {name: part.concat([other[name] for other in others]) for name, part in first.items()}
        said = ask(chunks, torch.cat([x] * len(chunks)), told)
        for chunk, output in zip(chunks, said.chunk(len(chunks))):
            sums[chunk.mark] += output * chunk.strength
            weights[chunk.mark] += chunk.strength
    return [total / weight for total, weight in zip(sums, weights)]


def guided(model, x, sigma, uncond, cond, cond_scale, options, predictions):
    """The step's x0, after what scripts make of it."""
    cond_pred, uncond_pred = predictions
    strength = sum(entry.get("strength", 1.0) for entry in cond)
    scale = cond_scale if math.isclose(strength, 1.0) else cond_scale * strength
    out = uncond_pred + (cond_pred - uncond_pred) * scale
    for function in options.get("sampler_post_cfg_function", []):
        told = {"model": model, "cond": cond, "uncond": uncond, "input": x, "sigma": sigma, "denoised": out}
        out = function({**told, "cond_denoised": cond_pred, "model_options": options})
    return out
