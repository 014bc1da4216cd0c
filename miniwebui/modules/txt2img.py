"""What a click on Generate does in the txt2img tab. The order of the arguments is the WebUI's."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import gradio as gr

from modules import generation_tabs, processing, scripts


def txt2img_create_processing(
    id_task: str,
    request: gr.Request,
    prompt: str,
    negative_prompt: str,
    prompt_styles: list[str],
    n_iter: int,
    batch_size: int,
    cfg_scale: float,
    height: int,
    width: int,
    enable_hr: bool,
    denoising_strength: float,
    hr_scale: float,
    hr_upscaler: str,
    hr_second_pass_steps: int,
    hr_resize_x: int,
    hr_resize_y: int,
    hr_checkpoint_name: str,
    hr_sampler_name: str,
    hr_scheduler: str,
    hr_prompt: str,
    hr_negative_prompt: str,
    override_settings_texts: list[str],
    *args: Any,
    force_enable_hr: bool = False,
) -> processing.StableDiffusionProcessingTxt2Img:
    """The generation that the page asks for; `args` are the scripts'."""
    p = processing.StableDiffusionProcessingTxt2Img(
        **generation_tabs.fields("txt2img", locals()),
        enable_hr=force_enable_hr or enable_hr,
        hr_upscaler=hr_upscaler,
        hr_scale=hr_scale,
        hr_resize_x=hr_resize_x,
        hr_resize_y=hr_resize_y,
        hr_second_pass_steps=hr_second_pass_steps,
        hr_checkpoint_name=_chosen(hr_checkpoint_name),
        hr_sampler_name=_chosen(hr_sampler_name),
        hr_scheduler=_chosen(hr_scheduler),
        hr_prompt=hr_prompt,
        hr_negative_prompt=hr_negative_prompt,
    )
    generation_tabs.give_scripts(p, scripts.scripts_txt2img, args, request)
    return p


def _chosen(name: str) -> str | None:
    """None for the entry that means the first pass's."""
    return None if str(name).startswith("Use same ") else name


def txt2img(id_task: str, request: gr.Request, *args: Any) -> tuple[Any, str, str, str]:
    """What the output panel shows."""
    p = txt2img_create_processing(id_task, request, *args)
    with closing(p):
        return generation_tabs.shown(generation_tabs.draw(p))
