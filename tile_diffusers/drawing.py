"""One pipeline's tiled drawing: which plan a denoiser's call follows, and what each patch is told beside its latent."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any

from torch import Tensor, device

from tile_diffusers.latents import Latents, Packed
from tile_diffusers.settings import Region, Settings, wrong
from tile_methods import planner
from tile_methods.patch import Batch, Plan
from tile_methods.planner import Layout, Planner
from tile_methods.ranks import ALONE, Ranks
from tile_utils.grid import make_grid
from tile_utils.surface import Surface, Window


class Drawing:
    """See `context.tiled_diffusion`.

    Args:
        unit: pixels of the picture per latent pixel.
        ranks: who draw the tiles with us.
    """

    def __init__(self, settings: Settings, unit: int, patch: int, ranks: Ranks = ALONE) -> None:
        self.settings, self.ranks = settings, ranks
        self._unit, self._patch = unit, patch
        self._key: Any = None
        self._planner: Planner | None = None
        self._step, self._time = 0, float("inf")

    def plan(self, latents: Latents, call: Mapping[str, Any]) -> Plan | None:
        """How a call is drawn, or None if there is nothing to cut.

        Raises:
            SettingsError: a region does not lie on the canvas.
        """
        key = latents.surface, latents.x.device, type(latents)
        if self._key != key:
            unit = self._unit * (self._patch if isinstance(latents, Packed) else 1)
            multiple = 1 if isinstance(latents, Packed) else self._patch
            self._key = key
            self._planner = Planner(
                self._layout(latents.surface, latents.x.device, unit, multiple), self.ranks
            )
            self._time = float("inf")
        assert self._planner is not None
        if self._planner.layout.whole:
            return None
        return self._planner.plan(self._step_of(call) if self.settings.shift else 0)

    def _layout(self, surface: Surface, where: device, unit: int, multiple: int) -> Layout:
        settings = self.settings
        grid = make_grid(
            surface.width,
            surface.height,
            settings.tile_width // unit,
            settings.tile_height // unit,
            settings.overlap // unit,
        )
        regions = [
            planner.Region(
                _window(i, region, surface, unit, multiple), i + 1, region.foreground, region.feather
            )
            for i, region in enumerate(settings.regions)
        ]
        return Layout(
            surface,
            grid,
            settings.method,
            settings.batch_size,
            where,
            regions,
            settings.draw_background,
            settings.shift,
            multiple,
        )

    def _step_of(self, call: Mapping[str, Any]) -> int:
        """Number of the step, by its time, which falls: where it rises, another picture begins."""
        time = call.get("timestep")
        now = float(time.reshape(-1)[0] if isinstance(time, Tensor) else time or 0)
        if now != self._time:
            self._step = self._step + 1 if now < self._time else 0
            self._time = now
        return self._step

    def told(self, batch: Batch, told: dict[str, Any], rows: int, surface: Surface) -> dict[str, Any]:
        """What a batch's patches are told, of what the canvas is, cut for them."""
        return told


def _window(number: int, region: Region, surface: Surface, unit: int, multiple: int) -> Window:
    """Where a region lies: rounded outwards to what the network can draw.

    Raises:
        SettingsError: it leaves the canvas.
    """
    width, height = surface.width * unit, surface.height * unit
    if min(region.x, region.y) < 0 or region.x + region.w > width or region.y + region.h > height:
        place = f"{region.w}x{region.h} at ({region.x}, {region.y})"
        raise wrong(f"regions[{number}]", f"{place} pixels", f"places inside the picture of {width}x{height}")
    cell = unit * multiple
    left, top = (at // cell * multiple for at in (region.x, region.y))
    right, bottom = (ceil(end / cell) * multiple for end in (region.x + region.w, region.y + region.h))
    return Window(top, left, min(bottom, surface.height) - top, min(right, surface.width) - left)
