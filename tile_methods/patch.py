"""What is denoised apart, and how the parts make up a canvas: one form for tiles, regions and all that is alike."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from tile_utils.surface import Surface, Window, add, read

MAIN_WORDS = 0
"""The `words` of what is told the main prompt."""
MAIN_NETWORKS: Hashable = ""
"""The `networks` of what uses those of the main prompt."""


@dataclass(frozen=True, eq=False)
class Patch:
    """What is denoised alone: a tile, a region, a tile with words of its own.

    Args:
        window: what it sees of the canvas.
        weights: how much each of its pixels counts there, [h, w] float32.
        place: what it is known by from step to step, for caches.
        words: whose words it is told, by number; what a number means is the door's.
        layer: 0 is averaged, each further one is laid over those below it.
    """

    window: Window
    weights: Tensor
    place: tuple[Hashable, ...]
    words: int = MAIN_WORDS
    layer: int = 0


@dataclass(frozen=True, eq=False)
class Batch:
    """Patches of one size with one set of networks: what a model call is about."""

    patches: tuple[Patch, ...]
    networks: Hashable = MAIN_NETWORKS

    @cached_property
    def windows(self) -> list[Window]:
        return [patch.window for patch in self.patches]


@dataclass(frozen=True, eq=False)
class Layer:
    """How the weighted sum of a layer's patches becomes the canvas.

    Args:
        total: what its weights sum up to, 1 where there is nothing, [H, W].
        cover: how much of it is laid over what is below, 0 … 1, [H, W]; the lowest layer lies on nothing and has none.
    """

    total: Tensor
    cover: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Plan:
    """How one step's canvas is denoised: in which batches, and how they are put together."""

    surface: Surface
    batches: Sequence[Batch]
    layers: Sequence[Layer]

    def starting_with(self, networks: Hashable) -> list[Batch]:
        """All batches, first those whose networks are in use already: then a step switches as seldom as possible."""
        return sorted(self.batches, key=lambda batch: batch.networks != networks)

    def combined(self, sums: Sequence[Tensor]) -> Tensor:
        """The canvas, of each layer's weighted sum [B, C, H, W], which is changed in place."""
        canvas, *above = (part.div_(layer.total) for part, layer in zip(sums, self.layers))
        for part, layer in zip(above, self.layers[1:]):
            canvas = canvas.lerp_(part, layer.cover)  # type: ignore[arg-type]
        return canvas


def total_of(patches: Sequence[Patch], surface: Surface, device: torch.device) -> Tensor:
    """What the weights of patches sum up to, 1 where there is nothing. [H, W]"""
    total = torch.zeros(surface.height, surface.width, device=device)
    for patch in patches:
        add(total, patch.weights, patch.window, surface)
    return total.masked_fill_(total == 0, 1)


def cover_of(patches: Sequence[Patch], surface: Surface, device: torch.device) -> Tensor:
    """How much of what is below these patches they cover together: `1 − Π(1 − w)`. [H, W]"""
    clear = torch.ones(surface.height, surface.width, device=device)
    for patch in patches:
        add(clear, -patch.weights * read(clear, patch.window, surface), patch.window, surface)
    return 1 - clear
