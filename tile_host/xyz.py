"""Axes of the host's X/Y/Z plot for the settings of both scripts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modules import scripts
from tile_host import arguments
from tile_utils.settings import (
    RegionSettings,
    TiledDiffusionSettings,
    TiledVAESettings,
    checked,
    control_fields,
    control_of,
    region_label,
    title_of,
)

ON = {"on": True, "off": False}
SPEED = {"exact": False, "fast": True}


@dataclass(frozen=True)
class Axis:
    """One axis: the plot's value goes into the settings `names` of `cls`, or into those of region `region`."""

    label: str
    cls: type
    names: tuple[str, ...]
    words: Mapping[str, Any] | None = None
    region: int | None = None

    @property
    def title(self) -> str:
        return f"[{title_of(self.cls)}] {self.label}"

    def checked(self, value: Any) -> dict[str, Any]:
        """{setting: value}. Raises SettingsError for a value that the control does not allow."""
        owner = self.cls if self.region is None else RegionSettings
        specs = {spec.name: spec for spec in control_fields(owner)}
        value = self.words.get(value, value) if self.words else value
        return {name: checked(specs[name], value, self.title) for name in self.names}

    def apply(self, p: Any, value: Any, values: list[Any]) -> None:
        """Called by the plot with its copy of the processing object."""
        found = self.checked(value)
        names = self.names if self.region is None else ("regions",)
        arguments.change(p, self.cls, names, lambda settings: self._set(settings, found))

    def _set(self, settings: Any, found: dict[str, Any]) -> Any:
        if self.region is None:
            return replace(settings, **found)
        regions = list(settings.regions)
        if self.region < len(regions):
            regions[self.region] = replace(regions[self.region], **found)
        return replace(settings, regions=tuple(regions))

    def option(self, make: Callable[..., Any]) -> Any:
        """The plot's own object for this axis."""
        owner = self.cls if self.region is None else RegionSettings
        spec = {spec.name: spec for spec in control_fields(owner)}[self.names[0]]
        words = list(self.words or control_of(spec).choices)
        return make(
            self.title,
            str if words else type(spec.default),
            self.apply,
            confirm=lambda p, values: [self.checked(value) for value in values],
            choices=(lambda: words) if words else None,
        )


def axes(max_regions: int) -> Iterator[Axis]:
    """Every axis, in the order of the plot's list."""
    diffusion, vae = TiledDiffusionSettings, TiledVAESettings
    yield Axis("on or off", diffusion, ("enabled",), ON)
    yield Axis("Latent tile size", diffusion, ("tile_width", "tile_height"))
    for name in ("method", "tile_width", "tile_height", "overlap", "tile_batch_size"):
        yield _plain(diffusion, name)
    for index in range(max_regions):
        yield Axis(f"{region_label(index)}, seed", diffusion, ("seed",), region=index)
    yield Axis("on or off", vae, ("enabled",), ON)
    yield _plain(vae, "encoder_tile_size")
    yield _plain(vae, "decoder_tile_size")
    yield Axis("Encoder", vae, ("fast_encoder",), SPEED)
    yield Axis("Decoder", vae, ("fast_decoder",), SPEED)


def _plain(cls: type, name: str) -> Axis:
    spec = next(spec for spec in control_fields(cls) if spec.name == name)
    return Axis(control_of(spec).label, cls, (name,))


def add_axes(max_regions: int) -> None:
    """Put the axes into the plot's list, once; nothing happens where the host has no plot."""
    for data in scripts.scripts_data:
        if Path(data.path).name != "xyz_grid.py" or not hasattr(data.module, "axis_options"):
            continue
        known = {option.label for option in data.module.axis_options}
        wanted = [axis for axis in axes(max_regions) if axis.title not in known]
        data.module.axis_options.extend(axis.option(data.module.AxisOption) for axis in wanted)
