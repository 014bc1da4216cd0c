"""The regions' part of the Tiled Diffusion panel: canvas, files, and the fields of every region."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from modules import infotext_utils
from modules.ui_components import ToolButton
from tile_host import region_files
from tile_host.ui_component import component
from tile_utils.exchange import to_args
from tile_utils.infotext import read_params
from tile_utils.layouts import LAYOUTS
from tile_utils.settings import (
    TILE_PROMPTS,
    RegionSettings,
    SettingsError,
    TiledDiffusionSettings,
    checked,
    control_fields,
    region_label,
)

FIELDS = control_fields(RegionSettings)
HINT = "Reference image: drag to draw a region, Shift+drag over another one"


def _feather_shown(blend_mode: str) -> dict[str, Any]:
    return gr.update(visible=blend_mode == "Foreground")


def _seed_in(told: str, picture: int, index: int) -> Any:
    """A region's seed in the picture that is chosen in the gallery, else in the last, as the host takes its own."""
    try:
        text = str(json.loads(told)["infotexts"][picture])
    except (ValueError, LookupError, TypeError):
        text = ""  # nothing has been drawn
    params = infotext_utils.parse_generation_parameters(text, [])
    reading = read_params(TiledDiffusionSettings, params, index + 1)
    found = reading.values if reading else {}
    region = (found.get("regions", [])[index:] or [{}])[0]
    if found.get("enable_bbox_control") and region.get("enable"):
        return region.get("seed", gr.update())
    gr.Info(f"{region_label(index)} is not in that picture; its seed stays as it is.")
    return gr.update()


class RegionControls:
    """Canvas and region fields of one tab. `made` are the components of each region, by setting.

    Args:
        words: the component with the words for each tile, which region files hold too.
    """

    def __init__(self, tab: str, max_regions: int, words: Any) -> None:
        self._tab = tab
        self._seed_buttons: list[
            tuple[Any, Any]
        ] = []  # the region's seed, and the button that takes the last one
        self._canvas()
        name, save, load = self._file_controls()
        self.made = [self._region(index) for index in range(max_regions)]
        fields = [made for region in self.made for made in region.values()]
        save.click(fn=self._save, inputs=[name, words, *fields], outputs=[], show_progress=False)
        load.click(fn=self._load, inputs=[name], outputs=[words, *fields], show_progress=False)

    def _canvas(self) -> None:
        label = "Create txt2img canvas" if self._tab == "t2i" else "From img2img"
        create = gr.Button(label, elem_id=f"MD-create-canvas-{self._tab}", size="sm")
        with gr.Column(elem_id=f"MD-bbox-ref-{self._tab}", elem_classes=["md-reference"]):
            gr.HTML(HINT)
        gr.HTML("", elem_id=f"MD-{self._tab}-tools")  # the page's script puts its buttons there
        create.click(fn=None, inputs=[], outputs=[], _js=f"() => tiledDiffusion.createCanvas('{self._tab}')")

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
            layouts = gr.Dropdown(
                label="Layout",
                choices=list(LAYOUTS),
                value=None,
                elem_id=f"MD-{self._tab}-layouts",
                tooltip="Draws these regions; the prompts that are there stay",
                scale=3,
            )
        layouts.do_not_save_to_config = True
        layouts.input(
            fn=None,
            inputs=[layouts],
            outputs=[layouts],
            _js=f"(name) => tiledDiffusion.layOut('{self._tab}', {json.dumps(LAYOUTS)}[name] ?? [])",
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
            add("strength")
            add("mask", visible=False)  # the canvas shows it
        blend_mode.change(fn=_feather_shown, inputs=[blend_mode], outputs=[feather], show_progress=False)
        dice.click(fn=lambda: -1, inputs=[], outputs=[seed], show_progress=False)
        self._seed_buttons.append((seed, again))
        return {name: made[name] for name in specs}

    def reuse_seeds(self, info: Any) -> None:
        """Let the buttons read the regions' seeds from `info`, the host's JSON of the tab's pictures on this page."""
        for index, (seed, again) in enumerate(self._seed_buttons):
            again.click(
                fn=lambda told, picture, index=index: _seed_in(told, picture, index),
                _js="(told, _) => [told, selected_gallery_index()]",
                inputs=[info, seed],
                outputs=[seed],
                show_progress=False,
            )

    def _settings(self, values: tuple[Any, ...]) -> list[RegionSettings]:
        size = len(FIELDS)
        names = [spec.name for spec in FIELDS]
        chunks = (values[start : start + size] for start in range(0, len(values), size))
        return [RegionSettings(**dict(zip(names, chunk))) for chunk in chunks]

    def _save(self, name: str, words: str, *values: Any) -> None:
        try:
            path = region_files.save(name, self._settings(values), checked(TILE_PROMPTS, words))
            gr.Info(f"Regions saved to {path.name}.")
        except SettingsError as error:
            gr.Warning(str(error))

    def _load(self, name: str) -> list[Any]:
        try:
            file = region_files.load(name, len(self.made))
        except SettingsError as error:
            gr.Warning(str(error))
            return [gr.update()] * (1 + len(self.made) * len(FIELDS))
        rest = [RegionSettings()] * (len(self.made) - len(file.regions))
        words = gr.update() if file.tile_prompts is None else file.tile_prompts
        return [words, *(value for region in (*file.regions, *rest) for value in to_args(region))]
