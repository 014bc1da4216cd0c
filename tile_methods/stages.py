"""Composition first: the picture is drawn at the size that the model knows, then carried to the canvas' in stages.

Two things decide whether tiles invent subjects of their own (`docs/benchmarks.md`). One is the noise level that they
start from, σ in units of a latent whose variance is 1: they do not at 1.3, and do from about 2.5. The other is how much
of the scene a tile sees: one that is as high as the canvas takes its piece for a whole scene. So tiles have the aspect
of the canvas, as the first picture has.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from math import ceil, log2, sqrt
from typing import Any

import torch
from torch import Tensor

FIRST_SIGMA, LATER_SIGMA = 1.3, 0.8
"""Where the first stage starts, and those after it, at a strength of 0.5, if each doubles the size; less in proportion
to the octaves of detail that it adds."""
TOO_NEAR = 0.97
"""A level of the schedule this near to where a stage starts is left out."""
NARROWEST, LONGEST = 0.5, 2.0
"""Sides of what is drawn at once, in sides of the model's own pictures."""
ALIKE = 1.3
"""Tiles whose aspects differ by less than this factor are left as they are."""


@dataclass(frozen=True)
class Size:
    """Of a canvas, in latent pixels."""

    height: int
    width: int


@dataclass(frozen=True)
class Stage:
    """A canvas that is denoised in tiles, from noise of the level `sigma` on."""

    size: Size
    sigma: float


@dataclass(frozen=True)
class Tiles:
    """How a part of a composition is cut, named as the settings that it replaces; latent pixels."""

    tile_height: int
    tile_width: int
    overlap: int
    shift_tiles: bool

    @classmethod
    def of(cls, page: Any) -> Tiles:
        """Those of settings that have these names."""
        return cls(**{spec.name: getattr(page, spec.name) for spec in fields(cls)})


@dataclass(frozen=True)
class Composition:
    """The size in which a picture is drawn first, and the stages that carry it to its own; none where it has that."""

    first: Size
    stages: tuple[Stage, ...]


def native_size(canvas: Size, side: int, multiple: int = 1) -> Size:
    """The size with the canvas' aspect and the area of `side` squared, but no side below half of `side`, nor above the
    canvas' own. Sides are multiples of `multiple`, and of what a UNet halves them to.
    """
    grain = max(multiple, 8 if side >= 64 else 4)
    aspect = canvas.width / canvas.height
    height, width = side / sqrt(aspect), side * sqrt(aspect)
    larger = max(1.0, NARROWEST * side / min(height, width))
    return Size(
        *(
            min(own, max(grain, round(length * larger / grain) * grain))
            for own, length in ((canvas.height, height), (canvas.width, width))
        )
    )


def tiles_of_first(first: Size, side: int) -> Tiles:
    """Those in which the first picture is drawn: one, unless it is a ribbon."""
    longest = int(LONGEST * side)
    height, width = min(first.height, longest), min(first.width, longest)
    return Tiles(height, width, min(height, width) // 2, False)


def tiles_of_stage(canvas: Size, page: Tiles, multiple: int = 1) -> Tiles:
    """Tiles of the page's area and share of overlap, with the shape of what is drawn first: (nearly) the canvas'."""
    side = round(sqrt(page.tile_height * page.tile_width))
    own = tiles_of_first(native_size(canvas, side, multiple), side)
    aspects = [tiles.tile_width / tiles.tile_height for tiles in (own, page)]
    if max(aspects) < ALIKE * min(aspects):
        return page
    share = page.overlap / min(page.tile_height, page.tile_width)
    overlap = round(share * min(own.tile_height, own.tile_width))
    return replace(own, overlap=overlap, shift_tiles=page.shift_tiles)


def compose(canvas: Size, side: int, strength: float, multiple: int = 1) -> Composition:
    """How a canvas is drawn by a model whose pictures have the latent side `side`.

    Args:
        strength: 0 … 1, how much the stages draw anew.
        multiple: of which sides are, in latent pixels.
    """
    first = native_size(canvas, side, multiple)
    scale = max(canvas.height / first.height, canvas.width / first.width)
    count = ceil(log2(scale) - 0.05)  # sides are rounded
    grain = max(multiple, 4)
    factor: float = 2 ** (2 * strength - 1) * min(1.0, log2(scale) / max(1, count))

    def between(start: int, end: int, number: int) -> int:
        if number == count:
            return end
        return round(start * (end / start) ** (number / count) / grain) * grain

    return Composition(
        first,
        tuple(
            Stage(
                Size(
                    between(first.height, canvas.height, number), between(first.width, canvas.width, number)
                ),
                factor * (FIRST_SIGMA if number == 1 else LATER_SIGMA),
            )
            for number in range(1, count + 1)
        ),
    )


def steps_from(sigma: float, steps: int) -> int:
    """About how many of a schedule's steps lie below a noise level: as in that of Karras et al. (arXiv 2206.00364, eq.
    5) over the levels of Stable Diffusion."""
    low, high, rho = 0.029, 14.6, 7
    share = (high ** (1 / rho) - sigma ** (1 / rho)) / (high ** (1 / rho) - low ** (1 / rho))
    return max(1, ceil(steps * (1 - share)))


def cut(sigmas: Tensor, start: float) -> Tensor:
    """A falling schedule that ends in 0, entered at `start`, which is lower than its first level."""
    return torch.cat([sigmas.new_tensor([start]), sigmas[sigmas < TOO_NEAR * start]])


def cut_timesteps(timesteps: Tensor, sigmas: Tensor, start: float) -> Tensor:
    """The same for rising timesteps, where `sigmas` are the noise levels of all of them; the last is the one whose
    level is nearest to `start`."""
    first = (sigmas - start).abs().argmin()
    below = timesteps[sigmas[timesteps] < TOO_NEAR * start]
    return torch.cat([below, first[None].to(timesteps)])
