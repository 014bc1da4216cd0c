"""Denoise a canvas tile by tile and average what the tiles say.

MultiDiffusion and Mixture of Diffusers are this one algorithm with two weightings. Averaging is linear, and x0, eps
and v of one x differ by the same affine map in every tile, so it may be applied to whatever the model predicts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tile_utils.conditioning import tile_conditioning
from tile_utils.geometry import Box, Grid, split_evenly
from tile_utils.weights import gaussian_weights, uniform_weights

Denoise = Callable[[Tensor, Tensor, Any], Tensor]
"""`denoise(x [B, C, h, w], sigma [B], cond) -> prediction [B, C, h, w]`"""

WEIGHTINGS: dict[str, Callable[..., Tensor]] = {
    "MultiDiffusion": uniform_weights,
    "Mixture of Diffusers": gaussian_weights,
}


class TileFuser:
    """One canvas' tiles, their batches and their weights; call `fuse` at every denoiser call.

    Args:
        grid: the tiles; the canvas is what they cover.
        method: a key of `WEIGHTINGS`.
        batch_size: tiles denoised together at most.
        device: where the canvas lives.
        needed: pixels that these tiles are drawn for [H, W], bool; all if not given. Tiles without any are left out,
            and elsewhere the tiles do not count.
    """

    def __init__(
        self, grid: Grid, method: str, batch_size: int, device: torch.device, needed: Tensor | None = None
    ) -> None:
        boxes = [box for box in grid.boxes if needed is None or bool(needed[box.slices].any())]
        self.batches = split_evenly(boxes, batch_size)
        self.canvas = grid.canvas
        self._weights = WEIGHTINGS[method](grid.tile_w, grid.tile_h, device)  # [h, w]
        self._needed = needed
        self.total = torch.zeros(*self.canvas, device=device)  # [H, W]
        for box in boxes:
            self.total[box.slices] += self._weights_of(box)

    def _weights_of(self, box: Box) -> Tensor:
        return self._weights if self._needed is None else self._weights * self._needed[box.slices]

    def add_to(
        self,
        fused: Tensor,
        denoise: Denoise,
        x: Tensor,
        sigma: Tensor,
        cond: Any,
        after_batch: Callable[[], None] = lambda: None,
    ) -> None:
        """Add the weighted predictions of all tiles to `fused` [B, C, H, W]; for the arguments see `fuse`."""
        rows = x.shape[0]
        for boxes in self.batches:
            tiles = torch.cat([x[(..., *box.slices)] for box in boxes])
            out = denoise(tiles, sigma.repeat(len(boxes)), tile_conditioning(cond, boxes, self.canvas, rows))
            for box, tile in zip(boxes, out.split(rows)):
                fused[(..., *box.slices)] += tile * self._weights_of(box)
            after_batch()

    def fuse(
        self,
        denoise: Denoise,
        x: Tensor,
        sigma: Tensor,
        cond: Any,
        after_batch: Callable[[], None] = lambda: None,
    ) -> Tensor:
        """The weighted average of the tiles' predictions (MultiDiffusion, eq. 7). [B, C, H, W], dtype of x

        Args:
            denoise: the model; it predicts as many channels as x has.
            x: noisy latent of the whole canvas, [B, C, H, W].
            sigma: noise level or timestep of each row, [B].
            cond: condition of the whole canvas; see `tile_conditioning`.
            after_batch: called after every batch; may raise to stop.
        """
        fused = torch.zeros_like(x, dtype=torch.float32)
        self.add_to(fused, denoise, x, sigma, cond, after_batch)
        return fused.div_(self.total).to(x.dtype)
