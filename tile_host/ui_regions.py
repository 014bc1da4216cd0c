"""The regions' part of the Tiled Diffusion panel: canvas, files, and the fields of every region."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from modules.ui_components import ToolButton
from tile_host import region_files
from tile_host.ui_component import component
from tile_utils.settings import (
    RegionSettings,
    SettingsError,
    control_fields,
    region_label,
    to_args,
)

FIELDS = control_fields(RegionSettings)


def _feather_shown(blend_mode: str) -> dict[str, Any]:
    return gr.update(visible=blend_mode == "Foreground")


class RegionControls:
    """Canvas and region fields of one tab; `components` are in argument order."""

    def __init__(self, tab: str, max_regions: int, last_seeds: Mapping[int, int]) -> None:
        self._tab, self._last_seeds = tab, last_seeds
        self._canvas()
        name, save, load = self._file_controls()
        self._regions = [self._region(index) for index in range(max_regions)]
        self.components = [made for region in self._regions for made in region.values()]
        save.click(fn=self._save, inputs=[name, *self.components], outputs=[], show_progress=False)
        load.click(fn=self._load, inputs=[name], outputs=self.components, show_progress=False)

    def _canvas(self) -> None:
        label = "Create txt2img canvas" if self._tab == "t2i" else "From img2img"
        create = gr.Button(label, elem_id=f"MD-create-canvas-{self._tab}", size="sm")
        reference = gr.Image(
            label="Reference image: drag to draw a region, Shift+drag over another one",
            elem_id=f"MD-bbox-ref-{self._tab}",
            elem_classes=["md-reference"],
            image_mode="RGB",
            type="pil",
            interactive=True,
            tool=None,
            height=480,
        )
        create.click(
            fn=None, inputs=[], outputs=[reference], _js=f"() => tiledDiffusion.createCanvas('{self._tab}')"
        )

    def _file_controls(self) -> tuple[Any, Any, Any]:
        with gr.Row(variant="compact"):
            name = gr.Textbox(
                label="Custom Config File", value="config", elem_id=f"MD-{self._tab}-cfg-name", scale=4
            )
            save = ToolButton(
                "💾", elem_id=f"MD-{self._tab}-cfg-save", tooltip="Save the regions to this file"
            )
            load = ToolButton(
                "📂", elem_id=f"MD-{self._tab}-cfg-load", tooltip="Load the regions of this file"
            )
        return name, save, load

    def _region(self, index: int) -> dict[str, Any]:
        specs, made = {spec.name: spec for spec in FIELDS}, {}
        made_ids = f"MD-{self._tab}-{index + 1}"

        def add(name: str, **more: Any) -> Any:
            made[name] = component(RegionSettings, specs[name], self._tab, index=index + 1, **more)
            # The host keeps start values by label, which all regions share.
            made[name].do_not_save_to_config = True
            return made[name]

        with gr.Accordion(region_label(index), open=False, elem_id=f"{made_ids}-region"):
            with gr.Row(variant="compact"):
                add("enable")
                blend_mode = add("blend_mode")
                feather = add("feather_ratio", visible=False)
            add("prompt")
            add("neg_prompt")
            for pair in ("xy", "wh"):
                with gr.Row(variant="compact"):
                    for name in pair:
                        add(name)
            with gr.Row(variant="compact"):
                seed = add("seed")
                dice = ToolButton(
                    "🎲", elem_id=f"{made_ids}-random-seed", tooltip="A seed drawn from the picture's"
                )
                again = ToolButton("♻️", elem_id=f"{made_ids}-reuse-seed", tooltip="The last picture's seed")
        blend_mode.change(fn=_feather_shown, inputs=[blend_mode], outputs=[feather], show_progress=False)
        dice.click(fn=lambda: -1, inputs=[], outputs=[seed], show_progress=False)
        again.click(
            fn=lambda: self._last_seeds.get(index, -1),
            inputs=[],
            outputs=[seed],
            show_progress=False,
        )
        return {name: made[name] for name in specs}

    def _settings(self, values: tuple[Any, ...]) -> list[RegionSettings]:
        size = len(FIELDS)
        names = [spec.name for spec in FIELDS]
        chunks = (values[start : start + size] for start in range(0, len(values), size))
        return [RegionSettings(**dict(zip(names, chunk))) for chunk in chunks]

    def _save(self, name: str, *values: Any) -> None:
        try:
            gr.Info(f"Regions saved to {region_files.save(name, self._settings(values)).name}.")
        except SettingsError as error:
            gr.Warning(str(error))

    def _load(self, name: str) -> list[Any]:
        try:
            regions = region_files.load(name, len(self._regions))
        except SettingsError as error:
            gr.Warning(str(error))
            return [gr.update()] * len(self.components)
        rest = [RegionSettings()] * (len(self._regions) - len(regions))
        return [value for region in (*regions, *rest) for value in to_args(region)]
