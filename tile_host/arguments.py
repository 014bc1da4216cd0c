"""The settings of one generation: the arguments that the host sends, and what an X/Y/Z plot changes for one picture."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from tile_host import options
from tile_utils.settings import TiledDiffusionSettings, TiledVAESettings, from_args, title_of

CHANGES = "tiled_settings_changes"
"""Attribute of a processing object: a tuple of (settings class, names changed, change). It goes with the object: the
plot makes a copy for each picture, and a tuple is never changed in place, so nothing reaches the next one."""
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
    if not changes and not (args and args[0]):
        return None
    settings = from_args(cls, args, options.start_values(cls, tab))
    for _, how in changes:
        settings = how(settings)
    if settings.enabled:
        return settings
    if not any("enabled" in names for names, _ in changes):
        logging.getLogger(title_of(cls)).warning("It is switched off, so the plot's axes change nothing.")
    return None
