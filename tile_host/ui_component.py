"""The gradio component of one setting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import Field
from typing import Any

import gradio as gr

from tile_utils.help_texts import HELP
from tile_utils.settings import control_of, default_for

NARROWEST, NUMBER_WIDTH, LETTER_WIDTH = 160, 115, 6
"""Of sliders in pixels; the label stands beside the number, and lies on it where there is less room."""


def component(
    cls: type,
    spec: Field[Any],
    tab: str,
    *,
    index: int = 0,
    visible: bool = True,
    value: Any = None,
    choices: Sequence[str] = (),
) -> gr.components.Component:
    """The gradio component of one setting of `cls`.

    `index` counts regions from 1; `value` replaces the default; `choices` are those that only the host knows.
    """
    control = control_of(spec)
    value = default_for(spec, tab) if value is None else value
    common = {
        "label": control.label.format(i=index),
        "elem_id": control.elem_id.format(tab=tab, i=index),
        "visible": visible,
        "tooltip": HELP[cls][spec.name],
        "value": value,
    }
    if choices or control.choices:
        return gr.Dropdown(choices=list(choices or control.choices), **common)
    if spec.name == "seed":
        return gr.Number(precision=0, **common)
    if control.step is not None:
        common["min_width"] = max(NARROWEST, NUMBER_WIDTH + LETTER_WIDTH * len(common["label"]))
        return gr.Slider(minimum=control.minimum, maximum=control.maximum, step=control.step, **common)
    if isinstance(value, bool):
        return gr.Checkbox(**common)
    return gr.Textbox(**common)
