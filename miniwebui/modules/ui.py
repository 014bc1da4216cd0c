"""The page: tabs for txt2img, img2img, PNG Info, those of extensions, and the settings."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from modules import extras, infotext_utils, localization, script_callbacks, scripts, shared, ui_settings
from modules.call_queue import wrap_gradio_call_no_job
from modules.paths_internal import script_path
from modules.ui_common import create_output_panel, create_refresh_button, plaintext_to_html  # noqa: F401
from modules.ui_generation import Txt2ImgTab
from modules.ui_img2img import Img2ImgTab

ELSEWHERE = re.compile(rb"<(?:script|link)\b[^>]*https?://[^>]*>(?:\s*</script>)?")
"""Fonts and scripts that gradio's page would fetch from other servers; without a network it waits for them."""
LOCAL_FONTS = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}


def _webpath(path: str) -> str:
    """The file's address, another one after it has changed."""
    return f"file={path}?{os.path.getmtime(path)}"


def _head() -> str:
    """Translations, the page's own script, then every javascript/ file: .mjs as modules."""
    own = os.path.join(script_path, "script.js")
    plain = [own, *(file.path for file in scripts.list_scripts("javascript", ".js"))]
    modules = [file.path for file in scripts.list_scripts("javascript", ".mjs")]
    tags = [f"<script>{localization.localization_js(shared.opts.localization)}</script>"]
    tags += [f'<script src="{_webpath(path)}"></script>' for path in plain]
    tags += [f'<script type="module" src="{_webpath(path)}"></script>' for path in modules]
    return "\n".join(tags)


def _css() -> str:
    return "\n".join(Path(sheet).read_text() for sheet in scripts.list_files_with_name("style.css"))


def _png_info() -> None:
    """A picture's text, and buttons that fill a tab with it."""
    with gr.Row(equal_height=False):
        with gr.Column(variant="panel"):
            image = gr.Image(label="Source", source="upload", type="pil", elem_id="pnginfo_image")
            with gr.Row():
                buttons = infotext_utils.create_buttons(["txt2img", "img2img"])
        with gr.Column(variant="panel"):
            first, last = gr.HTML(), gr.HTML(elem_id="pnginfo_html2_info")
            text = gr.Textbox(visible=False, elem_id="pnginfo_generation_info")
    for tab, button in buttons.items():
        infotext_utils.register_paste_params_button(
            infotext_utils.ParamBinding(
                paste_button=button, tabname=tab, source_text_component=text, source_image_component=image
            )
        )
    image.change(
        wrap_gradio_call_no_job(extras.run_pnginfo), [image], [first, text, last], show_progress=False
    )


def _tabs_of_extensions() -> list[tuple[gr.Blocks, str, str]]:
    return [tab for tabs in script_callbacks.ui_tabs_callback() for tab in tabs or []]


def create_ui() -> gr.Blocks:
    """The whole page; options of extensions first, then the scripts of one tab after the other."""
    infotext_utils.reset()
    settings = ui_settings.UiSettings()
    settings.register_settings()
    interfaces = []
    for name, runner in (("txt2img", scripts.scripts_txt2img), ("img2img", scripts.scripts_img2img)):
        runner.initialize_scripts(is_img2img=name == "img2img")
        with gr.Blocks(analytics_enabled=False) as interface:
            tab = Txt2ImgTab() if name == "txt2img" else Img2ImgTab()
        interfaces.append((interface, name, name))
    with gr.Blocks(analytics_enabled=False) as interface:
        _png_info()
    interfaces += [(interface, "PNG Info", "pnginfo"), *_tabs_of_extensions()]
    settings.create_ui(None, tab.made["id_task"])
    interfaces.append((settings.interface, "Settings", "settings"))

    look = {"css": _css(), "theme": gr.themes.Default(**LOCAL_FONTS)}
    with gr.Blocks(title="Mini WebUI", analytics_enabled=False, **look) as demo:
        with gr.Tabs(elem_id="tabs"):
            for interface, label, name in interfaces:
                with gr.TabItem(label, id=name, elem_id=f"tab_{name}"):
                    interface.render()
        settings.add_functionality(demo)
        infotext_utils.connect_paste_params_buttons()
    return demo


def add_scripts(page_response: Callable[..., Any]) -> Callable[..., Any]:
    """gradio's page with our scripts in its head (gradio 3 has no setting for it), and nothing from elsewhere."""

    def respond(*args: Any, **kwargs: Any) -> Any:
        response = page_response(*args, **kwargs)
        body = ELSEWHERE.sub(b"", response.body)
        response.body = body.replace(b"</head>", f"{_head()}</head>".encode())
        response.init_headers()
        return response

    return respond
