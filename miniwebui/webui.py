"""Inside of the virtual environment: start the WebUI's parts, and its page."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def initialize(checkpoint: str | None = None) -> None:
    """Load scripts, samplers, upscalers and the list of checkpoints; the checkpoint itself when first used."""
    if str(HERE) not in sys.path:
        sys.path.insert(0, str(HERE))
    from miniwebui import k_diffusion_import  # noqa: F401
    from modules import (
        extra_networks,
        gradio_extensons,  # noqa: F401
        modelloader,
        script_callbacks,
        scripts,
        sd_models,
        sd_samplers,
        shared,
    )

    if checkpoint is not None:
        shared.cmd_opts.ckpt = checkpoint
    modelloader.load_upscalers()
    sd_models.list_models()
    sd_samplers.set_samplers()
    scripts.load_scripts()
    scripts.scripts_txt2img.initialize_scripts(is_img2img=False)
    scripts.scripts_img2img.initialize_scripts(is_img2img=True)
    extra_networks.initialize()
    script_callbacks.before_ui_callback()


def default_script_args(runner: Any) -> list[Any]:
    """The argument list with every control at its start value."""
    import gradio as gr

    if len(runner.inputs) == 1:
        with gr.Blocks():
            runner.setup_ui()
    return [0] + [control.value for control in runner.inputs[1:]]


def page(arguments: list[str]) -> int:
    """`python -m miniwebui`: the page, until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m miniwebui")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--ckpt", help="checkpoint of Stable Diffusion 1.x")
    options, _ = parser.parse_known_args(arguments)
    initialize(options.ckpt)
    import gradio as gr

    from modules import extensions, ui

    gr.routes.templates.TemplateResponse = ui.add_scripts(gr.routes.templates.TemplateResponse)
    allowed = [str(HERE), *(extension.path for extension in extensions.active())]
    blocks = ui.create_ui().queue(concurrency_count=4)
    blocks.launch(server_name="127.0.0.1", server_port=options.port, allowed_paths=allowed)
    return 0


if __name__ == "__main__":
    sys.path[0] = str(HERE.parent)  # `miniwebui` is a package of the folder above this file's
    sys.path.insert(0, str(HERE))
    import logging

    from miniwebui.render import render

    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    for noisy in ("httpx", "asyncio", "diffusers", "transformers"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    sys.exit({"render": render, "page": page}[sys.argv[1]](sys.argv[2:]))
