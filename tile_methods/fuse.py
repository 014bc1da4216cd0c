"""Denoise a canvas patch by patch and put together what they say.

Averaging is linear, and x0, eps and v of one x differ by the same affine map in every patch, so it may be applied to
whatever the model predicts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tile_methods.patch import Batch, Plan
from tile_methods.ranks import ALONE, Ranks
from tile_utils.conditions import condition_of
from tile_utils.surface import add, read_all

Model = Callable[[Batch, Tensor, Tensor, Any], Tensor]
"""`model(batch, x [B·n, C, h, w], sigma [B·n], cond) -> prediction [B·n, C, h, w]`: what every door implements.

It is asked about the n patches of a batch, row by row (row 0 of all patches, then row 1); it sees to it that each is
told its words, by the batch's networks."""


def fuse(
    plan: Plan,
    model: Model,
    x: Tensor,
    sigma: Tensor,
    cond: Any,
    after_batch: Callable[[], None] = lambda: None,
    batches: Iterable[Batch] | None = None,
    channels: int | None = None,
    ranks: Ranks = ALONE,
) -> Tensor:
    """The prediction for the whole canvas: in each layer the weighted average of its patches (Bar-Tal et al., arXiv
    2302.08113, eq. 7), each layer laid over those below. [B, channels, H, W], dtype of x

    Args:
        x: noisy latent of the whole canvas, [B, C, H, W].
        sigma: noise level or timestep of each row, [B].
        cond: condition of the whole canvas; see `condition_of`.
        after_batch: called after every batch; may raise to stop.
        batches: the plan's, in the order in which they are to be drawn.
        channels: that the model predicts, if not as many as x has.
        ranks: among whom the patches are shared out (see `Planner`); all of them get the same prediction.
    """
    rows, shape = x.shape[0], (x.shape[0], channels or x.shape[1], *x.shape[2:])
    sums = [x.new_zeros(shape, dtype=torch.float32) for _ in plan.layers]
    with ranks.together():
        x = ranks.same(x, "denoising")
        for batch in plan.batches if batches is None else batches:
            count, windows = len(batch.patches), batch.windows
            told = condition_of(cond, windows, plan.surface, rows)
            out = model(batch, read_all(x, windows, plan.surface), sigma.repeat_interleave(count), told)
            for patch, part in zip(batch.patches, out.unflatten(0, (rows, count)).unbind(1)):
                add(sums[patch.layer], part * patch.weights, patch.window, plan.surface)
            after_batch()
        return plan.combined(ranks.summed(sums)).to(x.dtype)


@dataclass(frozen=True)
class Prediction:
    """How a door's prediction becomes x0 and back: `x0 = by_x · x + by_output · output`, factors [B, 1, 1, 1]."""

    by_x: Tensor
    by_output: Tensor

    def denoised(self, x: Tensor, output: Tensor) -> Tensor:
        """x0 of an output."""
        return self.by_x * x + self.by_output * output

    def output(self, x: Tensor, denoised: Tensor) -> Tensor:
        """The output that says this x0."""
        return (denoised - self.by_x * x) / self.by_output

    def changed(self, x: Tensor, output: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        """The output whose x0 is `change` of this one's. Guidance is affine, so rows may be changed before it."""
        return self.output(x, change(self.denoised(x, output)))
