"""The tabs in which pictures are made: txt2img, and what img2img has in common with it."""

from __future__ import annotations

from typing import Any

import gradio as gr

from modules import (
    infotext_utils,
    scripts,
    sd_models,
    sd_samplers,
    sd_schedulers,
    shared,
    txt2img,
)
from modules.call_queue import wrap_gradio_gpu_call
from modules.infotext_utils import PasteField
from modules.ui_common import create_output_panel
from modules.ui_components import FormRow, InputAccordion

DEFAULTS = {"width": 256, "height": 256, "cfg_scale": 4.0}
"""What suits the demo checkpoint."""


def stop_running() -> None:
    """Of several pictures finish the one that is being drawn, if the settings say so; the second time stop."""
    state = shared.state
    if not state.stopping_generation and state.job_count > 1 and shared.opts.interrupt_after_current:
        state.stop_generating()
        gr.Info("The picture that is being drawn will be finished. Press once more to stop at once.")
    else:
        state.interrupt()


class GenerationTab:
    """The controls of one tab. `inputs` is what Generate sends: the function's arguments in their order."""

    name = ""
    generate_function: Any = None

    def __init__(self) -> None:
        self.runner = scripts.scripts_img2img if self.name == "img2img" else scripts.scripts_txt2img
        self.made: dict[str, Any] = {}
        scripts.scripts_current = self.runner  # whose scripts see the components made from here on
        self.runner.prepare_ui()
        self.made["id_task"] = gr.Textbox(visible=False)
        self._toprow()
        with gr.Row(equal_height=False):
            with gr.Column(elem_id=f"{self.name}_settings", variant="compact"):
                self._controls()
            self.panel = create_output_panel(self.name, "")
        self._connect()
        scripts.scripts_current = None

    def _toprow(self) -> None:
        """Prompts, and the buttons beside them."""
        name = self.name
        with gr.Row(equal_height=False, elem_id=f"{name}_toprow"):
            with gr.Column(scale=5):
                for key, label, lines in (("prompt", "Prompt", 2), ("neg_prompt", "Negative prompt", 1)):
                    self.made[key] = gr.Textbox(label=label, lines=lines, elem_id=f"{name}_{key}")
            with gr.Column(scale=1, min_width=160):
                self.generate = gr.Button("Generate", variant="primary", elem_id=f"{name}_generate")
                with gr.Row():
                    interrupt = gr.Button("Interrupt", size="sm", elem_id=f"{name}_interrupt", min_width=60)
                    skip = gr.Button("Skip", size="sm", elem_id=f"{name}_skip", min_width=60)
                self.paste = gr.Button("↙️ Read settings from prompt", size="sm", elem_id=f"{name}_paste")
                styles = list(shared.prompt_styles.styles)
                self.made["styles"] = gr.Dropdown(
                    styles,
                    label="Styles",
                    multiselect=True,
                    value=[],
                    visible=bool(styles),
                    elem_id=f"{name}_styles",
                )
        interrupt.click(stop_running, [], [], show_progress=False)
        skip.click(shared.state.skip, [], [], show_progress=False)

    def _controls(self) -> None:
        """Everything below the prompts; overridden."""
        raise NotImplementedError

    def _slider(self, key: str, label: str, low: float, high: float, step: float, value: float) -> None:
        elem_id = f"{self.name}_{key}"
        self.made[key] = gr.Slider(low, high, step=step, value=value, label=label, elem_id=elem_id)

    def _dimensions(self) -> None:
        with FormRow():
            self._slider("width", "Width", 64, 2048, 8, DEFAULTS["width"])
            self._slider("height", "Height", 64, 2048, 8, DEFAULTS["height"])

    def _sizes(self) -> None:
        self._dimensions()
        with FormRow():
            self._slider("batch_count", "Batch count", 1, 100, 1, 1)
            self._slider("batch_size", "Batch size", 1, 8, 1, 1)

    def _scripts(self) -> None:
        """The scripts' own controls, and the settings that a pasted picture was made with."""
        self.runner.setup_ui_for_section("seed")
        with FormRow(visible=False) as row:
            self.made["override_settings"] = gr.Dropdown(
                [],
                value=[],
                multiselect=True,
                label="Override settings",
                elem_id=f"{self.name}_override_settings",
            )
        self.made["override_settings"].change(
            lambda chosen: gr.update(visible=bool(chosen)),
            [self.made["override_settings"]],
            [row],
            show_progress=False,
        )
        self.runner.setup_ui()

    def inputs(self) -> list[Any]:
        """What the function takes, scripts' arguments last; overridden."""
        raise NotImplementedError

    def paste_fields(self) -> list[Any]:
        """What a text fills, beside the scripts' fields; overridden."""
        raise NotImplementedError

    def init_image(self) -> Any:
        """The component that a sent picture goes to."""
        return None

    def _connect(self) -> None:
        run = {
            "fn": wrap_gradio_gpu_call(self.generate_function, extra_outputs=[None, "", ""]),
            "_js": f"submit_{self.name}",
            "inputs": [*self.inputs(), *self.runner.inputs],
            "outputs": self.panel.outputs(),
            "show_progress": False,
        }
        self.generate.click(**run)
        self.made["prompt"].submit(**run)
        fields = [*self._common_paste_fields(), *self.paste_fields(), *self.runner.infotext_fields]
        override = self.made["override_settings"]
        infotext_utils.add_paste_fields(self.name, self.init_image(), fields, override)
        infotext_utils.register_paste_params_button(
            infotext_utils.ParamBinding(
                paste_button=self.paste, tabname=self.name, source_text_component=self.made["prompt"]
            )
        )

    def _common_paste_fields(self) -> list[PasteField]:
        made = self.made
        return [
            PasteField(made["prompt"], "Prompt", api="prompt"),
            PasteField(made["neg_prompt"], "Negative prompt", api="negative_prompt"),
            PasteField(made["cfg_scale"], "CFG scale", api="cfg_scale"),
            PasteField(made["width"], "Size-1", api="width"),
            PasteField(made["height"], "Size-2", api="height"),
            PasteField(made["batch_size"], "Batch size", api="batch_size"),
            PasteField(made["denoising_strength"], "Denoising strength", api="denoising_strength"),
        ]


