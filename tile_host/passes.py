"""One sampling pass: what its canvas is drawn of, and what takes the place of the model's call."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from tile_host.door import host
from tile_host.edges import Edges
from tile_host.hosts.protocol import Denoise, Hints, Step
from tile_host.rows import Asked
from tile_host.words import RegionWords
from tile_methods.fuse import Prediction, fuse
from tile_methods.patch import MAIN_WORDS
from tile_methods.planner import TILE, Layout, Planner, Region, WordSpot
from tile_methods.strength import strength_map
from tile_utils import masks
from tile_utils.grid import make_grid, region_window
from tile_utils.settings import RegionSettings, TiledDiffusionSettings
from tile_utils.surface import OPT_F, Surface, Window
from tile_utils.tile_words import Spot

SPOTS = 1000
"""Numbers of the words for each tile begin here, those of regions end below."""


class After(Protocol):
    """What is changed of every row's x0 once it is fused; guidance is affine, so rows may be changed before it."""

    def __call__(self, denoised: Tensor, step: Step, asked: Asked) -> Tensor:
        """[B, C, H, W], a row for each that is asked about -> the same"""


class Kept:
    """What the host's mask keeps as it is: `init` is put back there, so nothing has to be drawn.

    Args:
        needed: the rest, [H, W] bool.
        init: latents of the pictures, [B, C, H, W].
        parts: of each picture, the numbers of its rows among a step's texts; the unconds come after all of them.
    """

    def __init__(self, needed: Tensor, init: Tensor, parts: Sequence[Sequence[int]]) -> None:
        self.needed, self._init = needed, init
        self._pictures = [number for number, rows in enumerate(parts) for _ in rows] + list(range(len(parts)))

    def put_back(self, prediction: Prediction, x: Tensor, out: Tensor, asked: Asked) -> Tensor:
        """The prediction whose x0 is `init` wherever it is kept: what others read there is finite, and right."""
        init = self._init[[self._pictures[row] for row in asked.rows]].to(x)
        return torch.where(self.needed, out, prediction.output(x, init))


