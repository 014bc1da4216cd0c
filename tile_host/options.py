"""Options on the host's settings page: what controls start with, the regions' colours, how much the log tells."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import Field
from typing import Any

import gradio as gr
from tqdm import tqdm

from modules import shared
from modules.options import OptionInfo
from tile_host.door import host
from tile_utils.settings import (
    DEFAULT_MAX_REGIONS,
    TABS,
    SettingsError,
    TiledDiffusionSettings,
    TiledVAESettings,
    checked,
    control_fields,
    control_of,
    default_for,
    recommended_tile_sizes,
    title_of,
)

SECTION = ("tiled_diffusion", "Tiled Diffusion")
KEPT: dict[type, tuple[str, ...]] = {
    TiledDiffusionSettings: ("method", "tile_width", "tile_height", "overlap", "tile_batch_size"),
    TiledVAESettings: ("encoder_tile_size", "decoder_tile_size"),
}
"""The controls whose start values people want to keep."""
TAB_NAMES = {"t2i": "txt2img", "i2i": "img2img"}
COLOURS = "tiled_diffusion_region_colours"
DETAIL = "tiled_diffusion_log"
LEVELS = {
    "Warnings only": logging.WARNING,
    "A line for each pass": logging.INFO,
    "Everything": logging.DEBUG,
}
DEFAULT_LEVEL = "A line for each pass"
AUTOMATIC = 0
"""As a start value of Tiled VAE's sizes: what suits the card."""
CARD = f"{AUTOMATIC}: what suits the card"


def _key(spec: Field[Any], tab: str) -> str:
    """The option's name in the host's config; one for each tab where the tabs start differently."""
    per_tab = control_of(spec).img2img_default is not None
    return f"tiled_diffusion_{spec.name}" + (f"_{tab}" if per_tab else "")


def _kept(cls: type) -> list[Field[Any]]:
    return [spec for spec in control_fields(cls) if spec.name in KEPT[cls]]


def is_kept(spec: Field[Any]) -> bool:
    """Does the settings page say what this control starts with?"""
    return any(spec in _kept(cls) for cls in KEPT)


def _start_options() -> Iterator[tuple[str, OptionInfo]]:
    """(key, option) of every start value."""
    for cls in KEPT:
        for spec in _kept(cls):
            tabs = TABS if control_of(spec).img2img_default is not None else TABS[:1]
            for tab in tabs:
                yield _key(spec, tab), _start_option(cls, spec, tab)


def _start_option(cls: type, spec: Field[Any], tab: str) -> OptionInfo:
    control = control_of(spec)
    label = f"{control.label}: start value"
    if control.img2img_default is not None:
        label = f"{control.label} in {TAB_NAMES[tab]}: start value"
    component: Any = gr.Dropdown
    args: dict[str, Any] = {"choices": list(control.choices)}
    default = default_for(spec, tab)
    if not control.choices:
        component, args = (
            gr.Slider,
            {"minimum": control.minimum, "maximum": control.maximum, "step": control.step},
        )
    if cls is TiledVAESettings:
        args["minimum"] = default = AUTOMATIC
        return OptionInfo(default, label, component, args, section=SECTION).info(CARD).needs_reload_ui()
    return OptionInfo(default, label, component, args, section=SECTION).needs_reload_ui()


def all_options() -> Iterator[tuple[str, OptionInfo]]:
    """(key, option) of everything on our part of the settings page."""
    yield from _start_options()
    colours = OptionInfo("", "Colours of regions, in their order, separated by spaces", section=SECTION)
    yield COLOURS, colours.info("such as red #00aaff; empty: chosen for you")
    choices = {"choices": list(LEVELS)}
    yield (
        DETAIL,
        OptionInfo(DEFAULT_LEVEL, "What the log tells", gr.Radio, choices, follow_log_detail, SECTION),
    )


def add() -> None:
    """Callback of the host before it builds its settings page."""
    for key, option in all_options():
        shared.opts.add_option(key, option)
    follow_log_detail()


def start_values(cls: type, tab: str) -> dict[str, Any]:
    """{name: value} that the controls of a tab start with, and that API clients get for what they do not send."""
    start = {spec.name: default_for(spec, tab) for spec in control_fields(cls)}
    automatic = recommended_tile_sizes(host.facts.device_memory()) if cls is TiledVAESettings else {}
    for spec in _kept(cls):
        value = getattr(shared.opts, _key(spec, tab), None)
        if value is None or (spec.name in automatic and value == AUTOMATIC):
            start[spec.name] = automatic.get(spec.name, start[spec.name])
            continue
        try:
            start[spec.name] = checked(spec, value, "Settings page")
        except SettingsError as error:
            logging.getLogger(title_of(cls)).warning("%s %r is used.", error, start[spec.name])
    return start


def max_regions() -> int:
    """Regions offered in each tab: the command-line flag of `preload.py`, which a reloaded page has not run yet."""
    return int(getattr(shared.cmd_opts, "md_max_regions", DEFAULT_MAX_REGIONS))


class _Console(logging.Handler):
    """Lines on the console, above progress bars, while nobody else has set up logging."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.root.handlers:
            tqdm.write(self.format(record))


def follow_log_detail() -> None:
    """Set both scripts' loggers to what the option says."""
    level = LEVELS.get(getattr(shared.opts, DETAIL, DEFAULT_LEVEL), logging.INFO)
    for cls in KEPT:
        logger = logging.getLogger(title_of(cls))
        logger.setLevel(level)
        if not any(isinstance(handler, _Console) for handler in logger.handlers):
            console = _Console()
            console.setFormatter(logging.Formatter("%(name)s: %(message)s"))
            logger.addHandler(console)
