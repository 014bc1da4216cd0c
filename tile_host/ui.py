"""gradio components made from the settings, and infotext back into them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import Field
from typing import Any

import gradio as gr

from modules import shared
from modules.ui_components import InputAccordion
from tile_host import webui
from tile_utils.settings import (
    RegionSettings,
    SettingsError,
    TiledDiffusionSettings,
    control_fields,
    control_of,
    default_for,
    from_infotext,
    to_args,
)


def component(spec: Field[Any], tab: str, *, index: int = 0, visible: bool = True) -> gr.components.Component:
    """The gradio component of one setting; `index` counts regions from 1."""
    control, value = control_of(spec), default_for(spec, tab)
    common = {
        "label": control.label.format(i=index),
        "elem_id": control.elem_id.format(tab=tab, i=index),
        "visible": visible,
        "value": value,
    }
    if control.choices:
        return gr.Dropdown(choices=list(control.choices), **common)
    if spec.name == "seed":
        return gr.Number(precision=0, **common)
    if control.step is not None:
        return gr.Slider(minimum=control.minimum, maximum=control.maximum, step=control.step, **common)
    if isinstance(value, bool):
        return gr.Checkbox(**common)
    return gr.Textbox(**common)


class TiledDiffusionPanel:
    """The Tiled Diffusion accordion of one tab; `components` are in argument order.

    Controls of features that are not there yet exist, hidden: the order of the argument list is public.
    """

    def __init__(self, tab: str, max_regions: int) -> None:
        self.tab = tab
        self._specs = {spec.name: spec for spec in control_fields(TiledDiffusionSettings)}
        self._made: dict[str, Any] = {}
        enabled = control_of(self._specs["enabled"])
        with InputAccordion(False, label=enabled.label, elem_id=enabled.elem_id.format(tab=tab)) as accordion:
            self._made["enabled"] = accordion
            self._sampling_controls()
            if tab == "t2i":
                self._size_controls()
            for name in self._specs:
                if name not in self._made:
                    self._add(name, visible=False)
            regions = [
                component(spec, tab, index=i, visible=False)
                for i in range(1, max_regions + 1)
                for spec in control_fields(RegionSettings)
            ]
        self.components = [self._made[name] for name in self._specs] + regions
        self.max_regions = max_regions

    def _add(self, name: str, visible: bool = True) -> Any:
        self._made[name] = component(self._specs[name], self.tab, visible=visible)
        return self._made[name]

    def _sampling_controls(self) -> None:
        with gr.Row(variant="compact"):
            self._add("method")
            free = gr.Button("Free GPU", elem_id=f"MD-{self.tab}-free-gpu", size="sm", scale=0)
            free.click(fn=lambda: gr.Info(webui.free_gpu()), inputs=[], outputs=[])
        with gr.Row(variant="compact"):
            self._add("tile_width")
            self._add("tile_height")
        with gr.Row(variant="compact"):
            self._add("overlap")
            self._add("tile_batch_size")

    def _size_controls(self) -> None:
        overwrite = self._add("overwrite_size")
        with gr.Row(variant="compact", visible=False) as sizes:
            self._add("image_width")
            self._add("image_height")
        overwrite.change(
            fn=lambda on: gr.update(visible=on), inputs=[overwrite], outputs=[sizes], show_progress=False
        )

    def infotext_fields(self, key: str) -> list[tuple[Any, Callable[[dict[str, Any]], Any]]]:
        """What the host's paste button sets: every control, from the picture's text or to switched off."""

        def reader(index: int) -> Callable[[dict[str, Any]], Any]:
            return lambda params: self._pasted(params.get(key))[index]

        return [(made, reader(index)) for index, made in enumerate(self.components)]

    def _pasted(self, text: str | None) -> Sequence[Any]:
        if text is None:
            return [False] + [gr.update()] * (len(self.components) - 1)
        try:
            return to_args(from_infotext(TiledDiffusionSettings, text), self.max_regions)
        except SettingsError as error:
            gr.Warning(str(error))
            return [gr.update()] * len(self.components)


def max_regions() -> int:
    """Regions offered in each tab: the command-line flag of `preload.py`."""
    return shared.cmd_opts.md_max_regions
