"""The order in which the WebUI calls what extensions register while it starts, with a page and without."""

import gradio as gr
import pytest
from fastapi import FastAPI

from miniwebui import webui as program

SCRIPT = """
import gradio as gr
from modules import script_callbacks, scripts, shared

SEEN = shared.seen_at_start
for name in ("ui_settings", "before_ui", "app_started", "ui_tabs"):
    register = getattr(script_callbacks, f"on_{name}")
    register(lambda *args, name=name: SEEN.append(name))
    if name == "before_ui":
        register(lambda: SEEN.append("before_ui of the next"))


class Recorder(scripts.Script):
    def __init__(self):
        SEEN.append("__init__")

    def title(self):
        return "Recorder"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        SEEN.append(f"ui of {self.tabname}")
        return [gr.Checkbox(self.is_img2img, label="On")]
"""
PAGE = ["ui_settings", "__init__", "ui of txt2img", "__init__", "ui of img2img", "ui_tabs"]
BEFORE_UI = ["before_ui of the next", "before_ui"]
API = ["ui of txt2img"] * 2 + ["ui of img2img"] * 2


@pytest.fixture
def fresh(webui, tmp_path, monkeypatch):
    """Scripts loaded anew, none of them made; nothing is served. -> what the recording script saw, in order."""
    from modules import extensions, script_callbacks, scripts
    from modules.api import api

    seen = []
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "recorder.py").write_text(SCRIPT)
    recorder = extensions.Extension("Recorder", str(tmp_path))
    monkeypatch.setattr(webui.shared, "seen_at_start", seen, raising=False)
    monkeypatch.setattr(webui.shared, "demo", None, raising=False)
    monkeypatch.setattr(extensions, "extensions", [*extensions.extensions, recorder])
    monkeypatch.setattr(scripts, "scripts_data", [])
    monkeypatch.setattr(scripts, "scripts_current", None)
    for name in ("scripts_txt2img", "scripts_img2img"):
        monkeypatch.setattr(scripts, name, None)
    empty = {name: [] for name in script_callbacks.callback_map}
    monkeypatch.setattr(script_callbacks, "callback_map", empty)
    monkeypatch.setattr(api.Api, "launch", lambda *args: None)
    monkeypatch.setattr(gr.Blocks, "launch", lambda *args, **kwargs: (FastAPI(), None, None))
    monkeypatch.setattr(gr.Blocks, "block_thread", lambda *args: None)
    monkeypatch.setattr(gr.routes.templates, "TemplateResponse", gr.routes.templates.TemplateResponse)
    scripts.load_scripts()
    return seen


def plot_axes():
    """What the X/Y/Z plot offers to clients of the API."""
    from modules import scripts

    return scripts.scripts_txt2img.script("X/Y/Z plot").api_info.args[0].choices


def test_with_a_page(fresh):
    assert program.page_and_api() == 0
    assert fresh == [*BEFORE_UI, *PAGE, *API, "app_started"]
    assert "[Tiled Diffusion] Method" in plot_axes()


def test_without_a_page(fresh):
    assert program.api_only() == 0
    assert fresh == [*PAGE, *API, *BEFORE_UI, "app_started"]
    assert "[Tiled Diffusion] Method" in plot_axes()
    assert "[Tiled VAE] Decoder" in plot_axes()
