"""One sampling pass: what its canvas is drawn of, and what takes the place of the model's call."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from tile_host.door import host
from tile_host.hosts.protocol import Denoise, Hints, Step
from tile_host.rows import Asked
from tile_host.words import RegionWords
from tile_methods.fuse import fuse
from tile_methods.patch import MAIN_WORDS
from tile_methods.planner import Layout, Planner, Region
from tile_utils import masks
from tile_utils.grid import make_grid, region_window
from tile_utils.settings import RegionSettings, TiledDiffusionSettings
from tile_utils.surface import OPT_F, Surface, Window


class After(Protocol):
    """What is changed of every row's x0 once it is fused."""

    def __call__(self, denoised: Tensor, step: Step) -> Tensor:
        """[B, C, H, W] -> the same"""


class Pass:
    """A pass on a canvas of `size` (height, width) in latent pixels.

    Args:
        p: the host's processing object, with its sampler.
        regions: those that are switched on, by their index on the page.
        device: where the latent lives.
        after: changes of x0, in their order; guidance is affine, so rows may be changed before it.
    """

    def __init__(
        self,
        p: Any,
        settings: TiledDiffusionSettings,
        regions: Sequence[tuple[int, RegionSettings]],
        size: tuple[int, int],
        device: torch.device,
        after: Sequence[After] = (),
    ) -> None:
        self._p, self._after = p, after
        height, width = size
        surface = Surface(height, width)
        multiple = host.facts.size_multiple() // OPT_F
        self.windows: dict[int, Window] = {}
        """Of the regions that are drawn on this canvas, by index."""
        shapes: dict[int, Tensor | None] = {}
        for index, region in regions:
            box = (region.x, region.y, region.w, region.h)
            window = region_window(*box, surface, multiple, covered=bool(region.mask))
            shape = None if window is None else _shape(region, window, size, device)
            if window is not None and (shape is None or shape.any()):
                self.windows[index], shapes[index] = window, shape
        # 0 are the main prompt's words
        drawn = {index + 1: region for index, region in regions if index in self.windows}
        self._words = RegionWords(p, drawn)
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
        )
        self._hints: Hints | None = None
        if not self.layout.whole:
            waits = torch.device("cpu") if settings.control_tensor_cpu else device
            hires = host.sampling.is_hires(p)
            self._hints = host.controls.hints(p, self.layout.surface, hires, waits)
        self._planner = Planner(self.layout)
        plan = self._planner.plan(0)
        self.batches = len(plan.batches)
        """Model calls of one denoiser call."""
        self.largest = max(len(b.patches) * b.windows[0].h * b.windows[0].w for b in plan.batches)
        """Latent pixels a row of the largest of them."""
        told = [patch.words for batch in plan.batches for patch in batch.patches]
        self.fills_in = not self.layout.draw_background and MAIN_WORDS in told
        """Is what no background region covers drawn with the main prompt?"""

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
        if self.layout.whole:
            out = model(x, sigma, cond)
            after_batch()
        else:
            plan = self._planner.plan(step.number)
            batches = plan.starting_with(self.networks.in_use)
            shown, told = model, cond
            if self._hints is not None:
                shown, told = self._hints.shown(model), self._hints.beside(cond)
            out = fuse(plan, self._words.telling(shown, asked), x, sigma, told, after_batch, batches)
        for change in self._after:
            prediction = host.sampling.prediction(self._p, sigma)
            out = prediction.changed(x, out, partial(change, step=step))
        return out

    def key(self, levels: Sequence[Asked]) -> Hashable:
        """What of tiles and regions changes the predictions for the rows of `levels`; see `fingerprint`."""
        layout = self.layout
        if layout.whole:
            return ()
        self._words.encode_all()
        texts = [[self._words.texts(region.words, asked) for asked in levels] for region in layout.regions]
        hints = None if self._hints is None else self._hints.key()
        canvas = (layout.method, layout.grid, layout.shift, layout.draw_background, layout.regions)
        return *canvas, [region.mask for region in layout.regions], texts, layout.networks, hints


def _shape(
    region: RegionSettings, window: Window, size: tuple[int, int], device: torch.device
) -> Tensor | None:
    """Which pixels of its window a region counts in, [h, w] bool; None: in all."""
    if not region.mask:
        return None
    box = (region.x, region.y, region.w, region.h)
    return torch.from_numpy(masks.on_canvas(region.mask, box, window, *size)).to(device)
