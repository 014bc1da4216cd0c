"""Boxes with prompts of their own on a tiled canvas: background regions take part in the average, foreground regions
are laid over it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tile_methods.fusing import WEIGHTINGS, Denoise, TileFuser
from tile_utils.conditioning import tile_conditioning
from tile_utils.geometry import Box, Grid, split_evenly
from tile_utils.weights import feather_mask

MAIN: Hashable = ""
"""The key of regions that use the tiles' networks."""
DenoiseRegions = Callable[[Sequence[int], Tensor, Tensor, Any], Tensor]
"""`denoise(regions, x, sigma, cond)`: like `Denoise` on crops of several regions, given by their number, one below the
other; `cond` is the canvas' own, cropped."""


@dataclass(frozen=True)
class Region:
    """A box on the canvas. Regions of one `key` may be denoised together: they use the same networks, those with `MAIN`
    the tiles' own."""

    box: Box
    foreground: bool = False
    feather: float = 0.0
    key: Hashable = MAIN


class RegionFuser:
    """A canvas with regions; call `fuse` at every denoiser call.

    Args:
        grid: the tiles of the main prompt.
        regions: at least one.
        method, batch_size, device: see `TileFuser`.
        draw_background: draw the main prompt under background regions too; otherwise only where no region is.
    """

    def __init__(
        self,
        grid: Grid,
        regions: Sequence[Region],
        method: str,
        batch_size: int,
        device: torch.device,
        draw_background: bool,
    ) -> None:
        self._regions = regions
        canvas = grid.canvas
        self._mask = torch.zeros(*canvas, device=device)  # [H, W], how much of the foreground is laid over
        self._foregrounds = torch.zeros(*canvas, device=device)  # [H, W], how many there are
        self._weights = [self._weights_of(region, method, device) for region in regions]
        for region, weights in zip(regions, self._weights):
            if region.foreground:
                self._mask[region.box.slices] += weights
                self._foregrounds[region.box.slices] += 1
        self._foregrounds.clamp_(min=1)
        self._mask /= self._foregrounds
        seen = self._mask < 1
        covered = torch.zeros_like(seen)
        for region in regions:
            if not region.foreground:
                covered[region.box.slices] = True
        needed = seen if draw_background else seen & ~covered
        self.tiles = TileFuser(grid, method, batch_size, device, needed)
        self._total = self.tiles.total.clone()
        drawn = [i for i, region in enumerate(regions) if region.foreground or seen[region.box.slices].any()]
        for index in drawn:
            if not regions[index].foreground:
                self._total[regions[index].box.slices] += self._weights[index]
        self._total[self._total == 0] = 1  # behind opaque foreground
        self._groups = self._groups_of(drawn, batch_size)

    @property
    def batches(self) -> int:
        """Model calls of one denoiser call."""
        return len(self.tiles.batches) + sum(map(len, self._groups.values()))

    @staticmethod
    def _weights_of(region: Region, method: str, device: torch.device) -> Tensor:
        if region.foreground:
            return feather_mask(region.box.w, region.box.h, region.feather, device)
        return WEIGHTINGS[method](region.box.w, region.box.h, device)

    def _groups_of(self, drawn: Sequence[int], batch_size: int) -> dict[Hashable, list[Sequence[int]]]:
        """Batches of regions of one size, by key; that of the tiles is the first."""
        alike: dict[Hashable, dict[tuple[int, int], list[int]]] = {MAIN: {}}
        for index in drawn:
            region = self._regions[index]
            sizes = alike.setdefault(region.key, {})
            sizes.setdefault((region.box.w, region.box.h), []).append(index)
        return {
            key: [batch for indices in sizes.values() for batch in split_evenly(indices, batch_size)]
            for key, sizes in alike.items()
        }

    def fuse(
        self,
        denoise: Denoise,
        denoise_regions: DenoiseRegions,
        x: Tensor,
        sigma: Tensor,
        cond: Any,
        after_batch: Callable[[], None] = lambda: None,
    ) -> Tensor:
        """`background · (1 − mask) + foreground · mask`; for the arguments see `TileFuser.fuse`. [B, C, H, W]"""
        rows = x.shape[0]
        background = torch.zeros_like(x, dtype=torch.float32)
        foreground = torch.zeros_like(background)
        for key, batches in self._groups.items():
            if key == MAIN:
                self.tiles.add_to(background, denoise, x, sigma, cond, after_batch)
            for batch in batches:
                boxes = [self._regions[index].box for index in batch]
                crops = torch.cat([x[(..., *box.slices)] for box in boxes])
                cropped = tile_conditioning(cond, boxes, self.tiles.canvas, rows)
                out = denoise_regions(batch, crops, sigma.repeat(len(boxes)), cropped)
                for index, box, part in zip(batch, boxes, out.split(rows)):
                    if self._regions[index].foreground:
                        foreground[(..., *box.slices)] += part
                    else:
                        background[(..., *box.slices)] += part * self._weights[index]
                after_batch()
        self._groups = dict(reversed(self._groups.items()))  # the next call goes on with the networks in use
        background /= self._total
        foreground /= self._foregrounds
        return background.lerp_(foreground, self._mask).to(x.dtype)


def add_noise(noise: Tensor, boxes: Sequence[Box], own: Sequence[Tensor]) -> None:
    """Put regions' own noise into `noise` [C, H, W], in place; where boxes overlap the variance stays 1.

    Args:
        own: unit normal noise of each box, [C, h, w].
    """
    total = torch.zeros_like(noise)
    count = noise.new_zeros(noise.shape[-2:])
    for box, part in zip(boxes, own):
        total[(..., *box.slices)] += part
        count[box.slices] += 1
    noise[:, count > 0] = (total / count.clamp(min=1).sqrt())[:, count > 0]
