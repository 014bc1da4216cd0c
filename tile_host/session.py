"""One generation with Tiled Diffusion: from the settings and the host's objects to hooks, and back to none."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from torch import Tensor
from tqdm import tqdm

from tile_host import cautions, pace, webui
from tile_host.canvas import Canvas, PlacedRegion
from tile_host.noise_inversion import InversionCache, NoiseInversion
from tile_host.picture_text import picture_text
from tile_host.prompts import check_prompts, without_comments
from tile_host.upscaling import prepared_input
from tile_methods.fusing import Denoise
from tile_methods.regions import add_noise
from tile_utils import patching
from tile_utils.geometry import OPT_F, Box, Grid, make_grid, region_box
from tile_utils.infotext import to_infotext
from tile_utils.settings import RegionSettings, SettingsError, TiledDiffusionSettings

logger = logging.getLogger("Tiled Diffusion")
INFOTEXT_KEY = "Tiled Diffusion"


class TiledDiffusionSession:
    """Holds the patches of one generation; `close` undoes them in every case."""

    def __init__(self, settings: TiledDiffusionSettings, inversions: InversionCache) -> None:
        self.settings = settings
        self._inversions = inversions
        self._inversion: NoiseInversion | None = None
        self._generation = ExitStack()  # the input and the image size
        self._pass = ExitStack()  # the denoiser of the current sampling pass
        self._passes = 0  # begun for the current batch
        self._active: list[tuple[int, RegionSettings]] = []  # regions that are switched on
        self._seeds: dict[int, int] = {}  # of these, for the first picture

    def begin(self, p: Any, is_img2img: bool) -> None:
        """Before the host prepares anything: the input, the image size, and what is written into the picture.

        Raises:
            SettingsError: input or size cannot be drawn, or a region's prompt.
        """
        if self.settings.enable_bbox_control:
            regions = map(without_comments, self.settings.regions)
            self._active = [(i, region) for i, region in enumerate(regions) if region.enable]
        check_prompts(self._active)
        if is_img2img:
            self._generation.enter_context(prepared_input(p, self.settings))
            if self.settings.noise_inverse:
                self._inversion = NoiseInversion(self.settings, self._inversions)
                self._generation.enter_context(self._inversion.sampler(p))
        elif self.settings.overwrite_size:
            self._overwrite_size(p)
        self._seeds = {
            i: region.seed if region.seed >= 0 else webui.drawn_seed(p, i) for i, region in self._active
        }
        # A dict of its own: an X/Y/Z plot's copies of `p` share theirs.
        text = picture_text(self._infotext(p, use_main_prompt=True), self._infotext)
        p.extra_generation_params = {**p.extra_generation_params, INFOTEXT_KEY: text}

    def _overwrite_size(self, p: Any) -> None:
        """Raises SettingsError for a size that no latent has."""
        multiple = webui.size_multiple()
        for label, name in (("Image width", "width"), ("Image height", "height")):
            size = getattr(self.settings, f"image_{name}")
            if size % multiple:
                raise SettingsError(
                    f"Tiled Diffusion: '{label}' is {size}; allowed are multiples of {multiple}."
                )
            self._generation.enter_context(patching.attribute(p, name, size))

    def _infotext(
        self, p: Any, index: int = 0, all_seeds: Any = None, use_main_prompt: bool = False, **_scope: Any
    ) -> str:
        """What is written into picture `index`, of the batch if the host's `all_seeds` are the batch's: with the seeds
        that its regions really had."""
        if all_seeds is p.seeds and not use_main_prompt:
            index += p.iteration * p.batch_size
        regions = list(self.settings.regions)
        for number, _ in self._active:
            regions[number] = replace(regions[number], seed=self._seeds[number] + index)
        return to_infotext(replace(self.settings, regions=tuple(regions)))

    def begin_pass(self, p: Any, x: Tensor, noise: Tensor, conds: Any) -> None:
        """Before each sampling: hook the pass' denoiser if its canvas needs more than one tile, or has regions.

        Args:
            p: the host's processing object, with its sampler.
            x: the latent about to be sampled, [B, C, H, W].
            noise: the noise it will be given, of the same shape; regions and noise inversion put their own into it.
            conds: the host's conditions of the positive prompts.
        """
        self.end_pass()
        settings = self.settings
        height, width = x.shape[-2:]
        grid = make_grid(width, height, settings.tile_width, settings.tile_height, settings.overlap)
        regions = self._regions_on(width, height)
        canvas = Canvas(p, settings, grid, regions, x.device)
        self._log("hires pass" if getattr(p, "is_hr_pass", False) else "pass", grid, canvas, len(regions))
        self._pass.enter_context(canvas.networks_restored())
        self._add_noise(p, regions, noise)
        if self._inversion is not None:
            self._inversion.replace(p, x, noise, conds, canvas)
        self._passes += 1
        if not canvas.whole:
            boxes = [*grid.boxes[:1], *(box for _, _, box in regions)]
            for sentence in cautions.found(p, Box(0, 0, width, height), boxes):
                cautions.tell(p, sentence)
            work = len(grid.boxes) * grid.tile_w * grid.tile_h * x.shape[0]
            self._hook(p.sampler.model_wrap_cfg, canvas, work)
        self._pass.enter_context(webui.followed(p.sampler, webui.SAMPLING, self.end_pass))

    def _regions_on(self, width: int, height: int) -> list[PlacedRegion]:
        """(index, settings, latent box) of the regions that are drawn on this canvas."""
        placed, multiple = [], webui.size_multiple() // OPT_F
        for index, region in self._active:
            box = region_box(region.x, region.y, region.w, region.h, width, height, multiple)
            if box is not None:
                placed.append((index, region, box))
        return placed

    def _add_noise(self, p: Any, placed: list[PlacedRegion], noise: Tensor) -> None:
        """Give regions the noise of their own seeds; picture i of the generation has seed + i."""
        if not placed:
            return
        first = p.iteration * p.batch_size
        # img2img's; the host has applied it to its own noise.
        scale = getattr(p, "initial_noise_multiplier", 1.0)
        for row in range(noise.shape[0]):
            seeds = {index: self._seeds[index] + first + row for index, _, _ in placed}
            own = [
                webui.seeded_noise(seeds[index], (noise.shape[1], box.h, box.w), noise) * scale
                for index, _, box in placed
            ]
            add_noise(noise[row], [box for _, _, box in placed], own)

    def _log(self, name: str, grid: Grid, canvas: Canvas, regions: int) -> None:
        height, width = grid.canvas
        if canvas.whole:
            logger.info(
                "%s not tiled: one tile of %dx%d covers the canvas of %dx%d (latent).",
                name.capitalize(),
                self.settings.tile_width,
                self.settings.tile_height,
                width,
                height,
            )
            return
        logger.info(
            "%s: canvas %dx%d (latent), %dx%d tiles of %dx%d, overlap %d, %d regions, %d batches a step, %s.",
            name.capitalize(),
            width,
            height,
            grid.cols,
            grid.rows,
            grid.tile_w,
            grid.tile_h,
            grid.overlap,
            regions,
            canvas.batches,
            self.settings.method,
        )

    def _hook(self, cfg_denoiser: Any, canvas: Canvas, work: int) -> None:
        """`work`: latent pixels that a step denoises, over all tiles and pictures."""
        batches = canvas.batches
        progress = self._pass.enter_context(
            tqdm(
                desc="Tiled Diffusion",
                unit="batch",
                leave=False,
                disable=webui.progress_hidden(),
            )
        )
        tick = self._pass.enter_context(pace.measured(work))

        def call(denoise: Denoise, x: Tensor, sigma: Tensor, cond: Any) -> Tensor:
            done = 0
            tick(webui.sampling_step())

            def after_batch() -> None:
                nonlocal done
                done += 1
                progress.total = batches * (cfg_denoiser.total_steps or 0) or None
                # A step may come in several calls (cond and uncond apart): the bar follows the step, never back.
                progress.update(max(0, cfg_denoiser.step * batches + done - progress.n))
                webui.stop_if_interrupted()

            return canvas.denoise(denoise, x, sigma, cond, after_batch)

        self._pass.enter_context(webui.hooked_denoiser(cfg_denoiser, call))

    def end_pass(self) -> None:
        """Unhook the denoiser of the current pass, if one is hooked."""
        self._pass.close()

    def end_batch(self, p: Any) -> None:
        """After the sampling of a batch, all its passes."""
        self.end_pass()
        if not self._passes and not webui.interrupted():
            cautions.tell(p, cautions.NOT_SAMPLED)
        self._passes = 0

    def close(self) -> None:
        """Undo everything."""
        self.end_pass()
        self._generation.close()
