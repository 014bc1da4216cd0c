"""Composition first in the host: a picture of the model's own size takes the first pass' place, and stages carry it to
the canvas'."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from tile_host.door import host
from tile_host.pixels import as_image, as_tensor
from tile_host.upscaling import check_upscaler, enlarged
from tile_methods.stages import Composition, Size, Tiles, compose, tiles_of_first, tiles_of_stage
from tile_utils.settings import SettingsError, TiledDiffusionSettings
from tile_utils.surface import OPT_F

logger = logging.getLogger("Tiled Diffusion")
NOT_KNOWN = (
    "Tiled Diffusion: 'Composition first' is on and the size of the pictures that this checkpoint was trained on is "
    "not known; switch it off."
)
FITS = "Composition first: the model draws %dx%d (latent) at once, there is nothing to carry."


@dataclass(frozen=True)
class Part:
    """A pass of a picture that is composed first.

    Args:
        tiles: that it is drawn in, instead of the page's.
        is_first: is it drawn from noise alone?
        late: model calls of the whole schedule that come before a stage.
    """

    name: str
    tiles: Tiles
    is_first: bool = False
    late: int = 0

    def settings(self, page: TiledDiffusionSettings) -> TiledDiffusionSettings:
        return replace(page, **vars(self.tiles))


Begin = Callable[[Part | None, Tensor | None], None]
"""Told before each part, with the pictures [B, 3, H, W] that it starts from; None: there is none any more."""


def plan_of(p: Any, settings: TiledDiffusionSettings, canvas: Size) -> Composition:
    """How a canvas is composed; its stages are told to the host with the first batch.

    Raises:
        SettingsError: the model's own size is not known, there is no such upscaler, or the sampler cannot do it.
    """
    side = host.facts.native_side()
    if not side:
        raise SettingsError(NOT_KNOWN)
    check_upscaler(settings.upscaler_name)
    composition = compose(canvas, side, settings.composition_strength, host.facts.size_multiple() // OPT_F)
    if not composition.stages:
        logger.info(FITS, canvas.width, canvas.height)
        return composition
    entries = [host.stages.entry(p, stage.sigma) for stage in composition.stages]
    if p.iteration == 0:
        host.job.more_passes(p, [steps for steps, _ in entries])
    return composition


def drawn_in_stages(
    p: Any,
    settings: TiledDiffusionSettings,
    composition: Composition,
    wraps: tuple[bool, bool],
    begin: Begin,
) -> Tensor:
    """The latents of the canvas. An interrupt keeps the last stage that is finished, enlarged. [B, C, H, W]

    Args:
        wraps: (down, across): edges of the canvas that are joined.
    """
    side, multiple = host.facts.native_side() or 0, host.facts.size_multiple() // OPT_F
    canvas = composition.stages[-1].size
    try:
        begin(Part("first picture", tiles_of_first(composition.first, side), is_first=True), None)
        with host.stages.sized(p, composition.first):
            latent = host.stages.sampled(p)
        for number, stage in enumerate(composition.stages, 1):
            name = f"stage {number} of {len(composition.stages)}"
            if host.job.interrupted():
                break
            host.job.next_pass()
            host.job.report(f"Composition first, {name}: enlarging")
            pictures = carried(host.stages.decoded(p, latent), stage.size, settings.upscaler_name, wraps)
            host.job.report(None)
            with host.stages.sized(p, stage.size):
                start = host.stages.encoded(p, pictures)
                _, late = host.stages.entry(p, stage.sigma)
                begin(
                    Part(name, tiles_of_stage(stage.size, Tiles.of(settings), multiple), late=late), pictures
                )
                found = host.stages.resampled(p, start, stage.sigma)
            latent = start if host.job.interrupted() else found
    finally:
        begin(None, None)
    return _fitted(latent, canvas)


def carried(pictures: Tensor, size: Size, upscaler: str, wraps: tuple[bool, bool]) -> Tensor:
    """Pictures [B, 3, h, w], 0 … 1, in the size of a canvas. [B, 3, H, W]"""
    target = size.width * OPT_F, size.height * OPT_F
    factor = max(target[0] / pictures.shape[-1], target[1] / pictures.shape[-2])
    return as_tensor([enlarged(as_image(picture), factor, target, upscaler, wraps) for picture in pictures])


def _fitted(latent: Tensor, size: Size) -> Tensor:
    """What an interrupt has left, without a VAE that would take its time."""
    if tuple(latent.shape[-2:]) == (size.height, size.width):
        return latent
    larger = F.interpolate(latent.float(), (size.height, size.width), mode="bicubic")
    return larger.to(latent)
