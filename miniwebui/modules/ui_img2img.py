"""The img2img tab: a picture, a picture with a mask that is painted or uploaded, or a folder of pictures."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from modules import img2img
from modules.ui_components import FormRow
from modules.ui_generation import DEFAULTS, GenerationTab

RESIZE_MODES = ["Just resize", "Crop and resize", "Resize and fill", "Just resize (latent upscale)"]
PNG_INFO = ["Prompt", "Negative prompt", "Seed", "CFG scale", "Sampler", "Steps", "Model hash"]
FILLS = ["fill", "original", "latent noise", "latent nothing"]


def _choose(tab: Any, component: Any, value: Any) -> None:
    """Opening the tab sets the component at once, on the page: Generate right after it must not send the old value."""
    tab.select(None, [], [component], _js=f"() => {json.dumps(value)}", show_progress=False)


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
                self._picture("init", img2img.WHERE[img2img.MODE_IMG2IMG], "img2img_image")
            with gr.TabItem("Inpaint", id="inpaint", elem_id="img2img_inpaint_tab") as painted:
                self._picture("painted", img2img.WHERE[img2img.MODE_INPAINT], "img2maskimg", tool="sketch")
            with gr.TabItem(
                "Inpaint upload", id="inpaint_upload", elem_id="img2img_inpaint_upload_tab"
            ) as uploaded:
                self._picture("inpaint_base", img2img.WHERE[img2img.MODE_INPAINT_UPLOAD], "img_inpaint_base")
                self._picture("inpaint_mask", "Mask (white is drawn anew)", "img_inpaint_mask")
            with gr.TabItem("Batch", id="batch", elem_id="img2img_batch_tab") as batch:
                self._batch()
        self._mode_tabs = (
            (plain, img2img.MODE_IMG2IMG),
            (painted, img2img.MODE_INPAINT),
            (uploaded, img2img.MODE_INPAINT_UPLOAD),
            (batch, img2img.MODE_BATCH),
        )

    def _batch(self) -> None:
        """Pictures to draw from one after the other: uploaded, or in a folder of the server."""
        made = self.made
        made["batch_source"] = gr.Textbox(visible=False, value="upload")
        with gr.Tabs(elem_id="img2img_batch_source"):
            with gr.TabItem("Upload", id="batch_upload", elem_id="img2img_batch_upload_tab") as uploaded:
                made["batch_upload"] = gr.Files(label="Files", elem_id="img2img_batch_upload")
            with gr.TabItem(
                "From directory", id="batch_from_dir", elem_id="img2img_batch_from_dir_tab"
            ) as folder:
                self._text("batch_input_dir", "Input directory")
                self._text("batch_output_dir", "Output directory", placeholder="Empty: where img2img saves")
                self._text(
                    "batch_inpaint_mask_dir",
                    "Inpaint batch mask directory",
                    placeholder="Masks of the same names",
                )
        for tab, source in ((uploaded, "upload"), (folder, "from dir")):
            _choose(tab, made["batch_source"], source)
        with gr.Accordion("PNG info", open=False):
            made["batch_use_png_info"] = gr.Checkbox(
                label="Append png info to prompts", elem_id="img2img_batch_use_png_info"
            )
            self._text("batch_png_info_dir", "PNG info directory", placeholder="Empty: the input directory")
            made["batch_png_info_props"] = gr.CheckboxGroup(
                PNG_INFO, label="Parameters to take from png info"
            )

    def _text(self, key: str, label: str, **more: Any) -> None:
        self.made[key] = gr.Textbox(label=label, elem_id=f"img2img_{key}", **more)

    def _dimensions(self) -> None:
        """A size, or a factor of the picture's own; `scale_tab` says which."""
        self.made["scale_tab"] = gr.Number(value=0, visible=False, precision=0)
        with gr.Tabs(elem_id="img2img_tabs_resize"):
            with gr.Tab("Resize to", id="to", elem_id="img2img_tab_resize_to") as to:
                super()._dimensions()
            with gr.Tab("Resize by", id="by", elem_id="img2img_tab_resize_by") as by:
                self._slider("scale", "Scale", 0.05, 4, 0.05, 1)
        for number, tab in enumerate((to, by)):
            _choose(tab, self.made["scale_tab"], number)

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
            _choose(tab, self.made["mode"], mode)
            shown = gr.update(visible=mode != img2img.MODE_IMG2IMG)
            tab.select(lambda shown=shown: shown, [], [controls], show_progress=False)

    def init_image(self) -> Any:
        return self.made["init"]

    def inputs(self) -> list[Any]:
        """The real page has more ways to give a picture: here they are empty."""
        made = self.made
        none, zero = gr.State(None), gr.State(0)
        order = (
            "id_task", "mode", "prompt", "neg_prompt", "styles", "init", none, "painted", none, none,
            "inpaint_base", "inpaint_mask", "mask_blur", zero, "fill", "batch_count", "batch_size", "cfg_scale",
            none, "denoising_strength", "scale_tab", "height", "width", "scale", "resize_mode", "full_res",
            "inpaint_full_res_padding", "mask_invert", "batch_input_dir", "batch_output_dir",
            "batch_inpaint_mask_dir", "override_settings", "batch_use_png_info", "batch_png_info_props",
            "batch_png_info_dir", "batch_source", "batch_upload",
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
