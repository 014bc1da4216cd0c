"""The mini WebUI without a page, with a small random model of the demo's shape: what the tests run on."""

import re
import socket
import threading
import time
from contextlib import closing
from types import SimpleNamespace

import pytest
import uvicorn
import webuiapi
from fastapi import FastAPI
from hypothesis import settings

from miniwebui import webui as miniwebui_webui
from tests.upscaler_network import save_upscaler
from tools.random_checkpoint import write_random_checkpoint

settings.register_profile("unhurried", deadline=None)  # the machine may be busy; nothing here tests speed
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A checkpoint with random weights: the networks are real, the pictures are noise."""
    path = tmp_path_factory.mktemp("checkpoint") / "random.safetensors"
    write_random_checkpoint(path)
    return path


@pytest.fixture(scope="session")
def webui(checkpoint):
    """The initialised mini WebUI: its modules, and `draw(script settings, **processing arguments)`."""
    miniwebui_webui.initialize(str(checkpoint))
    from modules import processing, scripts, shared

    shared.cmd_opts.disable_console_progressbars = True
    shared.cmd_opts.no_prompt_history = True
    shared.opts.live_previews_enable = False

    def prepare(settings=None, vae=None, **arguments):
        """The processing object of a small picture; `settings` are Tiled Diffusion's, `vae` Tiled VAE's, by name."""
        defaults = {
            "prompt": "sea, day",
            "width": 256,
            "height": 128,
            "steps": 2,
            "cfg_scale": 4.0,
            "seed": 7,
            "sampler_name": "Euler",
            "do_not_save_samples": True,
            "do_not_save_grid": True,
        }
        kind = "Img2Img" if "init_images" in arguments else "Txt2Img"
        make = getattr(processing, f"StableDiffusionProcessing{kind}")
        p = make(sd_model=shared.sd_model, **{**defaults, **arguments})
        p.is_api = True  # the page's own controls do not set it up
        p.scripts = scripts.scripts_img2img if kind == "Img2Img" else scripts.scripts_txt2img
        args = p.scripts.default_args()
        for title, values in (("Tiled Diffusion", settings), ("Tiled VAE", vae)):
            if values is not None:
                script = p.scripts.script(title)
                args[script.args_from : script.args_to] = script.args_from_settings(values)
        p.script_args = tuple(args)
        return p

    def process(p):
        shared.state.begin(job="test")
        try:
            with closing(p):
                return processing.process_images(p)
        finally:
            shared.state.end()

    def draw(settings=None, vae=None, **arguments):
        return process(prepare(settings, vae, **arguments))

    return SimpleNamespace(shared=shared, scripts=scripts, prepare=prepare, process=process, draw=draw)


@pytest.fixture(scope="session")
def server(webui):
    """The API on a port of this machine: `url`, and a `client` of webuiapi."""
    from modules import ui

    ui.create_ui()
    app = FastAPI()
    miniwebui_webui.create_api(app)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.05)
    url = f"http://127.0.0.1:{port}/sdapi/v1"
    yield SimpleNamespace(port=port, url=url, client=webuiapi.WebUIApi(host="127.0.0.1", port=port))
    running.should_exit = True
    thread.join(10)


@pytest.fixture
def learned(webui, tmp_path, monkeypatch):
    """An upscaler from a file with a small random network, listed as `tiny-4x`: its entry of the list."""
    from modules import esrgan_model, modelloader, shared

    save_upscaler(tmp_path / "tiny-4x.safetensors")
    monkeypatch.setattr(esrgan_model.UpscalerESRGAN, "model_path", str(tmp_path))
    before = shared.sd_upscalers
    modelloader.load_upscalers()
    yield next(data for data in shared.sd_upscalers if data.name == "tiny-4x")
    shared.sd_upscalers = before


@pytest.fixture
def vae_progress(webui, monkeypatch):
    """Functions of (network, done) that are called with what the page is told: "Tiled VAE decoder: 1 of 12"."""
    state, listeners = webui.shared.state, []

    class Told(type(state)):
        @property
        def textinfo(self):
            return vars(self).get("told")

        @textinfo.setter
        def textinfo(self, text):
            vars(self)["told"] = text
            if (found := re.fullmatch(r"Tiled VAE (\w+): (\d+) of \d+", text or "")) is not None:
                for listener in listeners:
                    listener(found[1], int(found[2]))

    monkeypatch.setattr(state, "__class__", Told)
    return listeners


@pytest.fixture
def tiled_calls(vae_progress):
    """Which networks of the VAE ran tiled, in order."""
    seen = []
    vae_progress.append(lambda network, done: seen.append(network) if done == 1 else None)
    return seen
