"""Write docs/controls.md, the reference of every control: `.venv/bin/python -m tools.control_reference`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import Field
from pathlib import Path
from typing import Any

from tile_utils.help_texts import HELP
from tile_utils.settings import (
    TABS,
    RegionSettings,
    TiledDiffusionSettings,
    TiledVAESettings,
    argument_places,
    control_fields,
    control_of,
    default_for,
)

TARGET = Path(__file__).resolve().parent.parent / "docs/controls.md"
TAB_NAMES = {"t2i": "txt2img", "i2i": "img2img"}
INTRODUCTION = """# Every control

Made from the settings by `.venv/bin/python -m tools.control_reference`; a test keeps it current. *#* is the place in
the argument list of an API client, *name* what the setting is called by name and in pictures, *id* the element on the
page (`{tab}` is `t2i` or `i2i`, `{i}` a region from 1). Sizes are in image pixels where it says so, else in latent
pixels, 8 image pixels each. What a client does not send starts as the settings page says, or as in *default*.

## What an API client sends

Under `alwayson_scripts`, one object that names settings, for either script:

```json
{"Tiled Diffusion": {"args": [{"method": "MultiDiffusion", "tile_width": 64, "tile_height": 64, "overlap": 32,
                               "regions": [{"x": 0.5, "y": 0, "w": 0.5, "h": 1, "prompt": "meadow"}]}]},
 "Tiled VAE": {"args": [{"decoder_tile_size": 96}]}}
```

`render --script` takes the same object, and a picture's `Tiled Diffusion` entry, which the answer's `info` tells under
`extra_generation_params`, is one.

- The object is known by its type. It may stand alone, and then switches the script on unless `enabled` is `false`; or
  after values by position, wherever the list ends: what it names counts more.
- A region that is named is drawn unless its `enable` is `false`, and `enable_bbox_control` is on with it unless that is
  `false`. `{}` or `null` in `regions` leaves a place empty; there are at most `--md-max-regions` (8).
- An unknown name, a value of another type, or one out of range is refused in one sentence, and nothing is drawn.

By position the list is as below, and may end anywhere. Clients written for the original work as they are: `null`, `[]`
or `{}` in place of regions is none; not looked at are regions while *Enable Control* is off, a region that is off
itself, and controls of the other tab; `null` is the upscaler `None`, and seed −1. New controls are sent by name.
"""
HEADING = "| # | control | allowed | default | name | id | what it does |\n|---|---|---|---|---|---|---|\n"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value) or "empty"


def _default(spec: Field[Any]) -> str:
    by_tab = {tab: _shown(default_for(spec, tab)) for tab in TABS}
    if len(set(by_tab.values())) == 1:
        return by_tab["t2i"]
    return ", ".join(f"{value} in {TAB_NAMES[tab]}" for tab, value in by_tab.items())


def _allowed(spec: Field[Any]) -> str:
    control = control_of(spec)
    if isinstance(spec.default, bool):
        return "on, off"
    if control.choices:
        return ", ".join(control.choices)
    if control.minimum is None:
        return "one of the host's" if spec.name == "upscaler_name" else "text"
    top = "2^63 − 1" if control.maximum == 2**63 - 1 else f"{control.maximum:g}"
    return f"{control.minimum:g} to {top}" + (f", step {control.step:g}" if control.step != 1 else "")


def _rows(cls: type, specs: Sequence[Field[Any]], first: int | None = 0, plus: str = "") -> Iterator[str]:
    """`first`: the place of the first; None where the places depend on the page."""
    for number, spec in enumerate(specs):
        place = "" if first is None else f"{plus}{first + number}"
        control = control_of(spec)
        only = f" ({TAB_NAMES[control.tabs[0]]})" if len(control.tabs) == 1 else ""
        label = control.label.replace("{i}", "*i*")
        yield (
            f"| {place} | {label}{only} | {_allowed(spec)} | {_default(spec)} | `{spec.name}` | "
            f"`{control.elem_id}` | {HELP[cls][spec.name]} |"
        )


def reference() -> str:
    """The text of docs/controls.md."""
    places = argument_places(TiledDiffusionSettings, 1)
    regions = [spec for region, spec in places if region is not None]
    late = [spec for spec in regions if control_of(spec).late]
    early = regions[: len(regions) - len(late)]
    count, own = places.index((0, early[0])), len(early)
    leading, trailing = (
        [spec for region, spec in part if region is None] for part in (places[:count], places[count:])
    )
    parts = [
        (f"{INTRODUCTION}\n## Tiled Diffusion", _rows(TiledDiffusionSettings, leading)),
        (
            f"## Each region\n\nRegion *i* (from 1) begins at argument {count} + {own}·(*i* − 1); *#* counts on. "
            "By name, regions are a list of objects, `regions`.",
            _rows(RegionSettings, early, 0, "+"),
        ),
        (
            "## After the regions\n\nTheir places depend on how many regions the page has: clients send them by name.",
            [*_rows(TiledDiffusionSettings, trailing, None), *_rows(RegionSettings, late, None)],
        ),
        ("## Tiled VAE", _rows(TiledVAESettings, control_fields(TiledVAESettings))),
    ]
    return "\n".join(f"{title}\n\n{HEADING}" + "\n".join(rows) + "\n" for title, rows in parts)


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
    print(f"Wrote {TARGET.relative_to(TARGET.parent.parent)}")
