"""The img2img tab: a picture, or a picture with a mask that is painted or uploaded."""

from __future__ import annotations

from typing import Any

import gradio as gr

from modules import img2img
from modules.ui_components import FormRow
from modules.ui_generation import DEFAULTS, GenerationTab

RESIZE_MODES = ["Just resize", "Crop and resize", "Resize and fill", "Just resize (latent upscale)"]
FILLS = ["fill", "original", "latent noise", "latent nothing"]


class Img2ImgTab(GenerationTab):
    name = "img2img"
    generate_function = staticmethod(img2img.img2img)

    def _controls(self) -> None:
        self._images()
        self._radio("resize_mode", "Resize mode", RESIZE_MODES, RESIZE_MODES[0], elem_id="resize_mode")
        self._inpainting()
        self.runner.setup_ui_for_section("sampler")
        self._sizes()
        with FormRow():
            self._slider("cfg_scale", "CFG Scale", 1, 30, 0.5, DEFAULTS["cfg_scale"])
            self._slider("denoising_strength", "Denoising strength", 0, 1, 0.01, 0.75)
        self._scripts()

    def _picture(self, key: str, label: str, elem_id: str, **more: Any) -> None:
        self.made[key] = gr.Image(
            label=label, source="upload", type="pil", elem_id=elem_id, **{"image_mode": "RGBA", **more}
        )

    def _radio(self, key: str, label: str, choices: list[str], value: str, elem_id: str) -> None:
        self.made[key] = gr.Radio(choices, value=value, label=label, type="index", elem_id=elem_id)

    def _images(self) -> None:
        """A tab for each way to give a picture; `mode` is its number in the real page."""
        self.made["mode"] = gr.Number(value=img2img.MODE_IMG2IMG, visible=False, precision=0)
        with gr.Tabs(elem_id="mode_img2img"):
            with gr.TabItem("Picture", id="img2img", elem_id="img2img_img2img_tab") as plain:
                self._picture("init", "Image", "img2img_image")
            with gr.TabItem("Inpaint", id="inpaint", elem_id="img2img_inpaint_tab") as painted:
                self._picture("painted", "Paint over what changes", "img2maskimg", tool="sketch")
            with gr.TabItem(
                "Inpaint upload", id="inpaint_upload", elem_id="img2img_inpaint_upload_tab"
            ) as uploaded:
                self._picture("inpaint_base", "Image", "img_inpaint_base")
                self._picture("inpaint_mask", "Mask (white is drawn anew)", "img_inpaint_mask")
        self._mode_tabs = (
            (plain, img2img.MODE_IMG2IMG),
            (painted, img2img.MODE_INPAINT),
            (uploaded, img2img.MODE_INPAINT_UPLOAD),
        )

    def _inpainting(self) -> None:
        with gr.Group(elem_id="inpaint_controls", visible=False) as controls:
            self._slider("mask_blur", "Mask blur", 0, 64, 1, 4)
            with FormRow():
                modes = ["Inpaint masked", "Inpaint not masked"]
                self._radio("mask_invert", "Mask mode", modes, modes[0], elem_id="img2img_mask_mode")
                self._radio("fill", "Masked content", FILLS, "original", elem_id="img2img_inpainting_fill")
            with FormRow():
                areas = ["Whole picture", "Only masked"]
                self._radio("full_res", "Inpaint area", areas, areas[0], elem_id="img2img_inpaint_full_res")
                self._slider("inpaint_full_res_padding", "Only masked padding, pixels", 0, 256, 4, 32)
        for tab, mode in self._mode_tabs:
            tab.select(
                lambda mode=mode: (mode, gr.update(visible=mode != img2img.MODE_IMG2IMG)),
                [],
                [self.made["mode"], controls],
                show_progress=False,
            )

    def init_image(self) -> Any:
        return self.made["init"]

    def inputs(self) -> list[Any]:
        """The real page has more ways to give a picture: here they are empty."""
        made = self.made
        none, zero, empty = gr.State(None), gr.State(0), gr.State("")
        order = (
            "id_task", "mode", "prompt", "neg_prompt", "styles", "init", none, "painted", none, none,
            "inpaint_base", "inpaint_mask", "mask_blur", zero, "fill", "batch_count", "batch_size", "cfg_scale",
            none, "denoising_strength", zero, "height", "width", zero, "resize_mode", "full_res",
            "inpaint_full_res_padding", "mask_invert", empty, empty, empty, "override_settings", none, none, empty,
            empty, none,
        )  # fmt: skip
        return [made[key] if isinstance(key, str) else key for key in order]

    def paste_fields(self) -> list[Any]:
        made = self.made
        return [
            (made["mask_blur"], "Mask blur"),
            (made["mask_invert"], "Mask mode"),
            (made["fill"], "Masked content"),
            (made["full_res"], "Inpaint area"),
            (made["inpaint_full_res_padding"], "Masked area padding"),
        ]
