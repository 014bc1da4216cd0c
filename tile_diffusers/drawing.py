"""One pipeline's tiled drawing: which plan a denoiser's call follows, and what each patch is told beside its latent."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any

from torch import Tensor

from tile_diffusers.adapters import key_of
from tile_diffusers.latents import Latents, Packed
from tile_diffusers.settings import Region, Settings, wrong
from tile_methods import planner
from tile_methods.patch import Plan
from tile_methods.planner import Layout, Planner
from tile_methods.ranks import ALONE, Ranks
from tile_utils.grid import make_grid
from tile_utils.settings import SettingsError
from tile_utils.surface import Surface, Window


class Drawing:
    """The plans of a pipeline's calls.

    Args:
        unit: pixels of the picture per latent pixel.
        patch: latent pixels per side of what the network takes as one.
        ranks: who draw the tiles with us.
    """

    def __init__(self, settings: Settings, unit: int, patch: int, ranks: Ranks = ALONE) -> None:
        self.settings, self.ranks = settings, ranks
        self.unit, self._patch = unit, patch
        self._key: Any = None
        self._planner: Planner | None = None
        self._asked: tuple[Any, Any] = (None, None)
        self._step, self._time = 0, float("inf")

    def begin(self, call: Mapping[str, Any]) -> None:
        """A call of the pipeline, with these arguments."""
        self._key, self._asked = None, (call.get("width"), call.get("height"))

    def tokens(self, height: int, width: int) -> tuple[int, int]:
        """What the network takes as one of a picture of so many pixels: (of the canvas, of a tile)."""
        cell = self.unit * self._patch
        tile = min(self.settings.tile_height, height), min(self.settings.tile_width, width)
        return (height // cell) * (width // cell), (tile[0] // cell) * (tile[1] // cell)

    def pixels(self, latents: Latents) -> int:
        """Pixels of the picture per pixel of a call's latents."""
        return self.unit * (self._patch if isinstance(latents, Packed) else 1)

    def told_unit(self, latents: Latents) -> int | None:
        """The same, if patches are told sizes of their own."""
        return self.pixels(latents) if self.settings.size_condition == "tile" else None

    def plan(self, latents: Latents, call: Mapping[str, Any]) -> Plan | None:
        """How a call is drawn, or None if there is nothing to cut.

        Raises:
            SettingsError: a region does not lie on the canvas, or the pipeline draws another size than it was asked.
        """
        key = latents.surface, latents.x.device, type(latents)
        if self._key != key:
            self._planner = Planner(self._layout(latents), self.ranks)
            if not self._planner.layout.whole:
                self._check_size(latents)
            self._key, self._time = key, float("inf")
        assert self._planner is not None
        if self._planner.layout.whole:
            return None
        return self._planner.plan(self._step_of(call) if self.settings.shift else 0)

    def _check_size(self, latents: Latents) -> None:
        pixels = self.pixels(latents)
        drawn = latents.surface.width * pixels, latents.surface.height * pixels
        if any(isinstance(asked, int) and asked != size for asked, size in zip(self._asked, drawn)):
            asked = "x".join(str(one or size) for one, size in zip(self._asked, drawn))
            raise SettingsError(
                f"tiled_diffusion: the picture asked for is {asked} pixels, and the pipeline itself makes "
                f"{drawn[0]}x{drawn[1]} of it; allowed are sizes that it keeps: multiples of "
                f"{self.unit * self._patch}, within what its own arguments allow."
            )

    def _layout(self, latents: Latents) -> Layout:
        settings, surface, pixels = self.settings, latents.surface, self.pixels(latents)
        multiple = 1 if isinstance(latents, Packed) else self._patch
        tile = settings.tile_width // pixels, settings.tile_height // pixels
        regions = dict(enumerate(settings.regions, 1))
        return Layout(
            surface,
            make_grid(surface.width, surface.height, *tile, settings.overlap // pixels),
            settings.method,
            settings.batch_size,
            latents.x.device,
            [
                planner.Region(
                    _window(i - 1, region, surface, pixels, multiple), i, region.foreground, region.feather
                )
                for i, region in regions.items()
            ],
            settings.draw_background,
            settings.shift,
            multiple,
            {i: key_of(region.adapters) for i, region in regions.items()},
        )

    def _step_of(self, call: Mapping[str, Any]) -> int:
        """Number of the step, by its time, which falls: where it rises, another picture begins."""
        time = call.get("timestep")
        now = float(time.reshape(-1)[0] if isinstance(time, Tensor) else time or 0)
        if now != self._time:
            self._step = self._step + 1 if now < self._time < float("inf") else 0
            self._time = now
        return self._step


def _window(number: int, region: Region, surface: Surface, pixels: int, multiple: int) -> Window:
    """Where a region lies: rounded outwards to what the network can draw.

    Raises:
        SettingsError: it leaves the canvas.
    """
    width, height = surface.width * pixels, surface.height * pixels
    if min(region.x, region.y) < 0 or region.x + region.w > width or region.y + region.h > height:
        place = f"{region.w}x{region.h} at ({region.x}, {region.y})"
        raise wrong(f"regions[{number}]", f"{place} pixels", f"places inside the picture of {width}x{height}")
    cell = pixels * multiple
    left, top = (at // cell * multiple for at in (region.x, region.y))
    right, bottom = (ceil(end / cell) * multiple for end in (region.x + region.w, region.y + region.h))
    return Window(top, left, min(bottom, surface.height) - top, min(right, surface.width) - left)
