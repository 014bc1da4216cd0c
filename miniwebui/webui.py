"""Inside of the virtual environment: start the WebUI's parts, its page and its API."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE_PORT, API_PORT = 7860, 7861


def load_parts(checkpoint: str | None = None, settings: bool = False) -> None:
    """Load samplers, the list of checkpoints, scripts, upscalers; the checkpoint itself when first used.

    `settings`: read the saved settings; without them every picture is drawn with the defaults.
    """
    if str(HERE) not in sys.path:
        sys.path.insert(0, str(HERE))
    from miniwebui import k_diffusion_import  # noqa: F401
    from modules import (
        extra_networks,
        gradio_extensons,  # noqa: F401
        localization,
        modelloader,
        scripts,
        sd_models,
        sd_samplers,
        shared,
    )

    if settings:
        shared.opts.load(shared.config_filename)
    if checkpoint is not None:
        shared.cmd_opts.ckpt = checkpoint
    sd_samplers.set_samplers()
    sd_models.list_models()
    localization.list_localizations(localization.default_dir)
    scripts.load_scripts()
    modelloader.load_upscalers()
    extra_networks.initialize()


def initialize(checkpoint: str | None = None) -> None:
    """For drawing without a page: the parts, and the scripts' hooks in the order of a page that is made."""
    load_parts(checkpoint)
    from modules import script_callbacks, scripts

    script_callbacks.before_ui_callback()
    script_callbacks.ui_settings_callback()
    scripts.scripts_txt2img.initialize_scripts(is_img2img=False)
    scripts.scripts_img2img.initialize_scripts(is_img2img=True)


def create_api(app: Any) -> Any:
    """Serve the API from an application that may have answered requests already."""
    from modules.api.api import Api
    from modules.call_queue import queue_lock

    app.middleware_stack = None  # made anew with the API's own at the next request
    return Api(app, queue_lock)


def api_only() -> int:
    """`--nowebui`: the API without a page, until Ctrl-C."""
    from fastapi import FastAPI

    from modules import script_callbacks, shared

    app = FastAPI()
    api = create_api(app)  # it makes the page's components too: a picture's text goes through its fields
    script_callbacks.before_ui_callback()
    script_callbacks.app_started_callback(None, app)
    api.launch("127.0.0.1", shared.cmd_opts.port or API_PORT, "")
    return 0


def page_and_api() -> int:
    """The page and the API, until Ctrl-C."""
    import gradio as gr

    from modules import extensions, progress, script_callbacks, shared, ui

    script_callbacks.before_ui_callback()
    gr.routes.templates.TemplateResponse = ui.add_scripts(gr.routes.templates.TemplateResponse)
    shared.demo = ui.create_ui().queue(64)
    app, _, _ = shared.demo.launch(
        server_name="127.0.0.1",
        server_port=shared.cmd_opts.port or PAGE_PORT,
        allowed_paths=[str(HERE), *(extension.path for extension in extensions.active())],
        prevent_thread_lock=True,
    )
    progress.setup_progress_api(app)
    create_api(app)
    script_callbacks.app_started_callback(shared.demo, app)
    shared.demo.block_thread()
    return 0


def page(arguments: list[str]) -> int:
    """`python -m miniwebui`: install what extensions need, then serve."""
    from modules import launch_utils, shared_cmd_options

    cmd_opts = shared_cmd_options.cmd_opts
    if not cmd_opts.skip_install:
        launch_utils.run_extensions_installers(cmd_opts.ui_settings_file)
    load_parts(settings=True)
    return api_only() if cmd_opts.nowebui else page_and_api()


def drawn(arguments: list[str]) -> int:
    """`python -m miniwebui render`."""
    from miniwebui import render

    options = render.parser().parse_args(arguments)
    initialize(options.ckpt)
    return render.render(options)


if __name__ == "__main__":
    sys.path[0] = str(HERE.parent)  # `miniwebui` is a package of the folder above this file's
    sys.path.insert(0, str(HERE))
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    for noisy in ("httpx", "asyncio", "diffusers", "transformers"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    sys.exit({"render": drawn, "page": page}[sys.argv[1]](sys.argv[2:]))
