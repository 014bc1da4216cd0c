"""How the canvas of one sampling pass is denoised: whole, in tiles, or in tiles and regions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from tile_host.prompts import RegionPrompts, RowPlan, Rows, denoisers
from tile_methods.fusing import Denoise, TileFuser
from tile_methods.regions import Region, RegionFuser
from tile_utils.geometry import Box, Grid
from tile_utils.settings import RegionSettings, TiledDiffusionSettings

logger = logging.getLogger("Tiled Diffusion")
PlacedRegion = tuple[int, RegionSettings, Box]
"""(index, settings, latent box) of a region on a canvas"""


class Canvas:
    """One pass' canvas; call `denoise` in place of the model.

    Args:
        p: the host's processing object, with its sampler.
        grid: the tiles.
        placed: the regions that are drawn on this canvas.
        device: where the latent lives.
    """

    def __init__(
        self,
        p: Any,
        settings: TiledDiffusionSettings,
        grid: Grid,
        placed: Sequence[PlacedRegion],
        device: torch.device,
    ) -> None:
        self._grid, self._method = grid, settings.method
        self._regions: RegionFuser | None = None
        self._tiles: TileFuser | None = None
        if placed:
            self._prompts = RegionPrompts(p, [region for _, region, _ in placed])
            self._plan = RowPlan(p.sampler.model_wrap_cfg)
            self._placed = [
                Region(box, region.blend_mode == "Foreground", region.feather_ratio, key)
                for (_, region, box), key in zip(placed, self._prompts.networks.keys)
            ]
            self._draw_background = settings.draw_background
            self._regions = RegionFuser(
                grid,
                self._placed,
                settings.method,
                settings.tile_batch_size,
                device,
                settings.draw_background,
            )
            if not settings.draw_background and self._regions.tiles.batches:
                logger.info("What no background region covers is drawn with the main prompt.")
        elif len(grid.boxes) > 1:
            self._tiles = TileFuser(grid, settings.method, settings.tile_batch_size, device)

    @property
    def whole(self) -> bool:
        """Does the model see the canvas as it is?"""
        return self._regions is None and self._tiles is None

    @property
    def batches(self) -> int:
        """Model calls of one denoiser call."""
        if self._regions is not None:
            return self._regions.batches
        return len(self._tiles.batches) if self._tiles is not None else 1

    def denoise(
        self,
        model: Denoise,
        x: Tensor,
        sigma: Tensor,
        cond: Any,
        after_batch: Callable[[], None],
        rows: Rows | None = None,
    ) -> Tensor:
        """The prediction for the whole canvas; for the other arguments see `TileFuser.fuse`.

        Args:
            rows: what the rows of x are; without it those that the sampler asks about next.
        """
        if self._regions is not None:
            rows = rows or self._plan.next_rows(cond, x.shape[0])
            by_tiles, by_regions = denoisers(model, self._prompts, rows)
            return self._regions.fuse(by_tiles, by_regions, x, sigma, cond, after_batch)
        if self._tiles is not None:
            return self._tiles.fuse(model, x, sigma, cond, after_batch)
        out = model(x, sigma, cond)
        after_batch()
        return out

    def key(self, levels: Sequence[Rows]) -> Any:
        """What of tiles and regions changes the predictions for the rows of `levels`; see `fingerprint`."""
        if self._regions is None:
            return () if self._tiles is None else (self._method, self._grid)
        texts = []
        for index, region in enumerate(self._placed):
            self._prompts.networks.use(region.key)
            texts.append([self._prompts.rows(index, rows) for rows in levels])
        return self._method, self._grid, self._draw_background, self._placed, texts

    def networks_restored(self) -> AbstractContextManager[None]:
        """Afterwards the networks of the main prompt are in use again."""
        return nullcontext() if self._regions is None else self._prompts.networks.restored()
