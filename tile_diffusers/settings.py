"""What `tiled_diffusion` is told, checked. Sizes are in pixels of the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, Literal

from tile_utils.settings import SettingsError
from tile_utils.weights import WEIGHTINGS

SizeCondition = Literal["tile", "canvas"]
SIZE_CONDITIONS = ("tile", "canvas")


@dataclass(frozen=True)
class Region:
    """A part of the picture with words of its own, drawn beside the tiles.

    Args:
        x, y, w, h: left, top, width and height, in pixels.
        prompt, negative_prompt: joined to the pipeline's own by a comma; either may be empty.
        foreground: laid over what else lies there, its edges faded; otherwise averaged with it.
        feather: over how much of half its smaller side a foreground region fades, 0 … 1.
        adapters: LoRA adapters of the pipeline with their weights, beside those that are active; the weight of an
            active one changes in the region, 0 switches it off there.
    """

    x: int
    y: int
    w: int
    h: int
    prompt: str = ""
    negative_prompt: str = ""
    foreground: bool = False
    feather: float = 0.2
    adapters: Mapping[str, float] = field(default_factory=dict)

    @property
    def has_words(self) -> bool:
        """Is it told anything else than the rest of the picture?"""
        return bool(self.prompt.strip() or self.negative_prompt.strip() or self.adapters)


@dataclass(frozen=True)
class Settings:
    """See `tiled_diffusion`."""

    tile_width: int
    tile_height: int
    overlap: int
    method: str
    batch_size: int
    shift: bool
    regions: Sequence[Region]
    draw_background: bool
    size_condition: SizeCondition

    def check(self, multiple: int) -> None:
        """Args:
            multiple: pixels of which tiles and overlap are a multiple.

        Raises:
            SettingsError: a value cannot be used.
        """
        for name, size in (("width", self.tile_width), ("height", self.tile_height)):
            if size <= 0 or size % multiple:
                raise wrong(
                    "tile", f"a {name} of {size}", f"multiples of {multiple} pixels for this pipeline"
                )
        shorter = min(self.tile_width, self.tile_height)
        if not whole(self.overlap) or not 0 <= self.overlap < shorter or self.overlap % multiple:
            allowed = f"multiples of {multiple} from 0 to less than the tile"
            raise wrong("overlap", repr(self.overlap), f"{allowed} ({shorter})")
        if not whole(self.batch_size) or self.batch_size < 1:
            raise wrong("batch_size", repr(self.batch_size), "whole numbers from 1")
        choices = {"method": tuple(WEIGHTINGS), "size_condition": SIZE_CONDITIONS}
        for name, names in choices.items():
            if (value := getattr(self, name)) not in names:
                raise wrong(name, repr(value), " and ".join(map(repr, names)))
        for number, region in enumerate(self.regions):
            _check_region(f"regions[{number}]", region)


def _check_region(name: str, region: Any) -> None:
    if not isinstance(region, Region):
        raise wrong(name, repr(region), "objects of tile_diffusers.Region")
    for side in ("x", "y", "w", "h"):
        if not whole(value := getattr(region, side)):
            raise wrong(f"{name}.{side}", repr(value), "whole numbers of pixels")
    if min(region.w, region.h) < 1:
        raise wrong(name, f"{region.w}x{region.h} pixels", "sizes from 1")
    for words in ("prompt", "negative_prompt"):
        if not isinstance(value := getattr(region, words), str):
            raise wrong(f"{name}.{words}", repr(value), "texts")
    if not isinstance(region.feather, Real) or not 0 <= region.feather <= 1:
        raise wrong(f"{name}.feather", repr(region.feather), "0 to 1")
    weights = region.adapters.values() if isinstance(region.adapters, Mapping) else [None]
    if not all(isinstance(weight, Real) for weight in weights):
        raise wrong(
            f"{name}.adapters", repr(region.adapters), "adapters' names with their weights, {'ink': 0.8}"
        )


def whole(value: object) -> bool:
    """Is it a whole number, numpy's too?"""
    return isinstance(value, Integral)


def sides_of(tile: Any) -> tuple[int, int]:
    """(width, height) of a tile.

    Raises:
        SettingsError: it is neither a number nor two.
    """
    sides = tuple(tile) if isinstance(tile, (tuple, list)) else (tile, tile)
    if len(sides) != 2 or not all(map(whole, sides)):
        raise wrong("tile", repr(tile), "a whole number of pixels, and two as (width, height)")
    return sides


def regions_of(regions: Any) -> tuple[Region, ...]:
    """The regions as a tuple.

    Raises:
        SettingsError: they are no list.
    """
    if not isinstance(regions, Sequence):
        raise wrong("regions", repr(regions), "lists of tile_diffusers.Region")
    return tuple(regions)


def wrong(name: str, value: object, allowed: str) -> SettingsError:
    """The error that says which argument has which value, and what is allowed."""
    return SettingsError(f"tiled_diffusion: '{name}' is {value}; allowed are {allowed}.")
