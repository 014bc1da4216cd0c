"""Drawing without a page: `python -m miniwebui render`, and the same as a call."""

from __future__ import annotations

import argparse
import difflib
import json
import os
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from miniwebui import webui


class UsageError(Exception):
    """The command line asks for something that does not exist; the text is one sentence."""


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.3)
    return f"did you mean '{near[0]}'?" if near else f"known are: {', '.join(known) or 'none'}."


def script_args(runner: Any, requests: list[tuple[str, str]]) -> list[Any]:
    """The argument list with the settings of each (title, JSON) put in.

    Raises:
        UsageError: no such script, or the text is no JSON object.
        ValueError: the script refuses a setting.
    """
    args = webui.default_script_args(runner)
    for title, text in requests:
        script = runner.script(title)
        if script is None or script.args_from is None:
            known = [script.title() for script in runner.alwayson_scripts]
            raise UsageError(f"There is no script '{title}'; {_nearest(title, known)}")
        try:
            settings = json.loads(text)
        except json.JSONDecodeError as error:
            raise UsageError(f"The settings of '{title}' are not JSON: {error}.") from error
        if not isinstance(settings, dict):
            raise UsageError(f"The settings of '{title}' are not a JSON object.")
        args[script.args_from : script.args_to] = _values(script, settings)
    return args


def _values(script: Any, settings: dict[str, Any]) -> list[Any]:
    """The script's arguments: from the script itself where it reads settings by name, else by label."""
    if hasattr(script, "args_from_settings"):
        return script.args_from_settings(settings)
    values = {control.label: control.value for control in script.controls}
    for name, value in settings.items():
        if name not in values:
            raise UsageError(f"'{script.title()}' has no control '{name}'; {_nearest(name, list(values))}")
        values[name] = value
    return list(values.values())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m miniwebui render", description="Draw a picture.")
    parser.add_argument("--prompt", default="")
    parser.add_argument("--negative", default="")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--cfg", type=float, default=4.0)
    parser.add_argument("--sampler", default="DPM++ 2M")
    parser.add_argument("--scheduler", default="Automatic")
    parser.add_argument("--seed", type=int, default=-1)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--batch-count", type=int, default=1)
    parser.add_argument("--init", type=Path, help="picture to start from (img2img)")
    parser.add_argument("--mask", type=Path, help="white where the picture may change")
    parser.add_argument("--denoise", type=float, default=0.75)
    parser.add_argument("--hires-scale", type=float, help="draw a second pass, this much larger")
    parser.add_argument("--hires-steps", type=int, default=0)
    parser.add_argument("--hires-upscaler", default="Latent")
    parser.add_argument("--hires-sampler")
    parser.add_argument("--ckpt", help="checkpoint of Stable Diffusion 1.x")
    parser.add_argument("--extension", action="append", help="folder of one more extension")
    parser.add_argument("--script", nargs=2, action="append", default=[], metavar=("TITLE", "JSON"))
    parser.add_argument("--out", type=Path, required=True, help="where the picture goes (PNG)")
    return parser


def draw_once(*arguments: str) -> list[Any]:
    """The pictures that `render` would write with these arguments, for benchmarks and scripts."""
    from modules import shared

    shared.cmd_opts.disable_console_progressbars = True
    processed = draw(_parser().parse_args([*arguments, "--out", "unused"]))
    return processed.images[processed.index_of_first_image :]


