"""`tiled_diffusion`: a pipeline of `diffusers` that draws in tiles for as long as a `with` lasts."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from diffusers.utils.torch_utils import unwrap_module
from torch import nn

from tile_diffusers.attach import attached, is_attached
from tile_diffusers.calls import around_calls
from tile_diffusers.control import control_of
from tile_diffusers.drawing import Drawing
from tile_diffusers.hook import NAME, Tiles
from tile_diffusers.settings import Region, Settings, SizeCondition, regions_of, sides_of
from tile_methods.ranks import Ranks
from tile_utils.settings import SettingsError


@contextmanager
def tiled_diffusion(
    pipe: Any,
    *,
    tile: int | tuple[int, int] = 1024,
    overlap: int = 256,
    method: str = "Mixture of Diffusers",
    batch_size: int = 1,
    shift: bool = False,
    regions: Sequence[Region] = (),
    draw_background: bool = True,
    size_condition: SizeCondition = "tile",
    group: Any = None,
) -> Iterator[None]:
    """Draw pictures larger than the model knows, in tiles: `with tiled_diffusion(pipe, tile=1024): pipe(...)`.

    Every step of the pipeline, whatever its class, sampler and callbacks, is denoised tile by tile, and the parts are
    averaged. A picture of one tile is drawn as without. Afterwards nothing is left on the pipeline.

    Args:
        pipe: a pipeline of `diffusers` that draws pictures by a UNet or a transformer.
        tile: side of a tile, or (width, height), in pixels of the picture: best is the model's own size.
        overlap: of neighbouring tiles, in pixels.
        method: "Mixture of Diffusers" or "MultiDiffusion".
        batch_size: tiles denoised together at most.
        shift: lay the tiles elsewhere at every step; an overlap of an eighth of a tile is enough then.
        regions: parts of the picture with words of their own.
        draw_background: draw tiles under background regions too.
        size_condition: which size SDXL is told: "tile", or "canvas" for what the pipeline tells it.
        group: of `torch.distributed`, whose processes all make the same calls with the same seeds: each draws its share
            of the tiles, and all of them get the whole picture.

    Raises:
        SettingsError: a pipeline or a value that cannot be used, in one sentence; some show only when
            the pipeline is called.
        RankError: another process of the group failed, is gone or hangs.
    """
    settings = Settings(
        *sides_of(tile),
        overlap,
        method,
        batch_size,
        shift,
        regions_of(regions),
        draw_background,
        size_condition,
    )
    name = denoiser_of(pipe)
    net = getattr(pipe, name)
    control = control_of(pipe)
    unit, patch = _sizes(pipe, net)
    settings.check(unit * patch)
    ranks = Ranks(group)
    tiles = Tiles(pipe, name, Drawing(settings, unit, patch, ranks))
    with ranks.together(), ExitStack() as stack:
        if control is not None:
            stack.enter_context(attached(control, tiles.control, NAME))
        stack.enter_context(attached(net, tiles, NAME))
        stack.enter_context(around_calls(pipe, tiles.around))
        yield
        ranks.meet("the end of tiled_diffusion")


def denoiser_of(pipe: Any) -> str:
    """The attribute of a pipeline that holds the network it asks at every step.

    Raises:
        SettingsError: it has none that is known, draws videos, or is tiled already.
    """
    kind = type(pipe).__name__
    name = next((name for name in ("unet", "transformer") if getattr(pipe, name, None) is not None), None)
    if name is None:
        raise SettingsError(
            f"tiled_diffusion: a {kind} has neither 'unet' nor 'transformer', so nothing is tiled."
        )
    net = getattr(pipe, name)
    if "num_frames" in inspect.signature(type(pipe).__call__).parameters:
        raise SettingsError(
            f"tiled_diffusion: a {kind} draws videos; allowed are pipelines that draw pictures."
        )
    if (
        not {"sample", "hidden_states"}
        & inspect.signature(type(unwrap_module(net)).forward).parameters.keys()
    ):
        raise SettingsError(
            f"tiled_diffusion: the denoiser {type(unwrap_module(net)).__name__} of a {kind} is not known."
        )
    if is_attached(net, NAME):
        raise SettingsError(
            "tiled_diffusion: this pipeline's denoiser is tiled already; one `with` at a time."
        )
    return name


def _sizes(pipe: Any, net: nn.Module) -> tuple[int, int]:
    """(pixels per latent pixel, latent pixels per side of what the network takes as one)."""
    parameters = inspect.signature(type(unwrap_module(net)).forward).parameters
    packs = "img_ids" in parameters
    patch = 2 if packs else getattr(unwrap_module(net), "config", {}).get("patch_size") or 1
    return getattr(pipe, "vae_scale_factor", None) or 1, patch
