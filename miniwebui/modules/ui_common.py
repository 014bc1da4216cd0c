"""Parts of the page that several tabs have: where the pictures come out, and small buttons."""

from __future__ import annotations

import dataclasses
import html
import json
from collections.abc import Callable
from typing import Any

import gradio as gr

from modules import infotext_utils, scripts, shared
from modules.ui_components import ToolButton

refresh_symbol = "\U0001f504"  # 🔄


def plaintext_to_html(text: Any, classname: str | None = None) -> str:
    """A paragraph of the text, nothing of which is taken for HTML."""
    content = "<br>\n".join(html.escape(line) for line in str(text).split("\n"))
    return f"<p class='{classname}'>{content}</p>" if classname else f"<p>{content}</p>"


def outputs_of(processed: Any) -> tuple[Any, str, str, str]:
    """What a generation sends to its output panel: pictures, JSON, text and comments as HTML."""
    pictures = [] if shared.opts.do_not_show_images else processed.images
    comments = plaintext_to_html(processed.comments, classname="comments")
    return pictures, processed.js(), plaintext_to_html(processed.info), comments


@dataclasses.dataclass
class OutputPanel:
    gallery: Any = None
    generation_info: Any = None
    infotext: Any = None
    html_log: Any = None

    def outputs(self) -> list[Any]:
        """What a generation fills, in the order of `outputs_of`."""
        return [self.gallery, self.generation_info, self.infotext, self.html_log]


def update_generation_info(generation_info: str, html_info: str, img_index: int) -> tuple[str, Any]:
    """(the text of the picture with that number as HTML, no change)."""
    try:
        infotexts = json.loads(generation_info)["infotexts"]
        return plaintext_to_html(infotexts[img_index]), gr.update()
    except (json.JSONDecodeError, KeyError, IndexError, TypeError):
        return html_info, gr.update()


def _show_chosen(generation_info: str, html_info: str, chosen: gr.SelectData) -> str:
    return update_generation_info(generation_info, html_info, chosen.index)[0]


def create_output_panel(tabname: str, outdir: str, toprow: Any = None) -> OutputPanel:
    """Progress, pictures, the text of the chosen one, and what went wrong."""
    panel = OutputPanel()
    with gr.Column(elem_id=f"{tabname}_results"):
        gr.HTML("", elem_id=f"{tabname}_progress")
        with gr.Group(elem_id=f"{tabname}_gallery_container"):
            panel.gallery = gr.Gallery(
                label="Output",
                show_label=False,
                columns=4,
                preview=True,
                object_fit="contain",
                elem_id=f"{tabname}_gallery",
                height=shared.opts.gallery_height or None,
            )
        with gr.Row(elem_id=f"image_buttons_{tabname}", elem_classes="image-buttons"):
            send = ToolButton(
                "🖼️", elem_id=f"{tabname}_send_to_img2img", tooltip="Send image and settings to img2img"
            )
        panel.html_log = gr.HTML(elem_id=f"html_log_{tabname}", elem_classes="html-log")
        panel.infotext = gr.HTML(elem_id=f"html_info_{tabname}", elem_classes="infotext")
        panel.generation_info = gr.Textbox(visible=False, elem_id=f"generation_info_{tabname}")
    panel.gallery.select(
        _show_chosen, [panel.generation_info, panel.infotext], [panel.infotext], show_progress=False
    )
    runner = scripts.scripts_txt2img if tabname == "txt2img" else scripts.scripts_img2img
    infotext_utils.register_paste_params_button(
        infotext_utils.ParamBinding(
            paste_button=send,
            tabname="img2img",
            source_tabname="txt2img" if tabname == "txt2img" else None,
            source_image_component=panel.gallery,
            paste_field_names=runner.paste_field_names,
        )
    )
    return panel


def create_refresh_button(
    refresh_component: Any, refresh_method: Callable[[], Any], refreshed_args: Any, elem_id: str
) -> ToolButton:
    """A button that looks for choices again: `refreshed_args` (a dict or a function) updates the component."""
    components = refresh_component if isinstance(refresh_component, list) else [refresh_component]

    def refresh() -> Any:
        refresh_method()
        args = (refreshed_args() if callable(refreshed_args) else refreshed_args) or {}
        for component in components:
            for name, value in args.items():
                setattr(component, name, value)
        return [gr.update(**args) for _ in components] if len(components) > 1 else gr.update(**args)

    label = next((component.label for component in components if component.label), None)
    button = ToolButton(refresh_symbol, elem_id=elem_id, tooltip=f"{label}: refresh" if label else "Refresh")
    button.click(fn=refresh, inputs=[], outputs=components)
    return button
