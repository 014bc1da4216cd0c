"""What a click on Generate does in the txt2img tab. The order of the arguments is the WebUI's."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import gradio as gr

from modules import processing, scripts, shared
from modules.infotext_utils import create_override_settings_dict
from modules.shared import opts
from modules.ui_common import outputs_of


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
        sd_model=shared.sd_model,
        outpath_samples=opts.outdir_samples or opts.outdir_txt2img_samples,
        outpath_grids=opts.outdir_grids or opts.outdir_txt2img_grids,
        prompt=prompt,
        styles=prompt_styles,
        negative_prompt=negative_prompt,
        batch_size=batch_size,
        n_iter=n_iter,
        cfg_scale=cfg_scale,
        width=width,
        height=height,
        enable_hr=enable_hr or force_enable_hr,
        denoising_strength=denoising_strength,
        hr_scale=hr_scale,
        hr_upscaler=hr_upscaler,
        hr_second_pass_steps=hr_second_pass_steps,
        hr_resize_x=hr_resize_x,
        hr_resize_y=hr_resize_y,
        hr_checkpoint_name=None if hr_checkpoint_name == "Use same checkpoint" else hr_checkpoint_name,
        hr_sampler_name=None if hr_sampler_name == "Use same sampler" else hr_sampler_name,
        hr_scheduler=None if hr_scheduler == "Use same scheduler" else hr_scheduler,
        hr_prompt=hr_prompt,
        hr_negative_prompt=hr_negative_prompt,
        override_settings=create_override_settings_dict(override_settings_texts),
    )
    p.scripts = scripts.scripts_txt2img
    p.script_args = args
    p.user = getattr(request, "username", None)
    return p


def txt2img(id_task: str, request: gr.Request, *args: Any) -> tuple[Any, str, str, str]:
    """-> (pictures, their settings as JSON, the first one's text and the comments as HTML)."""
    p = txt2img_create_processing(id_task, request, *args)
    with closing(p):
        processed = scripts.scripts_txt2img.run(p, *p.script_args) or processing.process_images(p)
    shared.total_tqdm.clear()
    return outputs_of(processed)
