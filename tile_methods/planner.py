"""From what a canvas is to be drawn of (a grid, regions) to what is denoised: the plan of each step."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from tile_methods.patch import MAIN_NETWORKS, Batch, Layer, Patch, Plan, cover_of, total_of
from tile_utils.grid import Grid, split_evenly
from tile_utils.surface import Surface, Window, add, read
from tile_utils.weights import WEIGHTINGS, feather_mask

BACKGROUND, FOREGROUND = 0, 1
"""Layers: what is averaged, and what is laid over it."""


@dataclass(frozen=True)
class Region:
    """A window with words of its own. In the background it is averaged with what else lies there; in the foreground it
    is laid over that, with its edges faded over `feather` of half its smaller side."""

    window: Window
    words: int
    foreground: bool = False
    feather: float = 0.0


@dataclass(frozen=True)
class Layout:
    """What a canvas is to be drawn of.

    Args:
        grid: the tiles of the main prompt.
        method: a key of `WEIGHTINGS`.
        batch_size: patches denoised together at most.
        device: where the canvas lives.
        draw_background: draw tiles under background regions too; otherwise only where no region is.
        networks: of words that use others than the main prompt.
    """

    surface: Surface
    grid: Grid
    method: str
    batch_size: int
    device: torch.device
    regions: Sequence[Region] = ()
    draw_background: bool = True
    networks: Mapping[int, Hashable] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Is there nothing to cut: one tile, and no region?"""
        return len(self.grid) == 1 and not self.regions


class Planner:
    """The plans of one sampling pass."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def plan(self, step: int) -> Plan:
        """How this step is denoised: for the same step the same, and one object while nothing changes."""
        return self._still

    @cached_property
    def _still(self) -> Plan:
        surface, device = self.layout.surface, self.layout.device
        regions = [self._region_patch(region) for region in self.layout.regions]
        foreground = [patch for patch in regions if patch.layer == FOREGROUND]
        cover = cover_of(foreground, surface, device)
        seen = cover < 1  # what opaque foreground hides is not computed
        background = [
            patch
            for patch in regions
            if patch.layer == BACKGROUND and read(seen, patch.window, surface).any()
        ]
        tiles = list(
            self._tile_patches(seen if self.layout.draw_background else seen & ~self._under(background))
        )
        layers = [Layer(total_of([*tiles, *background], surface, device))]
        if foreground:
            layers.append(Layer(total_of(foreground, surface, device), cover))
        return Plan(surface, list(self._batches([*tiles, *background, *foreground])), layers)

    def _region_patch(self, region: Region) -> Patch:
        window, place = region.window, ("region", region.words)
        if region.foreground:
            mask = feather_mask(window.w, window.h, region.feather, self.layout.device)
            return Patch(window, mask, place, region.words, FOREGROUND)
        weights = WEIGHTINGS[self.layout.method](window.w, window.h, self.layout.device)
        return Patch(window, weights, place, region.words, BACKGROUND)

    def _under(self, patches: Sequence[Patch]) -> Tensor:
        """Where any of these patches lies. [H, W], bool"""
        count = torch.zeros(self.layout.surface.height, self.layout.surface.width, device=self.layout.device)
        for patch in patches:
            add(count, 1, patch.window, self.layout.surface)
        return count > 0

    def _tile_patches(self, needed: Tensor) -> Iterator[Patch]:
        """The tiles that have a pixel which is `needed` [H, W]; they count in these alone."""
        grid = self.layout.grid
        weights = WEIGHTINGS[self.layout.method](grid.across.tile, grid.down.tile, self.layout.device)
        everywhere = bool(needed.all())
        for number, window in enumerate(grid.windows):
            place = ("tile", number)
            if everywhere:
                yield Patch(window, weights, place)
            elif (part := read(needed, window, self.layout.surface)).any():
                yield Patch(window, weights * part, place)

    def _batches(self, patches: Sequence[Patch]) -> Iterator[Batch]:
        """Patches of one size and the same networks together."""
        alike: dict[Hashable, dict[tuple[int, int], list[Patch]]] = {}
        for patch in patches:
            sizes = alike.setdefault(self.layout.networks.get(patch.words, MAIN_NETWORKS), {})
            sizes.setdefault((patch.window.h, patch.window.w), []).append(patch)
        for networks, sizes in alike.items():
            for group in sizes.values():
                for batch in split_evenly(group, self.layout.batch_size):
                    yield Batch(tuple(batch), networks)
