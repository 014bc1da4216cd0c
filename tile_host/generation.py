"""One generation with Tiled Diffusion: what is put into the host, when, and that all of it is taken out again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from torch import Tensor
from tqdm import tqdm

from tile_host import pace
from tile_host.door import host
from tile_host.hosts.protocol import Denoise, Step
from tile_host.life import Generation
from tile_host.noise_inversion import InversionCache, NoiseInversion
from tile_host.passes import Kept, Pass
from tile_host.picture_text import picture_text
from tile_host.region_files import written_regions
from tile_host.rows import Asked
from tile_host.upscaling import prepared_input
from tile_host.words import check_prompts, in_pictures, without_comments
from tile_methods.joins import Joins, joined
from tile_methods.noise import add_noise
from tile_utils import patching
from tile_utils.infotext import to_infotext
from tile_utils.settings import SEAMLESS, RegionSettings, SettingsError, TiledDiffusionSettings
from tile_utils.surface import OPT_F

logger = logging.getLogger("Tiled Diffusion")
INFOTEXT_KEY = "Tiled Diffusion"
PLANE = 4
"""Axes of a latent: [B, C, H, W]"""
LATENT = (
    "Tiled Diffusion: this model's latent has {} axes and {} image pixels to a latent one; allowed are models with 4 "
    "axes and 8 pixels (Stable Diffusion, SDXL, Flux and their like). Switch Tiled Diffusion off."
)
EVEN = 8
"""Latent pixels: UNets halve a picture three times at most, and a side that cannot be halved does not meet itself."""
UNEVEN = (
    "Seamless: the picture's {} is {} pixels, and one tile covers it, so that its edges may not join exactly; allowed "
    "are multiples of {}, or smaller tiles."
)
NOT_SAMPLED = (
    "Another script draws in its own way and gives no pass to Tiled Diffusion: nothing was tiled, and no region was "
    "drawn."
)


class TiledGeneration(Generation):
    """See `docs/how-it-works.md` for the order of the host's hooks."""

    def __init__(
        self, settings: TiledDiffusionSettings, is_img2img: bool, inversions: InversionCache
    ) -> None:
        super().__init__()
        self.settings = settings
        self._is_img2img = is_img2img
        self._inversions = inversions
        self._inversion: NoiseInversion | None = None
        self._pass = self.stack.enter_context(ExitStack())  # what is changed for the current sampling pass
        self._vae = self.stack.enter_context(ExitStack())  # what is changed on the VAE in use
        self._wraps = (False, False)
        self._passes = 0  # begun for the current batch
        self._waiting = False  # the last pass was hooked, and no model call came
        self._active: list[tuple[int, RegionSettings]] = []  # regions that are switched on
        self._written = settings.regions  # into the picture
        self._said: dict[int, list[RegionSettings]] = {}  # regions that are on as they are in each picture
        self._seeds: dict[int, int] = {}  # of these, for the first picture

    def begin(self, p: Any) -> None:
        """The input, the image size, and what is written into the picture.

        Raises:
            SettingsError: input or size cannot be drawn, or a region's prompt.
        """
        if self.settings.enable_bbox_control:
            regions = map(without_comments, self.settings.regions)
            self._active = [(i, region) for i, region in enumerate(regions) if region.enable]
        check_prompts(self._active)
        # the host's *Tiling* joins all edges
        self._wraps = (True, True) if p.tiling else SEAMLESS[self.settings.seamless]
        if any(self._wraps):
            self.stack.enter_context(host.vae.checkpoint_followed(self._join_vae))
            self._join_vae(p.sd_model)
        if self._is_img2img:
            self.stack.enter_context(prepared_input(p, self.settings, self._wraps))
            if self.settings.noise_inverse:
                self._inversion = NoiseInversion(self.settings, self._inversions)
                self.stack.enter_context(self._inversion.sampler(p))
        elif self.settings.overwrite_size:
            self._overwrite_size(p)
        self._seeds = {
            i: region.seed if region.seed >= 0 else host.sampling.drawn_seed(p, i)
            for i, region in self._active
        }
        self._written, sentence = written_regions(self.settings)
        if sentence:
            host.job.tell(p, sentence)
        self._write_text(p)

    def _write_text(self, p: Any) -> None:
        """Into a dict of its own: an X/Y/Z plot's copies of `p` share theirs."""
        text = picture_text(self._infotext(p, use_main_prompt=True), self._infotext)
        p.extra_generation_params = {**p.extra_generation_params, INFOTEXT_KEY: text}

    def _join_vae(self, model: Any) -> None:
        """Pad this checkpoint's VAE by what lies at the opposite edge. Called again when the host changes it."""
        self._vae.close()
        self._vae.enter_context(joined([host.vae.network(model)], Joins(self._wraps)))

    def _overwrite_size(self, p: Any) -> None:
        """Raises SettingsError for a size that no latent has."""
        multiple = host.facts.size_multiple()
        for label, name in (("Image width", "width"), ("Image height", "height")):
            size = getattr(self.settings, f"image_{name}")
            if size % multiple:
                raise SettingsError(
                    f"Tiled Diffusion: '{label}' is {size}; allowed are multiples of {multiple}."
                )
            self.stack.enter_context(patching.attribute(p, name, size))

    def _infotext(
        self, p: Any, index: int = 0, all_seeds: Any = None, use_main_prompt: bool = False, **_scope: Any
    ) -> str:
        """What is written into picture `index`, of the batch if the host's `all_seeds` are the batch's: with the seeds
        that its regions really had."""
        if all_seeds is p.seeds and not use_main_prompt:
            index += p.iteration * p.batch_size
        regions = list(self._written)
        for number, region in self._active:
            said = self._said[number][index] if number in self._said else region
            if said != region:  # wildcards were drawn
                regions[number] = replace(regions[number], prompt=said.prompt, neg_prompt=said.neg_prompt)
            regions[number] = replace(regions[number], seed=self._seeds[number] + index)
        return to_infotext(replace(self.settings, regions=tuple(regions)))

    def begin_pass(self, p: Any, x: Tensor, noise: Tensor, conds: Any) -> None:
        """Before each sampling. The order matters: the noise is put in before it is inverted, and inverted by the
        pass' own regions and networks before the pass is hooked.

        Args:
            p: the host's processing object, with its sampler.
            x: the latent about to be sampled, [B, C, H, W].
            noise: the noise it will be given, of the same shape; regions and noise inversion put their own into it.
            conds: the host's conditions of the positive prompts.

        Raises:
            SettingsError: a latent that tiles do not fit.
        """
        self.end_pass()
        _check_latent(x)
        if not self._said and self._active:  # the scripts that write prompts have all done so
            self._said = {i: in_pictures(p, i, region, self._seeds[i]) for i, region in self._active}
            self._write_text(p)
        first = p.iteration * p.batch_size
        regions = [(i, self._said[i][first : first + p.batch_size]) for i, _ in self._active]
        kept, size = _kept(p, x, conds), (x.shape[-2], x.shape[-1])
        drawn = Pass(p, self.settings, regions, size, x.device, kept=kept, wraps=self._wraps)
        self._log("hires pass" if host.sampling.is_hires(p) else "pass", drawn)
        self._pass.enter_context(drawn.networks.restored())
        self._add_noise(p, drawn, noise)
        if self._inversion is not None:
            self._inversion.replace(p, x, noise, conds, drawn)
        if not drawn.plain:
            self._warn(p, drawn)
            self._hook(p, drawn, x.shape[0])
        self._pass.enter_context(host.sampling.followed(p, self.end_pass))
        self._passes += 1

    def _add_noise(self, p: Any, drawn: Pass, noise: Tensor) -> None:
        """Give regions the noise of their own seeds; picture i of the generation has seed + i."""
        if not drawn.windows:
            return
        first = p.iteration * p.batch_size
        # img2img's; the host has applied it to its own noise.
        scale = getattr(p, "initial_noise_multiplier", 1.0)
        for row in range(noise.shape[0]):
            seeds = {index: self._seeds[index] + first + row for index in drawn.windows}
            own = [
                host.sampling.seeded_noise(seeds[index], (noise.shape[1], window.h, window.w), noise) * scale
                for index, window in drawn.windows.items()
            ]
            masks = [region.mask for region in drawn.layout.regions]
            add_noise(noise[row], list(drawn.windows.values()), own, drawn.layout.surface, masks)

    def _log(self, name: str, drawn: Pass) -> None:
        layout, settings = drawn.layout, self.settings
        size = f"{layout.surface.width}x{layout.surface.height}"
        if layout.whole:
            tile = f"{settings.tile_width}x{settings.tile_height}"
            logger.info(
                "%s not tiled: one tile of %s covers the canvas of %s (latent).",
                name.capitalize(),
                tile,
                size,
            )
            return
        down, across = layout.grid.down, layout.grid.across
        logger.info(
            "%s: canvas %s (latent), %dx%d tiles of %dx%d, overlap %s%s, %d regions, %d batches a step, %s.",
            name.capitalize(),
            size,
            across.count,
            down.count,
            across.tile,
            down.tile,
            "x".join(str(overlap) for overlap in dict.fromkeys((across.overlap, down.overlap))),
            (", shifted every step" if layout.shift else "")
            + (", seamless" if any(layout.surface.wraps) else ""),
            len(layout.regions),
            drawn.batches,
            layout.method,
        )
        if layout.needed is not None:
            logger.info("The mask keeps %.0f%% of the canvas.", 100 * (1 - layout.needed.float().mean()))
        if drawn.fills_in:
            logger.info("What no background region covers is drawn with the main prompt.")

    def _warn(self, p: Any, drawn: Pass) -> None:
        layout = drawn.layout
        sizes = [
            (layout.grid.down.tile, layout.grid.across.tile),
            *((w.h, w.w) for w in drawn.windows.values()),
        ]
        surface = layout.surface
        for sentence in host.facts.warnings(
            p, all(w * surface.height == h * surface.width for h, w in sizes)
        ):
            host.job.tell(p, sentence)
        for name, side, tile, joined_there in (
            ("height", surface.height, layout.grid.down.tile, surface.wraps[0]),
            ("width", surface.width, layout.grid.across.tile, surface.wraps[1]),
        ):
            if joined_there and tile == side and side % EVEN:
                host.job.tell(p, UNEVEN.format(name, side * OPT_F, EVEN * OPT_F))

    def _hook(self, p: Any, drawn: Pass, pictures: int) -> None:
        bar = tqdm(desc="Tiled Diffusion", unit="batch", leave=False, disable=host.job.progress_hidden())
        progress = self._pass.enter_context(bar)
        tick = self._pass.enter_context(pace.measured(drawn.work * pictures))

        def call(model: Denoise, x: Tensor, sigma: Tensor, cond: Any, step: Step, asked: Asked) -> Tensor:
            self._waiting = False
            tick(step.number)
            after_batch = _advancing(progress, step, drawn.batches)
            return drawn.denoise(model, x, sigma, cond, step, asked, after_batch)

        self._pass.enter_context(host.sampling.hooked(p, call, drawn.largest))
        self._waiting = True

    def end_pass(self) -> None:
        """Undo what the current pass has changed."""
        self._pass.close()

    def end_batch(self, p: Any) -> None:
        """After the sampling of a batch, all its passes."""
        self.end_pass()
        if not self._passes and not host.job.interrupted():
            host.job.tell(p, NOT_SAMPLED)
        if self._waiting:  # something else has drawn: the picture's text must not say that we did
            p.extra_generation_params.pop(INFOTEXT_KEY, None)
        self._passes, self._waiting = 0, False


def _check_latent(x: Tensor) -> None:
    """Raises SettingsError for what is no plane of latent pixels of 8 x 8 image pixels."""
    factor = host.facts.latent_factor()
    if x.ndim != PLANE or factor != OPT_F:
        raise SettingsError(LATENT.format(x.ndim, factor))


def _kept(p: Any, x: Tensor, conds: Any) -> Kept | None:
    """What a mask keeps of the latent x; None: nothing."""
    needed = host.sampling.needed(p)
    if needed is None or needed.shape != x.shape[-2:] or needed.all():
        return None
    parts, _ = host.words.positives(conds, 0)
    return Kept(needed.to(x.device), x, [[row for row, _ in rows] for rows in parts])


def _advancing(progress: tqdm[Any], step: Step, batches: int) -> Callable[[], None]:
    """What is called after each batch: moves the bar, and stops where the user asked to."""
    done = 0

    def after_batch() -> None:
        nonlocal done
        done += 1
        progress.total = batches * step.calls or None
        # A step may come in several calls (cond and uncond apart): the bar follows the step, never back.
        progress.update(max(0, step.call * batches + done - progress.n))
        host.job.stop_if_interrupted()

    return after_batch