class Pass:
    """A pass on a canvas of `size` (height, width) in latent pixels.

    Args:
        p: the host's processing object, with its sampler.
        regions: those that are switched on, by their index on the page, as they are in each picture of the batch: no
            more than what they say differs.
        device: where the latent lives.
        is_stage: its canvas is not the one that the host prepares control networks for.
        spots: words for each tile.
        kept: what the host's mask keeps as it is.
        wraps: see `Surface`.
    """

    def __init__(
        self,
        p: Any,
        settings: TiledDiffusionSettings,
        regions: Sequence[tuple[int, Sequence[RegionSettings]]],
        size: tuple[int, int],
        device: torch.device,
        is_stage: bool = False,
        spots: Sequence[Spot] = (),
        kept: Kept | None = None,
        wraps: tuple[bool, bool] = (False, False),
    ) -> None:
        self._p, self._kept = p, kept
        self._steps_of_a_grid = host.sampling.steps_of_a_grid(p)
        self.after: list[After] = []
        """Changes of x0, in their order."""
        height, width = size
        surface = Surface(height, width, wraps)
        multiple = host.facts.size_multiple() // OPT_F
        self.windows: dict[int, Window] = {}
        """Of the regions that are drawn on this canvas, by index."""
        shapes: dict[int, Tensor | None] = {}
        for index, (region, *_) in regions:
            box = (region.x, region.y, region.w, region.h)
            window = region_window(*box, surface, multiple, covered=bool(region.mask))
            shape = None if window is None else _shape(region, window, size, device)
            if window is not None and (shape is None or shape.any()):
                self.windows[index], shapes[index] = window, shape
        # 0 are the main prompt's words
        said = {index + 1: pictures for index, pictures in regions if index in self.windows}
        drawn = {number: region for number, (region, *_) in said.items()}
        pictures = range(len(host.words.prompts(p)[0]))
        words = {SPOTS + number: spot for number, spot in enumerate(spots)}
        told_there = {
            n: [RegionSettings(prompt=spot.prompt(i)) for i in pictures] for n, spot in words.items()
        }
        self._words = RegionWords(p, {**said, **told_there})
        self.networks = self._words.networks
        self.layout = Layout(
            surface,
            make_grid(
                width, height, settings.tile_width, settings.tile_height, settings.overlap, surface.wraps
            ),
            settings.method,
            settings.tile_batch_size,
            device,
            [
                Region(
                    self.windows[number - 1],
                    number,
                    region.blend_mode == "Foreground",
                    region.feather_ratio,
                    shapes[number - 1],
                )
                for number, region in drawn.items()
            ],
            settings.draw_background or not drawn,
            settings.shift_tiles,
            multiple,
            self._words.keys,
            None if kept is None else kept.needed,
            [WordSpot(spot.y * height, spot.x * width, number) for number, spot in words.items()],
        )
        self._hints: Hints | None = None
        if is_stage or not self.layout.whole:
            waits = torch.device("cpu") if settings.control_tensor_cpu else device
            hires = host.sampling.is_hires(p)
            self._hints = host.controls.hints(p, self.layout.surface, hires, waits)
        self.whole = self.layout.whole and self._hints is None
        """Is there nothing to cut, and no hint to be shown in this size?"""
        self._edges = Edges(p, surface)
        self._plan()
        factors = [region.strength for region in drawn.values()]
        self.strength: Tensor | None = None
        """The share of the pass in which each latent pixel is drawn, [H, W]; None: all of it."""
        if any(factor < 1 for factor in factors):
            patches = zip(self._planner.region_patches(), factors)
            self.strength = strength_map(patches, self.layout.surface, device)

    def _plan(self) -> None:
        """From the layout: how each step is drawn, and what it takes."""
        layout = self.layout
        self._planner = Planner(layout)
        batches = self._planner.plan(0).batches
        self.batches = len(batches)
        """Model calls of one denoiser call."""
        areas = [[patch.window.h * patch.window.w for patch in batch.patches] for batch in batches]
        if layout.shift and layout.needed is not None:
            areas.append([layout.grid.tile_area * layout.batch_size])  # other steps have other tiles
        self.largest = max(map(sum, areas), default=1)
        """Latent pixels a row of the largest of them."""
        patches = [patch for batch in batches for patch in batch.patches]
        self.work = layout.grid.tile_area * sum(patch.place[0] == TILE for patch in patches)
        """Latent pixels of all tiles that are drawn."""
        self.fills_in = not layout.draw_background and any(patch.words == MAIN_WORDS for patch in patches)
        """Is what no background region covers drawn with the main prompt?"""

    def of_all(self) -> Pass:
        """The same on the whole canvas, whatever a mask keeps."""
        whole = copy.copy(self)
        whole.layout, whole._kept = replace(self.layout, needed=None), None
        whole._plan()
        return whole

    def denoise(
        self,
        model: Denoise,
        x: Tensor,
        sigma: Tensor,
        cond: Any,
        step: Step,
        asked: Asked,
        after_batch: Callable[[], None],
    ) -> Tensor:
        """The prediction for the whole canvas; for the other arguments see `fuse` and `DenoiserCall`."""
        with self._edges.padded():
            if self.whole:
                out = model(x, sigma, cond)
                after_batch()
            else:
                plan = self._planner.plan(step.number // self._steps_of_a_grid)
                batches = plan.starting_with(self.networks.in_use)
                shown, told = model, cond
                if self._hints is not None:
                    shown, told = self._hints.shown(model), self._hints.beside(cond)
                asking = self._edges.telling(self._words.telling(shown, asked))
                out = fuse(plan, asking, x, sigma, told, after_batch, batches)
        if self._kept is not None:
            out = self._kept.put_back(host.sampling.prediction(self._p, sigma), x, out, asked)
        for change in self.after:
            prediction = host.sampling.prediction(self._p, sigma)
            out = prediction.changed(x, out, partial(change, step=step, asked=asked))
        return out

    @property
    def plain(self) -> bool:
        """Is it drawn as the host draws it?"""
        return self.whole and not self._edges.are_joined

    def key(self, levels: Sequence[Asked]) -> Hashable:
        """What of tiles and regions changes the predictions for the rows of `levels`; see `fingerprint`."""
        layout = self.layout
        if layout.whole:
            return layout.surface.wraps
        self._words.encode_all()
        texts = [[self._words.texts(region.words, asked) for asked in levels] for region in layout.regions]
        hints = None if self._hints is None else self._hints.key()
        canvas = (layout.method, layout.grid, layout.shift, layout.draw_background, layout.regions)
        texts += [[self._words.texts(spot.words, asked) for asked in levels] for spot in layout.spots]
        return (
            *canvas,
            layout.spots,
            [region.mask for region in layout.regions],
            texts,
            layout.networks,
            hints,
        )


def _shape(
    region: RegionSettings, window: Window, size: tuple[int, int], device: torch.device
) -> Tensor | None:
    """Which pixels of its window a region counts in, [h, w] bool; None: in all."""
    if not region.mask:
        return None
    box = (region.x, region.y, region.w, region.h)
    return torch.from_numpy(masks.on_canvas(region.mask, box, window, *size)).to(device)
