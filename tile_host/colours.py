"""What stays of a picture that is drawn over: colours, at every step and once decoded, and regions that wait."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from tile_host.door import host
from tile_host.hosts.protocol import Step
from tile_host.rows import Asked
from tile_methods.colours import LATENT_BLUR, PICTURE_BLUR, LowPass, held
from tile_methods.strength import let_go

FILLED = (
    "'Hold colours' does nothing where 'Masked content' is not 'original': there are no colours of the input to "
    "hold."
)
ORIGINAL = 1
"""Of the host's ways to fill what a mask lets through: with what was there."""
Wraps = tuple[bool, bool]


def can_hold(p: Any) -> bool:
    """Does what the generation starts from show colours everywhere? Says so once where it does not."""
    if getattr(p, "mask", None) is None or p.inpainting_fill == ORIGINAL:
        return True
    host.job.tell(p, FILLED)
    return False


def _drawn(p: Any) -> Tensor | None:
    """How much of each latent pixel a mask lets be drawn, [h, w]; None: all."""
    return p.nmask[0].float() if getattr(p, "mask", None) is not None else None


class HeldSteps:
    """A pass' x0 with the low frequencies of the latent that it starts from; see `passes.After`."""

    def __init__(self, p: Any, start: Tensor, owners: Sequence[int], wraps: Wraps) -> None:
        """`start`: [B, C, h, w]; `owners`: the picture of each row of a step."""
        self._owners = owners
        self._low_pass = LowPass(LATENT_BLUR, _drawn(p), wraps)
        self._low = self._low_pass(start.float())

    def __call__(self, denoised: Tensor, step: Step, asked: Asked) -> Tensor:
        low = self._low[[self._owners[row] for row in asked.rows]]
        return held(denoised.float(), low, self._low_pass).to(denoised)


class LetGoLater:
    """A pass' x0, which is the latent that it starts from where a region of less strength waits; see `passes.After`."""

    def __init__(self, start: Tensor, owners: Sequence[int], strength: Tensor) -> None:
        """`start`: [B, C, h, w]; `owners`: the picture of each row of a step; `strength`: see `strength_map`."""
        self._start, self._owners, self._strength = start, owners, strength

    def __call__(self, denoised: Tensor, step: Step, asked: Asked) -> Tensor:
        left, before = (
            1 - max(0, call) / step.calls if step.calls else 0.0 for call in (step.call, step.call - 1)
        )
        start = self._start[[self._owners[row] for row in asked.rows]]
        return let_go(denoised, start, self._strength, left, before)


class HeldPictures:
    """What is decoded, with the low frequencies of the pictures that it was drawn over."""

    def __init__(self, p: Any, start: Tensor, wraps: Wraps) -> None:
        """`start`: [N, 3, H, W], 0 … 1; one picture counts for all."""
        mask = _drawn(p)
        if mask is not None:
            mask = F.interpolate(mask.cpu()[None, None], start.shape[-2:], mode="bilinear")[0, 0]
        self._low_pass = LowPass(PICTURE_BLUR, mask, wraps)
        self._start = start

    def fits(self, pictures: Tensor) -> bool:
        """Are these the pictures that were drawn over the ones it knows? After an interrupt they may not be."""
        return pictures.shape[-2:] == self._start.shape[-2:]

    def change(self, pictures: Tensor) -> None:
        """[B, 3, H, W], 0 … 1, in place; one at a time, so that a batch of large pictures needs no more memory."""
        for number, picture in enumerate(pictures):
            start = self._start[min(number, len(self._start) - 1)][None]
            low = self._low_pass(start.to(picture))
            picture.copy_(held(picture[None], low, self._low_pass)[0].clamp(0, 1))