def _check(options: argparse.Namespace) -> None:
    """Refuse, in one sentence, what no generation could draw."""
    from modules import sd_samplers

    for name in ("width", "height"):
        size = getattr(options, name)
        if size < 64 or size % 8:
            raise UsageError(f"--{name} is {size}; allowed are multiples of 8 from 64.")
    for name in ("steps", "batch_size", "batch_count"):
        if getattr(options, name) < 1:
            raise UsageError(f"--{name.replace('_', '-')} is {getattr(options, name)}; allowed is 1 or more.")
    if not 0 <= options.denoise <= 1:
        raise UsageError(f"--denoise is {options.denoise:g}; allowed is 0 to 1.")
    for name in ("sampler", "hires_sampler"):
        wanted = getattr(options, name)
        if wanted is not None and wanted not in sd_samplers.all_samplers_map:
            nearest = _nearest(wanted, list(sd_samplers.all_samplers_map))
            raise UsageError(f"There is no sampler '{wanted}'; {nearest}")
    for name in ("init", "mask"):
        path = getattr(options, name)
        if path is not None and not path.is_file():
            raise UsageError(f"--{name} is {path}; there is no such file.")


def _processing(options: argparse.Namespace) -> Any:
    """The host's processing object for these options."""
    from PIL import Image, ImageOps

    from modules import processing, scripts, shared

    common = {
        "sd_model": shared.sd_model,
        "prompt": options.prompt,
        "negative_prompt": options.negative,
        "width": options.width,
        "height": options.height,
        "steps": options.steps,
        "cfg_scale": options.cfg,
        "sampler_name": options.sampler,
        "scheduler": options.scheduler,
        "seed": options.seed,
        "batch_size": options.batch_size,
        "n_iter": options.batch_count,
        "do_not_save_samples": True,
        "do_not_save_grid": True,
    }
    if options.init is None:
        runner = scripts.scripts_txt2img
        hires: dict[str, Any] = {}
        if options.hires_scale:
            hires = {
                "enable_hr": True,
                "hr_scale": options.hires_scale,
                "hr_second_pass_steps": options.hires_steps,
                "hr_upscaler": options.hires_upscaler,
                "hr_sampler_name": options.hires_sampler,
                "denoising_strength": options.denoise,
            }
        p = processing.StableDiffusionProcessingTxt2Img(**common, **hires)
    else:
        runner = scripts.scripts_img2img
        mask = Image.open(options.mask).convert("L") if options.mask else None
        p = processing.StableDiffusionProcessingImg2Img(
            **common,
            init_images=[ImageOps.exif_transpose(Image.open(options.init))],
            mask=mask,
            denoising_strength=options.denoise,
        )
    p.scripts = runner
    p.script_args = tuple(script_args(runner, options.script))
    return p


def _save(processed: Any, out: Path) -> list[Path]:
    """Each picture with its infotext; a file is there whole or not at all."""
    from PIL import PngImagePlugin

    start = processed.index_of_first_image
    written = []
    for number, (image, text) in enumerate(zip(processed.images[start:], processed.infotexts[start:])):
        path = out if number == 0 else out.with_name(f"{out.stem}-{number}{out.suffix}")
        info = PngImagePlugin.PngInfo()
        info.add_text("parameters", text)
        handle, temporary = tempfile.mkstemp(suffix=".png", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            image.save(file, format="PNG", pnginfo=info)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        written.append(path)
    return written


def draw(options: argparse.Namespace) -> Any:
    """What the host's `process_images` gives for these options of `render`.

    Raises:
        UsageError, ValueError, OSError: they cannot be drawn; the text is one sentence.
    """
    from modules import processing, shared

    _check(options)
    p = _processing(options)
    shared.state.begin(job="render")
    try:
        with closing(p):
            return processing.process_images(p)
    finally:
        shared.state.end()
        shared.total_tqdm.clear()


def render(arguments: list[str]) -> int:
    """`python -m miniwebui render`: draw, save, say where. Exit status 2 for what cannot be drawn."""
    options = _parser().parse_args(arguments)
    webui.initialize(options.ckpt)
    try:
        if not options.out.resolve().parent.is_dir():
            raise UsageError(f"--out is {options.out}; there is no folder {options.out.resolve().parent}.")
        processed = draw(options)
    except (UsageError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    for path in _save(processed, options.out):
        print(f"Wrote {path}")
    return 0
