"""One generation with Tiled Diffusion: from the settings and the host's objects to hooks, and back to none."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import Any

from torch import Tensor
from tqdm import tqdm

from tile_host import webui
from tile_methods.fusing import Denoise, TileFuser
from tile_utils import patching
from tile_utils.geometry import Grid, make_grid
from tile_utils.settings import SettingsError, TiledDiffusionSettings, to_infotext

logger = logging.getLogger("Tiled Diffusion")
INFOTEXT_KEY = "Tiled Diffusion"
OPT_F = 8
"""Pixels of the image per latent pixel."""


class TiledDiffusionSession:
    """Holds the patches of one generation; `close` undoes them in every case."""

    def __init__(self, settings: TiledDiffusionSettings) -> None:
        self.settings = settings
        self._generation = ExitStack()  # the image size
        self._pass = ExitStack()  # the denoiser of the current sampling pass

    def begin(self, p: Any, is_img2img: bool) -> None:
        """Before the host prepares anything: the image size, and what is written into the picture.

        Raises:
            SettingsError: the image size cannot be drawn.
        """
        if self.settings.overwrite_size and not is_img2img:
            width, height = self.settings.image_width, self.settings.image_height
            for label, size in (("Image width", width), ("Image height", height)):
                if size % OPT_F:
                    raise SettingsError(
                        f"Tiled Diffusion: '{label}' is {size}; allowed are multiples of {OPT_F}."
                    )
            self._generation.enter_context(patching.attribute(p, "width", width))
            self._generation.enter_context(patching.attribute(p, "height", height))
        p.extra_generation_params[INFOTEXT_KEY] = to_infotext(self.settings)
        self._generation.enter_context(patching.closed_with(p, self.close))

    def begin_pass(self, p: Any, x: Tensor) -> None:
        """Before each sampling: hook the pass' denoiser if its canvas needs more than one tile.

        Args:
            p: the host's processing object, with its sampler.
            x: the latent about to be sampled, [B, C, H, W].
        """
        self.end_pass()
        settings = self.settings
        height, width = x.shape[-2:]
        grid = make_grid(width, height, settings.tile_width, settings.tile_height, settings.overlap)
        name = "hires pass" if getattr(p, "is_hr_pass", False) else "pass"
        if len(grid.boxes) == 1:
            logger.info(
                "%s not tiled: one tile of %dx%d covers the canvas of %dx%d (latent).",
                name.capitalize(),
                settings.tile_width,
                settings.tile_height,
                width,
                height,
            )
            return
        fuser = TileFuser(grid, settings.method, settings.tile_batch_size, x.device)
        self._log_grid(name, width, height, grid, len(fuser.batches))
        self._hook(p.sampler.model_wrap_cfg, fuser)

    def _log_grid(self, name: str, width: int, height: int, grid: Grid, batches: int) -> None:
        logger.info(
            "%s: canvas %dx%d (latent), %dx%d tiles of %dx%d, overlap %d, %d batches a step, %s.",
            name.capitalize(),
            width,
            height,
            grid.cols,
            grid.rows,
            grid.tile_w,
            grid.tile_h,
            grid.overlap,
            batches,
            self.settings.method,
        )

    def _hook(self, cfg_denoiser: Any, fuser: TileFuser) -> None:
        batches = len(fuser.batches)
        progress = self._pass.enter_context(tqdm(desc="Tiled Diffusion", unit="batch", leave=False))

        def after_batch(done: int) -> None:
            progress.total = batches * (cfg_denoiser.total_steps or 0) or None
            # A step may come in several calls (cond and uncond apart): the bar follows the step, never back.
            progress.update(max(0, cfg_denoiser.step * batches + done - progress.n))
            webui.stop_if_interrupted()

        def call(denoise: Denoise, x: Tensor, sigma: Tensor, cond: Any) -> Tensor:
            return fuser.fuse(denoise, x, sigma, cond, after_batch)

        self._pass.enter_context(webui.hooked_denoiser(cfg_denoiser, call))

    def end_pass(self) -> None:
        """Unhook the denoiser of the current pass, if one is hooked."""
        self._pass.close()

    def close(self) -> None:
        """Undo everything."""
        self.end_pass()
        self._generation.close()
