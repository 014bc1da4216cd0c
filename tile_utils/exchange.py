"""Settings as others send and keep them: arguments by position and by name, JSON of pictures, region files."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, fields
from typing import Any, TypeVar

from tile_utils import masks
from tile_utils.prompt_text import unusable
from tile_utils.settings import (
    DEFAULT_MAX_REGIONS,
    TILE_PROMPTS,
    RegionSettings,
    SettingsError,
    TiledDiffusionSettings,
    TiledVAESettings,
    argument_places,
    checked,
    control_fields,
    control_of,
    region_label,
    shortened,
    title_of,
)

Settings = TypeVar("Settings", TiledDiffusionSettings, TiledVAESettings)


def are_on(args: Sequence[Any]) -> bool:
    """Does a client want the script? Where it does not, nothing else is looked at."""
    named = [arg["enabled"] for arg in args if isinstance(arg, Mapping) and "enabled" in arg]
    return bool(named[0] if named else args and (args[0] or isinstance(args[0], Mapping)))


def from_args(
    cls: type[Settings],
    args: Sequence[Any],
    start: Mapping[str, Any] | None = None,
    *,
    tab: str | None = None,
    max_regions: int = DEFAULT_MAX_REGIONS,
) -> Settings:
    """Settings from the host's arguments: values by position, one object by name among them, or both.

    What is named counts more than what stands in a place; an object in the first place switches the script on. What
    neither says is as in `start`, by name, or else takes its default. Not looked at by position are controls that `tab`
    does not have, regions that are off, and all regions while 'Enable Control' is.

    Raises:
        SettingsError: a value has a wrong type or is out of range, a name is unknown, or there are too many.
    """
    title = title_of(cls)
    objects = [arg for arg in args if isinstance(arg, Mapping)]
    if len(objects) > 1:
        raise SettingsError(f"{title}: {len(objects)} objects were sent; allowed is one, with all settings.")
    named = objects[0] if objects else {}
    places = argument_places(cls, max_regions)
    placed, of_regions = _in_places(places, args)
    rest = args[len(places) :]
    tabs = {spec.name: control_of(spec).tabs for spec in control_fields(cls)}
    shown = {name: arg for name, arg in placed.items() if tab is None or tab in tabs[name]}
    values = {**(start or {}), **_placed(cls, shown, title)}
    if args and isinstance(args[0], Mapping):
        values["enabled"] = True
    if cls is TiledDiffusionSettings:
        are_drawn = bool(named.get("enable_bbox_control", values.get("enable_bbox_control")))
        values["regions"] = _placed_regions(of_regions, title, are_drawn)
    if any(arg for arg in rest if not isinstance(arg, Mapping)):
        raise SettingsError(f"{title}: {len(args)} arguments were sent; there are {len(args) - len(rest)}.")
    return from_dict(cls, named, values, max_regions=max_regions)


def _in_places(
    places: Sequence[tuple[int | None, Field[Any]]], args: Sequence[Any]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(what stands in each control's place, by name; the same of every region that any place is taken of)"""
    placed: dict[str, Any] = {}
    regions: list[dict[str, Any]] = []
    for (region, spec), arg in zip(places, args):
        if region == len(regions):
            regions.append({})
        (placed if region is None else regions[region])[spec.name] = arg
    return placed, regions


