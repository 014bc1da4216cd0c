"""Seed and variation: a script of the page's own, in the section of that name."""

import json

import gradio as gr

from modules import errors, infotext_utils, scripts
from modules.infotext_utils import PasteField
from modules.ui_components import ToolButton

random_symbol = "\U0001f3b2\ufe0f"  # 🎲️
reuse_symbol = "\u267b\ufe0f"  # ♻️


class ScriptSeed(scripts.ScriptBuiltinUI):
    section = "seed"
    create_group = False

    def __init__(self):
        self.seed = None

    def title(self):
        return "Seed"

    def ui(self, is_img2img):
        with gr.Row(elem_id=self.elem_id("seed_row")):
            self.seed = self._number("Seed", "seed")
            random_seed, reuse_seed = self._buttons("seed")
            extra = gr.Checkbox(
                label="Extra", elem_id=self.elem_id("subseed_show"), value=False, min_width=80
            )
        with gr.Group(visible=False, elem_id=self.elem_id("seed_extras")) as extras:
            with gr.Row(elem_id=self.elem_id("subseed_row")):
                subseed = self._number("Variation seed", "subseed")
                random_subseed, reuse_subseed = self._buttons("subseed")
                strength = gr.Slider(
                    0,
                    1,
                    step=0.01,
                    value=0,
                    label="Variation strength",
                    elem_id=self.elem_id("subseed_strength"),
                )
            with gr.Row(elem_id=self.elem_id("seed_resize_from_row")):
                from_w, from_h = (
                    gr.Slider(
                        0,
                        2048,
                        step=8,
                        value=0,
                        label=f"Resize seed from {name}",
                        elem_id=self.elem_id(f"seed_resize_from_{name[0]}"),
                    )
                    for name in ("width", "height")
                )
        for button, component in ((random_seed, self.seed), (random_subseed, subseed)):
            button.click(fn=lambda: -1, inputs=[], outputs=[component], show_progress=False, queue=False)
        extra.change(
            lambda shown: gr.update(visible=shown), inputs=[extra], outputs=[extras], show_progress=False
        )
        for component, button, is_subseed in ((self.seed, reuse_seed, False), (subseed, reuse_subseed, True)):
            self._connect_reuse(component, button, is_subseed)

        self.infotext_fields = [
            PasteField(self.seed, "Seed", api="seed"),
            PasteField(extra, lambda d: "Variation seed" in d or "Seed resize from-1" in d),
            PasteField(subseed, "Variation seed", api="subseed"),
            PasteField(strength, "Variation seed strength", api="subseed_strength"),
            PasteField(from_w, "Seed resize from-1", api="seed_resize_from_w"),
            PasteField(from_h, "Seed resize from-2", api="seed_resize_from_h"),
        ]
        return self.seed, extra, subseed, strength, from_w, from_h

    def _number(self, label, name):
        return gr.Number(label=label, value=-1, precision=0, min_width=100, elem_id=self.elem_id(name))

    def _buttons(self, name):
        return (
            ToolButton(
                random_symbol, elem_id=self.elem_id(f"random_{name}"), tooltip="A new seed each time (-1)"
            ),
            ToolButton(
                reuse_symbol, elem_id=self.elem_id(f"reuse_{name}"), tooltip="The seed of the last picture"
            ),
        )

    def _connect_reuse(self, component, button, is_subseed):
        def connect(on):
            button.click(
                fn=lambda info, index: _seed_of(info, index, is_subseed),
                _js="(info, _) => [info, selected_gallery_index()]",
                inputs=[on.component, component],
                outputs=[component],
                show_progress=False,
            )

        self.on_after_component(connect, elem_id=f"generation_info_{self.tabname}")

    def setup(
        self, p, seed, seed_checkbox, subseed, subseed_strength, seed_resize_from_w, seed_resize_from_h
    ):
        p.seed = seed
        if not seed_checkbox:
            return
        if subseed_strength > 0:
            p.subseed, p.subseed_strength = subseed, subseed_strength
        if min(seed_resize_from_w, seed_resize_from_h) > 0:
            p.seed_resize_from_w, p.seed_resize_from_h = seed_resize_from_w, seed_resize_from_h


def _seed_of(info, index, is_subseed):
    """The seed of a picture of the last generation; −1 when there is none."""
    if not info:
        return -1
    try:
        infotext = json.loads(info)["infotexts"][max(0, int(index))]
        params = infotext_utils.parse_generation_parameters(infotext, [])
        return int(params.get("Variation seed" if is_subseed else "Seed", -1))
    except (ValueError, KeyError, IndexError, TypeError):
        errors.report(f"No seed can be read from the last picture: {info}", exc_info=True)
        return -1