class Txt2ImgTab(GenerationTab):
    name = "txt2img"
    generate_function = staticmethod(txt2img.txt2img)

    def _controls(self) -> None:
        self.runner.setup_ui_for_section("sampler")
        self._sizes()
        self._slider("cfg_scale", "CFG Scale", 1, 30, 0.5, DEFAULTS["cfg_scale"])
        with gr.Row(elem_id="txt2img_accordions", elem_classes="accordions"):
            self._hires()
        self._scripts()

    def _hires(self) -> None:
        made = self.made
        upscalers = [*shared.latent_upscale_modes, *[upscaler.name for upscaler in shared.sd_upscalers]]
        with InputAccordion(False, label="Hires. fix", elem_id="txt2img_hr") as made["enable_hr"]:
            with FormRow():
                made["hr_upscaler"] = gr.Dropdown(
                    upscalers,
                    value=shared.latent_upscale_default_mode,
                    label="Upscaler",
                    elem_id="txt2img_hr_upscaler",
                )
                self._slider("hires_steps", "Hires steps", 0, 150, 1, 0)
                self._slider("denoising_strength", "Denoising strength", 0, 1, 0.01, 0.7)
            with FormRow():
                self._slider("hr_scale", "Upscale by", 1, 4, 0.05, 2.0)
                self._slider("hr_resize_x", "Resize width to", 0, 2048, 8, 0)
                self._slider("hr_resize_y", "Resize height to", 0, 2048, 8, 0)
            with FormRow():
                self._second_pass_choice("hr_checkpoint", "Checkpoint", sd_models.checkpoint_tiles(True))
                self._second_pass_choice(
                    "hr_sampler", "Hires sampling method", sd_samplers.visible_sampler_names()
                )
                labels = [scheduler.label for scheduler in sd_schedulers.schedulers]
                self._second_pass_choice("hr_scheduler", "Hires schedule type", labels)
            with FormRow():
                for key, label in (("prompt", "Hires prompt"), ("neg_prompt", "Hires negative prompt")):
                    made[f"hires_{key}"] = gr.Textbox(
                        label=label, placeholder="Empty: that of the first pass", elem_id=f"hires_{key}"
                    )

    def _second_pass_choice(self, key: str, label: str, choices: list[str]) -> None:
        same = f"Use same {key.removeprefix('hr_')}"
        self.made[key] = gr.Dropdown([same, *choices], value=same, label=label, elem_id=key)

    def inputs(self) -> list[Any]:
        order = (
            "id_task", "prompt", "neg_prompt", "styles", "batch_count", "batch_size", "cfg_scale", "height",
            "width", "enable_hr", "denoising_strength", "hr_scale", "hr_upscaler", "hires_steps", "hr_resize_x",
            "hr_resize_y", "hr_checkpoint", "hr_sampler", "hr_scheduler", "hires_prompt", "hires_neg_prompt",
            "override_settings",
        )  # fmt: skip
        return [self.made[key] for key in order]

    def paste_fields(self) -> list[Any]:
        made = self.made
        return [
            PasteField(
                made["enable_hr"],
                lambda d: (
                    "Denoising strength" in d
                    and any(key in d for key in ("Hires upscale", "Hires upscaler", "Hires resize-1"))
                ),
                api="enable_hr",
            ),
            PasteField(made["hr_scale"], "Hires upscale", api="hr_scale"),
            PasteField(made["hr_upscaler"], "Hires upscaler", api="hr_upscaler"),
            PasteField(made["hires_steps"], "Hires steps", api="hr_second_pass_steps"),
            PasteField(made["hr_resize_x"], "Hires resize-1", api="hr_resize_x"),
            PasteField(made["hr_resize_y"], "Hires resize-2", api="hr_resize_y"),
            PasteField(made["hr_checkpoint"], "Hires checkpoint", api="hr_checkpoint_name"),
            PasteField(made["hr_sampler"], sd_samplers.get_hr_sampler_from_infotext, api="hr_sampler_name"),
            PasteField(made["hr_scheduler"], sd_samplers.get_hr_scheduler_from_infotext, api="hr_scheduler"),
            PasteField(made["hires_prompt"], "Hires prompt", api="hr_prompt"),
            PasteField(made["hires_neg_prompt"], "Hires negative prompt", api="hr_negative_prompt"),
        ]
