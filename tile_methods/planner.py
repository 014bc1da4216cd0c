"""From what a canvas is to be drawn of (a grid, regions) to what is denoised: the plan of each step."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product

import torch
from torch import Tensor

from tile_methods.patch import MAIN_NETWORKS, MAIN_WORDS, Batch, Layer, Patch, Plan, cover_of, total_of
from tile_methods.ranks import ALONE, Ranks
from tile_utils.grid import Grid, phases, split_evenly
from tile_utils.surface import Surface, Window, add, read
from tile_utils.weights import WEIGHTINGS, feather_mask

TILE, REGION = "tile", "region"
"""What a patch's place begins with."""
BACKGROUND, FOREGROUND = 0, 1
"""Layers: what is averaged, and what is laid over it."""


@dataclass(frozen=True, eq=False)
class Region:
    """A window with words of its own. In the background it is averaged with what else lies there; in the foreground it
    is laid over that, with its edges faded over `feather` of half its smaller side. Its `mask`, [h, w] bool, says which
    pixels of the window it counts in: without one, in all."""

    window: Window
    words: int
    foreground: bool = False
    feather: float = 0.0
    mask: Tensor | None = field(default=None, repr=False)


@dataclass(frozen=True)
class WordSpot:
    """A place on a canvas in latent pixels, with words."""

    y: float
    x: float
    words: int


def _nearest(spots: Sequence[WordSpot], window: Window, surface: Surface) -> int:
    """The words of a tile."""
    if not spots:
        return MAIN_WORDS

    def distance(spot: WordSpot) -> float:
        total = 0.0
        for at, middle, size, wraps in (
            (spot.y, window.y + window.h / 2, surface.height, surface.wraps[0]),
            (spot.x, window.x + window.w / 2, surface.width, surface.wraps[1]),
        ):
            apart = abs(at - middle)
            total += min(apart % size, -apart % size) ** 2 if wraps else apart**2
        return total

    return min(spots, key=distance).words


@dataclass(frozen=True)
class Layout:
    """What a canvas is to be drawn of.

    Args:
        grid: the tiles of the main prompt.
        method: a key of `WEIGHTINGS`.
        batch_size: patches denoised together at most.
        device: where the canvas lives.
        draw_background: draw tiles under background regions too; otherwise only where no region is.
        shift: let the grid lie elsewhere at every step; then it needs hardly any overlap (Frolov et al., SpotDiffusion,
            arXiv 2407.15507).
        multiple: of which positions on the canvas are, in latent pixels.
        networks: of words that use others than the main prompt.
        needed: which pixels are, [H, W] bool; what has none of them is not denoised. None: all.
        spots: of which each tile takes the words of the nearest to its middle.
    """

    surface: Surface
    grid: Grid
    method: str
    batch_size: int
    device: torch.device
    regions: Sequence[Region] = ()
    draw_background: bool = True
    shift: bool = False
    multiple: int = 1
    networks: Mapping[int, Hashable] = field(default_factory=dict)
    needed: Tensor | None = None
    spots: Sequence[WordSpot] = ()

    @property
    def whole(self) -> bool:
        """Is there nothing to cut: one tile, and no region?"""
        return len(self.grid) == 1 and not self.regions


