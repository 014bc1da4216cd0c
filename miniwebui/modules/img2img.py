"""What a click on Generate does in the img2img tab. The order of the arguments is the WebUI's."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import gradio as gr

from modules import images, processing, scripts, shared
from modules.img2img_batch import process_batch
from modules.infotext_utils import create_override_settings_dict
from modules.shared import opts
from modules.ui_common import outputs_of

MODE_IMG2IMG, MODE_INPAINT, MODE_INPAINT_UPLOAD, MODE_BATCH = 0, 2, 4, 5
SCALE_BY = 1


def _source(mode: int, init_img: Any, init_img_with_mask: Any, init_img_inpaint: Any, init_mask: Any) -> Any:
    """(picture, mask or None) of the mode, none for a batch; the drawing modes of the real page are not here.

    Raises:
        ValueError: there is no picture.
    """
    if mode == MODE_BATCH:
        return None, None
    image, mask = init_img, None
    if mode == MODE_INPAINT and init_img_with_mask:
        image = init_img_with_mask["image"]
        mask = processing.create_binary_mask(init_img_with_mask["mask"])
    elif mode == MODE_INPAINT_UPLOAD:
        image, mask = init_img_inpaint, init_mask
    elif mode != MODE_IMG2IMG:
        raise ValueError(f"The img2img mode {mode} is not offered here.")
    if image is None:
        raise ValueError("There is no image to start from: drop one on 'Image'.")
    return images.fix_image(image), images.fix_image(mask)


def img2img(
    id_task: str,
    request: gr.Request,
    mode: int,
    prompt: str,
    negative_prompt: str,
    prompt_styles: list[str],
    init_img: Any,
    sketch: Any,
    init_img_with_mask: Any,
    inpaint_color_sketch: Any,
    inpaint_color_sketch_orig: Any,
    init_img_inpaint: Any,
    init_mask_inpaint: Any,
    mask_blur: int,
    mask_alpha: float,
    inpainting_fill: int,
    n_iter: int,
    batch_size: int,
    cfg_scale: float,
    image_cfg_scale: float,
    denoising_strength: float,
    selected_scale_tab: int,
    height: int,
    width: int,
    scale_by: float,
    resize_mode: int,
    inpaint_full_res: bool,
    inpaint_full_res_padding: int,
    inpainting_mask_invert: int,
    img2img_batch_input_dir: str,
    img2img_batch_output_dir: str,
    img2img_batch_inpaint_mask_dir: str,
    override_settings_texts: list[str],
    img2img_batch_use_png_info: bool,
    img2img_batch_png_info_props: list,
    img2img_batch_png_info_dir: str,
    img2img_batch_source_type: str,
    img2img_batch_upload: list,
    *args: Any,
) -> tuple[Any, str, str, str]:
    """-> (pictures, their settings as JSON, the first one's text and the comments as HTML)."""
    image, mask = _source(mode, init_img, init_img_with_mask, init_img_inpaint, init_mask_inpaint)
    to_scale = selected_scale_tab == SCALE_BY
    if to_scale and mode != MODE_BATCH:
        width, height = int(image.width * scale_by), int(image.height * scale_by)
    p = processing.StableDiffusionProcessingImg2Img(
        sd_model=shared.sd_model,
        outpath_samples=opts.outdir_samples or opts.outdir_img2img_samples,
        outpath_grids=opts.outdir_grids or opts.outdir_img2img_grids,
        prompt=prompt,
        negative_prompt=negative_prompt,
        styles=prompt_styles,
        batch_size=batch_size,
        n_iter=n_iter,
        cfg_scale=cfg_scale,
        width=width,
        height=height,
        init_images=[image],
        mask=mask,
        mask_blur=mask_blur,
        inpainting_fill=inpainting_fill,
        resize_mode=resize_mode,
        denoising_strength=denoising_strength,
        image_cfg_scale=image_cfg_scale,
        inpaint_full_res=inpaint_full_res,
        inpaint_full_res_padding=inpaint_full_res_padding,
        inpainting_mask_invert=inpainting_mask_invert,
        override_settings=create_override_settings_dict(override_settings_texts),
    )
    p.scripts = scripts.scripts_img2img
    p.script_args = args
    p.user = getattr(request, "username", None)
    with closing(p):
        if mode == MODE_BATCH:
            uploaded = img2img_batch_source_type == "upload"
            processed = process_batch(
                p,
                img2img_batch_upload or [] if uploaded else img2img_batch_input_dir,
                "" if uploaded else img2img_batch_output_dir,
                "" if uploaded else img2img_batch_inpaint_mask_dir,
                args,
                to_scale=to_scale,
                scale_by=scale_by,
                use_png_info=img2img_batch_use_png_info,
                png_info_props=img2img_batch_png_info_props,
                png_info_dir=img2img_batch_png_info_dir,
            ) or processing.Processed(p, [], p.seed, "There was no picture to draw from.")
        else:
            processed = scripts.scripts_img2img.run(p, *args) or processing.process_images(p)
    shared.total_tqdm.clear()
    return outputs_of(processed)
