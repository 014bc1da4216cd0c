"""The settings of one generation: the arguments that the host sends, and what an X/Y/Z plot changes for one picture."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tile_host import options
from tile_utils.exchange import are_on, from_args, from_dict, to_args
from tile_utils.settings import TiledDiffusionSettings, TiledVAESettings, title_of

CHANGES = "tiled_settings_changes"
"""Attribute of a processing object: a tuple of (settings class, names changed, change). It goes with the object: the
plot makes a copy for each picture, and a tuple is never changed in place, so nothing reaches the next one."""
NOTHING_NAMED = ""
"""What the page sends in the last place, which is there for a client's object: the host cuts longer lists."""
Settings = TypeVar("Settings", TiledDiffusionSettings, TiledVAESettings)


def change(p: Any, cls: type, names: Sequence[str], how: Callable[[Any], Any]) -> None:
    """Let this generation's settings of `cls` go through `how`; `names` are the settings that it sets."""
    setattr(p, CHANGES, (*getattr(p, CHANGES, ()), (cls, tuple(names), how)))


def settings_of(cls: type[Settings], p: Any, args: Sequence[Any], tab: str) -> Settings | None:
    """The settings of this generation; None when the script is off.

    Raises:
        SettingsError: a value has a wrong type or is out of range.
    """
    changes = [(names, how) for changed, names, how in getattr(p, CHANGES, ()) if changed is cls]
    if not changes and not are_on(args):
        return None
    start = options.start_values(cls, tab)
    settings = from_args(cls, args, start, tab=tab, max_regions=options.max_regions())
    for _, how in changes:
        settings = how(settings)
    if settings.enabled:
        return settings
    if not any("enabled" in names for names, _ in changes):
        logging.getLogger(title_of(cls)).warning("It is switched off, so the plot's axes change nothing.")
    return None


def by_position(cls: type, settings: dict[str, Any], tab: str) -> list[Any]:
    """The argument list of settings that a command line gives by name, which are on unless they say otherwise. A mask
    may be the path of a picture.

    Raises:
        SettingsError: an unknown name, or a value that does not fit.
    """
    start, most = {**options.start_values(cls, tab), "enabled": True}, options.max_regions()
    named = from_dict(cls, _with_files(settings), start, max_regions=most)
    return [*to_args(named, most), NOTHING_NAMED]


def _with_files(settings: dict[str, Any]) -> dict[str, Any]:
    """With the pictures themselves where a command line names them as masks; a client's text is never a path."""
    regions = settings.get("regions")
    if not isinstance(regions, list):
        return settings
    return {**settings, "regions": [_with_file(region) for region in regions]}


def _with_file(region: Any) -> Any:
    mask = region.get("mask") if isinstance(region, dict) else None
    try:
        data = Path(mask).read_bytes() if isinstance(mask, str) and mask else None
    except (OSError, ValueError):  # no file, or a text that no path can be
        data = None
    return region if data is None else {**region, "mask": base64.b64encode(data).decode("ascii")}
