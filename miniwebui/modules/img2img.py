"""What a click on Generate does in the img2img tab. The order of the arguments is the WebUI's."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import gradio as gr

from modules import generation_tabs, images, processing, scripts
from modules.img2img_batch import process_batch

MODE_IMG2IMG, MODE_INPAINT, MODE_INPAINT_UPLOAD, MODE_BATCH = 0, 2, 4, 5
SCALE_BY = 1
WHERE = {MODE_IMG2IMG: "Image", MODE_INPAINT: "Paint over what changes", MODE_INPAINT_UPLOAD: "Image"}
"""The page's label of the picture of each mode."""
NOTHING = "There was no picture to draw from."


def _source(mode: int, init_img: Any, init_img_with_mask: Any, init_img_inpaint: Any, init_mask: Any) -> Any:
    """(picture, mask or None) of the mode, none for a batch; the drawing modes of the real page are not here.

    Raises:
        ValueError: there is no picture.
    """
    if mode == MODE_BATCH:
        return None, None
    if mode not in WHERE:
        raise ValueError(f"The img2img mode {mode} is not offered here.")
    painted = init_img_with_mask or {"image": None, "mask": None}
    image, mask = {
        MODE_IMG2IMG: (init_img, None),
        MODE_INPAINT: (painted["image"], painted["mask"]),
        MODE_INPAINT_UPLOAD: (init_img_inpaint, init_mask),
    }[mode]
    if image is None:
        raise ValueError(f"There is no image to start from: drop one on '{WHERE[mode]}'.")
    if mode == MODE_INPAINT:
        mask = processing.create_binary_mask(mask)
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
    """What the output panel shows."""
    image, mask = _source(mode, init_img, init_img_with_mask, init_img_inpaint, init_mask_inpaint)
    by_factor = selected_scale_tab == SCALE_BY
    if by_factor and image is not None:
        width, height = (int(side * scale_by) for side in image.size)
    p = processing.StableDiffusionProcessingImg2Img(
        **generation_tabs.fields("img2img", locals()),
        init_images=[image],
        image_cfg_scale=image_cfg_scale,
        resize_mode=resize_mode,
        mask=mask,
        mask_blur=mask_blur,
        inpainting_fill=inpainting_fill,
        inpainting_mask_invert=inpainting_mask_invert,
        inpaint_full_res=inpaint_full_res,
        inpaint_full_res_padding=inpaint_full_res_padding,
    )
    generation_tabs.give_scripts(p, scripts.scripts_img2img, args, request)
    with closing(p):
        if mode != MODE_BATCH:
            return generation_tabs.shown(generation_tabs.draw(p))
        folders = img2img_batch_input_dir, img2img_batch_output_dir, img2img_batch_inpaint_mask_dir
        uploaded = img2img_batch_upload or [], "", ""
        told = (
            img2img_batch_use_png_info,
            img2img_batch_png_info_props,
            img2img_batch_png_info_dir,
        )
        source = uploaded if img2img_batch_source_type == "upload" else folders
        drawn = process_batch(p, *source, args, by_factor, scale_by, *told)
        return generation_tabs.shown(drawn or processing.Processed(p, [], p.seed, NOTHING))
