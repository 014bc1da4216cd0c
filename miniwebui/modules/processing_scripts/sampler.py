"""Sampler, schedule and steps: a script of the page's own, in the section of that name."""

import gradio as gr

from modules import scripts, sd_samplers, sd_schedulers
from modules.infotext_utils import PasteField
from modules.ui_components import FormRow


class ScriptSampler(scripts.ScriptBuiltinUI):
    section = "sampler"

    def title(self):
        return "Sampler"

    def ui(self, is_img2img):
        samplers = sd_samplers.visible_sampler_names()
        schedulers = [scheduler.label for scheduler in sd_schedulers.schedulers]
        with FormRow(elem_id=f"sampler_selection_{self.tabname}"):
            self.sampler_name = gr.Dropdown(
                samplers, value=samplers[0], label="Sampling method", elem_id=f"{self.tabname}_sampling"
            )
            self.scheduler = gr.Dropdown(
                schedulers, value=schedulers[0], label="Schedule type", elem_id=f"{self.tabname}_scheduler"
            )
            self.steps = gr.Slider(
                1, 150, step=1, value=20, label="Sampling steps", elem_id=f"{self.tabname}_steps"
            )
        pasted = {
            "steps": "Steps",
            "sampler_name": sd_samplers.get_sampler_from_infotext,
            "scheduler": sd_samplers.get_scheduler_from_infotext,
        }
        controls = [getattr(self, name) for name in pasted]
        self.infotext_fields = [
            PasteField(control, said, api=name) for control, (name, said) in zip(controls, pasted.items())
        ]
        return controls

    def setup(self, p, steps, sampler_name, scheduler):
        p.steps, p.sampler_name, p.scheduler = steps, sampler_name, scheduler