def _placed(cls: type, placed: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The checked values; the object that stands in one's place is none of them."""
    return _checked(cls, {name: arg for name, arg in placed.items() if not isinstance(arg, Mapping)}, where)


def _checked(cls: type, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    return {
        spec.name: checked(spec, values[spec.name], where)
        for spec in control_fields(cls)
        if spec.name in values
    }


def _placed_regions(
    values: Sequence[Mapping[str, Any]], title: str, are_drawn: bool
) -> tuple[RegionSettings, ...]:
    """The regions among the arguments; one that is not drawn may be anything, and is then empty."""
    regions: list[RegionSettings] = []
    for placed in values:
        is_on = placed["enable"] and not isinstance(placed["enable"], Mapping)
        try:
            where = f"{title}, {region_label(len(regions))}"
            regions.append(_region(_placed(RegionSettings, placed, where)))
        except SettingsError:
            if is_on and are_drawn:
                raise
            regions.append(RegionSettings())
    return tuple(regions)


def to_args(settings: Any, max_regions: int = 0) -> list[Any]:
    """The positional arguments of `settings`; those of Tiled Diffusion hold `max_regions` regions.

    Raises:
        SettingsError: there are more regions than that.
    """
    regions = getattr(settings, "regions", ())
    _check_count(title_of(type(settings)), regions, max_regions)
    padded = (*regions, *[RegionSettings()] * (max_regions - len(regions)))
    return [
        getattr(settings if region is None else padded[region], spec.name)
        for region, spec in argument_places(type(settings), max_regions)
    ]


def from_dict(
    cls: type[Settings],
    values: Mapping[str, Any],
    start: Mapping[str, Any] | None = None,
    *,
    max_regions: int = DEFAULT_MAX_REGIONS,
) -> Settings:
    """Settings by name, as a client or a command line gives them.

    What is absent is as in `start`, or else takes its default; but where nothing else is said, a region that is given
    is on, and so is 'Enable Control' with it.

    Raises:
        SettingsError: an unknown name (the nearest is suggested), a value that does not fit its control, or
            an overlap that leaves no stride between tiles.
    """
    title = title_of(cls)
    _known_names(cls, values, title)
    given = _checked(cls, values, title)
    if values.get("regions") not in (None, [], {}):
        given["regions"] = _named_regions(values["regions"], title, max_regions)
        if any(region.enable for region in given["regions"]):
            given = {"enable_bbox_control": True} | given
    settings = cls(**{**(start or {}), **given})
    if isinstance(settings, TiledDiffusionSettings):
        if "overlap" in given:  # one that is sent by position is cut, as the original does
            _check_overlap(settings, title)
        _check_prompts(settings, title)
    return settings


def _known_names(cls: type, values: Mapping[str, Any], where: str) -> None:
    known = [spec.name for spec in fields(cls)]
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
            hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(known)}."
            raise SettingsError(f"{where} has no setting {shortened(name)}; {hint}")


def _check_overlap(settings: TiledDiffusionSettings, title: str) -> None:
    smaller = min(settings.tile_width, settings.tile_height)
    if settings.overlap >= smaller:
        raise SettingsError(
            f"{title}: 'Latent tile overlap' is {settings.overlap}; allowed is less than the tile, {smaller}."
        )


def _check_prompts(settings: TiledDiffusionSettings, title: str) -> None:
    """Of the regions that are drawn."""
    for index, region in enumerate(settings.regions if settings.enable_bbox_control else ()):
        for spec in control_fields(RegionSettings):
            value = getattr(region, spec.name)
            problem = unusable(value) if region.enable and isinstance(value, str) else None
            if problem is not None:
                raise SettingsError(f"{title}, {region_label(index)}: '{control_of(spec).label}' {problem}")


def _check_count(title: str, regions: Sequence[Any], max_regions: int) -> None:
    if len(regions) > max_regions:
        raise SettingsError(f"{title}: {len(regions)} regions were given; allowed are {max_regions}.")


def _named_regions(regions: Any, title: str, max_regions: int) -> tuple[RegionSettings, ...]:
    if not isinstance(regions, (list, tuple)):
        raise SettingsError(f"{title}: 'regions' is {shortened(regions)}; allowed is a list of objects.")
    _check_count(title, regions, max_regions)
    return tuple(_named_region(region, index, title) for index, region in enumerate(regions))


def _named_region(values: Any, index: int, title: str) -> RegionSettings:
    """A region that is given is on, unless it says otherwise; an empty one keeps the place of those after it."""
    where = f"{title}, {region_label(index)}"
    if values is None or values == {}:
        return RegionSettings()
    if not isinstance(values, Mapping):
        raise SettingsError(f"{where} is {shortened(values)}; allowed is an object.")
    _known_names(RegionSettings, values, where)
    return _region({"enable": True, **_checked(RegionSettings, values, where)})


def _region(values: Mapping[str, Any]) -> RegionSettings:
    """A region of checked values. A mask covers its box, all of the canvas where no box is given; it is kept cut to
    what it shows, and the box is what that covers."""
    if not values.get("mask"):
        return RegionSettings(**values)
    box = {name: values.get(name, whole) for name, whole in (("x", 0.0), ("y", 0.0), ("w", 1.0), ("h", 1.0))}
    mask, *fitted = masks.fitted(values["mask"], *box.values())
    return RegionSettings(**{**values, **dict(zip(box, fitted)), "mask": mask})


def to_dict(settings: Any) -> dict[str, Any]:
    """Every setting that differs from its default, by name; `from_dict` makes the same settings of it.

    `regions` has a place for each region up to the last that differs; those that are switched on are there in full, but
    for late settings that do not differ.
    """
    regions = [_differing(region) for region in getattr(settings, "regions", ())]
    while regions and not regions[-1]:
        regions.pop()
    for place, region in enumerate(settings.regions[: len(regions)] if regions else ()):
        if region.enable or region.mask:  # whose box counts
            regions[place] = _in_full(region)
        elif regions[place]:
            regions[place] = {"enable": False} | regions[place]
    values = _differing(settings)
    if any(region.get("enable") for region in regions):
        values["enable_bbox_control"] = settings.enable_bbox_control
    return values | ({"regions": regions} if regions else {})


def _in_full(region: RegionSettings) -> dict[str, Any]:
    late = [spec.name for spec in control_fields(RegionSettings) if control_of(spec).late]
    differing = _differing(region)
    return {name: value for name, value in _whole(region).items() if name not in late or name in differing}


def _whole(settings: Any) -> dict[str, Any]:
    return {spec.name: getattr(settings, spec.name) for spec in control_fields(type(settings))}


def _differing(settings: Any) -> dict[str, Any]:
    defaults = {spec.name: spec.default for spec in control_fields(type(settings))}
    return {name: value for name, value in _whole(settings).items() if value != defaults[name]}


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON as a file can hold it: lone surrogates are escaped."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


@dataclass(frozen=True)
class RegionFile:
    """What one holds: regions, and the words for each tile; None where it does not speak of these."""

    regions: tuple[RegionSettings, ...]
    tile_prompts: str | None = None

    def to_json(self) -> str:
        """Readable by the original too."""
        words = {} if self.tile_prompts is None else {TILE_PROMPTS.name: self.tile_prompts}
        return to_json({"bbox_controls": [_in_full(region) for region in self.regions], **words}, indent=2)


def region_file(text: str, max_regions: int) -> RegionFile:
    """A file's content, ours or the original's.

    Raises:
        SettingsError: it is no such file, holds more than `max_regions`, or a value does not fit its control.
    """
    try:
        file = json.loads(text)
        boxes = file["bbox_controls"]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise SettingsError("The region file is no JSON object with a list 'bbox_controls'.") from error
    if not isinstance(boxes, list):
        raise SettingsError("The region file's 'bbox_controls' is no list.")
    _check_count("The region file", boxes, max_regions)
    regions = tuple(_named_region(box, index, "The region file") for index, box in enumerate(boxes))
    words = file.get(TILE_PROMPTS.name)
    return RegionFile(regions, None if words is None else checked(TILE_PROMPTS, words, "The region file"))