class Planner:
    """The plans of one sampling pass.

    Args:
        ranks: each of them is given the batches of its own share of the patches.
    """

    def __init__(self, layout: Layout, ranks: Ranks = ALONE) -> None:
        self.layout, self.ranks = layout, ranks
        self._last: tuple[int, Plan] | None = None

    def plan(self, step: int) -> Plan:
        """How this step is denoised: for the same step the same, and one object while nothing changes."""
        key = step if self.layout.shift else 0
        if self._last is None or self._last[0] != key:
            self._last = key, self._plan(key)
        return self._last[1]

    def _plan(self, step: int) -> Plan:
        surface, device = self.layout.surface, self.layout.device
        background, foreground, cover = self._regions
        tiles = list(self._shifted_tiles(step) if self.layout.shift else self._still_tiles())
        layers = [Layer(total_of([*tiles, *background], surface, device))]
        if foreground:
            layers.append(Layer(total_of(foreground, surface, device), cover))
        return Plan(surface, list(self._batches([*tiles, *background, *foreground])), layers)

    @cached_property
    def _regions(self) -> tuple[list[Patch], list[Patch], Tensor]:
        """(what is seen of the background regions, the foreground regions, how much these cover [H, W])"""
        patches = [self._region_patch(region) for region in self.layout.regions]
        regions = [patch for patch in patches if self._is_needed(patch)]
        foreground = [patch for patch in regions if patch.layer == FOREGROUND]
        cover = cover_of(foreground, self.layout.surface, self.layout.device)
        background = [
            patch
            for patch in regions
            if patch.layer == BACKGROUND
            and (read(cover < 1, patch.window, self.layout.surface) & (patch.weights > 0)).any()
        ]
        return background, foreground, cover

    @cached_property
    def _needed(self) -> Tensor | None:
        """Where tiles are drawn, [H, W] bool; None: everywhere. What opaque foreground hides is not computed."""
        background, _, cover = self._regions
        seen = cover < 1
        needed = seen if self.layout.draw_background else seen & ~self._under(background)
        if self.layout.needed is not None:
            needed = needed & self.layout.needed
        return None if needed.all() else needed

    def _is_needed(self, patch: Patch) -> bool:
        """Does it count in any pixel that is needed?"""
        if self.layout.needed is None:
            return True
        return bool((read(self.layout.needed, patch.window, self.layout.surface) & (patch.weights > 0)).any())

    def region_patches(self) -> list[Patch]:
        """Where each region of the layout counts, in its order."""
        return [self._region_patch(region) for region in self.layout.regions]

    def _region_patch(self, region: Region) -> Patch:
        window, place, device = region.window, (REGION, region.words), self.layout.device
        if region.foreground:
            mask = feather_mask(
                window.w, window.h, region.feather, device, self.layout.surface.closed(window), region.mask
            )
            return Patch(window, mask, place, region.words, FOREGROUND)
        weights = self._weights_of(window)
        if region.mask is not None:
            weights = weights * region.mask
        return Patch(window, weights, place, region.words, BACKGROUND)

    def _under(self, patches: Sequence[Patch]) -> Tensor:
        """Where any of these patches counts. [H, W], bool"""
        count = torch.zeros(self.layout.surface.height, self.layout.surface.width, device=self.layout.device)
        for patch in patches:
            add(count, (patch.weights > 0).to(count), patch.window, self.layout.surface)
        return count > 0

    @cached_property
    def _weights(self) -> Tensor:
        """Of a whole tile, [h, w]."""
        return self._weights_of(Window(0, 0, self.layout.grid.down.tile, self.layout.grid.across.tile))

    def _weights_of(self, window: Window) -> Tensor:
        """Of a window's size, by the method. [h, w]"""
        closed = self.layout.surface.closed(window)
        return WEIGHTINGS[self.layout.method](window.w, window.h, self.layout.device, closed)

    def _still_tiles(self) -> Iterator[Patch]:
        for number, window in enumerate(self.layout.grid.windows):
            yield from self._tile(number, window, self._weights)

    def _shifted_tiles(self, step: int) -> Iterator[Patch]:
        grid = self.layout.grid
        down, across = (
            axis.shifted(phase, self.layout.multiple)
            for axis, phase in zip((grid.down, grid.across), phases(step))
        )
        for number, (y, x) in enumerate(product(down, across)):
            window, weights = Window(y.start, x.start, grid.down.tile, grid.across.tile), self._weights
            if y.moved or x.moved:
                weights = torch.zeros_like(weights)
                counted = _kept(y.moved, window.h), _kept(x.moved, window.w)
                weights[counted] = self._weights[_kept(-y.moved, window.h), _kept(-x.moved, window.w)]
            yield from self._tile(number, window, weights)

    def _tile(self, number: int, window: Window, weights: Tensor) -> Iterator[Patch]:
        """The patch of a tile, if any pixel of it is needed; it counts in these alone."""
        if self._needed is not None:
            weights = weights * read(self._needed, window, self.layout.surface)
        if self._needed is None or weights.any():
            yield Patch(
                window, weights, (TILE, number), _nearest(self.layout.spots, window, self.layout.surface)
            )

    def _batches(self, patches: Sequence[Patch]) -> Iterator[Batch]:
        """Our share of the patches, those of one size and the same networks together."""
        ours = self.ranks.share(patches, lambda patch: patch.window.h * patch.window.w)
        alike: dict[Hashable, dict[tuple[int, int], list[Patch]]] = {}
        for patch in ours:
            sizes = alike.setdefault(self.layout.networks.get(patch.words, MAIN_NETWORKS), {})
            sizes.setdefault((patch.window.h, patch.window.w), []).append(patch)
        for networks, sizes in alike.items():
            for group in sizes.values():
                for batch in split_evenly(group, self.layout.batch_size):
                    yield Batch(tuple(batch), networks)


def _kept(moved: int, side: int) -> slice:
    """Pixels of a tile, `side` long, that it still covers when it lies `moved` pixels further back."""
    return slice(max(0, -moved), side - max(0, moved))
