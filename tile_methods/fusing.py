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
from tile_utils.geometry import Grid, split_evenly
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
        grid: the tiles.
        method: a key of `WEIGHTINGS`.
        batch_size: tiles denoised together at most.
        device: where the canvas lives.
    """

    def __init__(self, grid: Grid, method: str, batch_size: int, device: torch.device) -> None:
        self.batches = split_evenly(grid.boxes, batch_size)
        self._weights = WEIGHTINGS[method](grid.tile_w, grid.tile_h, device)  # [h, w]
        height = max(box.y + box.h for box in grid.boxes)
        width = max(box.x + box.w for box in grid.boxes)
        total = torch.zeros(height, width, device=device)
        for box in grid.boxes:
            total[box.slices] += self._weights
        self._total = total  # [H, W]

    def fuse(
        self,
        denoise: Denoise,
        x: Tensor,
        sigma: Tensor,
        cond: Any,
        after_batch: Callable[[int], None] = lambda done: None,
    ) -> Tensor:
        """The weighted average of the tiles' predictions (MultiDiffusion, eq. 7). [B, C, H, W], dtype of the model

        Args:
            denoise: the model.
            x: noisy latent of the whole canvas, [B, C, H, W].
            sigma: noise level or timestep of each row, [B].
            cond: condition of the whole canvas; see `tile_conditioning`.
            after_batch: called with the number of batches done; may raise to stop.
        """
        rows, canvas = x.shape[0], (x.shape[-2], x.shape[-1])
        fused: Tensor | None = None
        dtype = x.dtype
        for done, boxes in enumerate(self.batches, start=1):
            tiles = torch.cat([x[(..., *box.slices)] for box in boxes])
            out = denoise(
                tiles,
                sigma.repeat(len(boxes)),
                tile_conditioning(cond, boxes, canvas, rows),
            )
            if fused is None:
                dtype = out.dtype
                fused = torch.zeros(rows, out.shape[1], *canvas, device=out.device)
            for box, tile in zip(boxes, out.split(rows)):
                fused[(..., *box.slices)] += tile * self._weights
            after_batch(done)
        assert fused is not None  # a grid has at least one tile
        return fused.div_(self._total).to(dtype)
