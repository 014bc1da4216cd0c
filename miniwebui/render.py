"""Drawing without a page: `python -m miniwebui render`, and the same as a call."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from miniwebui.render_options import UsageError, check, nearest, parser, processing_object


def script_args(runner: Any, requests: list[tuple[str, str]], units: Sequence[str] = ()) -> list[Any]:
    """The argument list with the settings of each (title, JSON), and ControlNet's units (JSON), put in.

    Raises:
        UsageError: no such script, or the text is no JSON object.
        ValueError: the script refuses a setting.
    """
    args = runner.default_args()
    for title, text in requests:
        script = _known_script(runner, title)
        args[script.args_from : script.args_to] = _values(script, _settings(title, text))
    if units:
        script = _known_script(runner, "ControlNet")
        made = script.args_from_settings(*(_settings("ControlNet", text) for text in units))
        args[script.args_from : script.args_to] = made
    return args


def _known_script(runner: Any, title: str) -> Any:
    """The always-on script of that title. Raises UsageError if there is none."""
    script = runner.script(title)
    if script is None or script.args_from is None:
        known = [script.title() for script in runner.alwayson_scripts]
        raise UsageError(f"There is no script '{title}'; {nearest(title, known)}")
    return script


def _settings(title: str, text: str) -> dict[str, Any]:
    """The JSON object in `text`. Raises UsageError if it is none."""
    try:
        settings = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"The settings of '{title}' are not JSON: {error}.") from error
    if not isinstance(settings, dict):
        raise UsageError(f"The settings of '{title}' are not a JSON object.")
    return settings


def _values(script: Any, settings: dict[str, Any]) -> list[Any]:
    """The script's arguments: from the script itself where it reads settings by name, else by label."""
    if hasattr(script, "args_from_settings"):
        return script.args_from_settings(settings)
    values = {control.label: control.value for control in script.controls}
    for name, value in settings.items():
        if name not in values:
            raise UsageError(f"'{script.title()}' has no control '{name}'; {nearest(name, list(values))}")
        values[name] = value
    return list(values.values())


def draw_once(*arguments: str) -> list[Any]:
    """The pictures that `render` would write with these arguments, for benchmarks and scripts."""
    from modules import shared

    shared.cmd_opts.disable_console_progressbars = True
    processed = draw(parser().parse_args([*arguments, "--out", "unused.png"]))
    return processed.images[processed.index_of_first_image :]


def _save(processed: Any, out: Path) -> list[Path]:
    """Each picture with its infotext; a file is there whole or not at all."""
    from PIL import PngImagePlugin

    from modules import util

    start = processed.index_of_first_image
    written = []
    for number, (image, text) in enumerate(zip(processed.images[start:], processed.infotexts[start:])):
        path = out if number == 0 else out.with_name(f"{out.stem}-{number}{out.suffix}")
        info = PngImagePlugin.PngInfo()
        info.add_text("parameters", text)
        with io.BytesIO() as buffer:
            image.save(buffer, format="PNG", pnginfo=info)
            util.write_bytes(path, buffer.getvalue())
        written.append(path)
    return written


def _with_scripts(p: Any, options: argparse.Namespace) -> Any:
    """The processing object with the always-on scripts of its tab, set as `--script` and `--controlnet` say."""
    from modules import scripts

    p.is_api = True  # the page's own controls do not set it up
    p.scripts = (
        scripts.scripts_txt2img
        if options.init is None and options.init_dir is None
        else scripts.scripts_img2img
    )
    p.script_args = tuple(script_args(p.scripts, options.script, options.controlnet))
    return p


def _drawn(options: argparse.Namespace, work: Callable[[Any], Any]) -> Any:
    """What `work` makes of the processing object for these options.

    Raises:
        UsageError, ValueError, OSError: it cannot be drawn; the text is one sentence.
    """
    from modules import shared

    p = _with_scripts(processing_object(options), options)
    shared.state.begin(job="render")
    try:
        with closing(p):
            return work(p)
    finally:
        shared.state.end()
        shared.total_tqdm.clear()


def draw(options: argparse.Namespace) -> Any:
    """What the host's `process_images` gives for these options of `render`; raises as `_drawn`."""
    from modules import processing

    check(options)
    return _drawn(options, processing.process_images)


def draw_folder(options: argparse.Namespace) -> list[Path]:
    """Every picture of `--init-dir` into `--out-dir`, under its own name; what was written. Raises as `_drawn`."""
    from modules import img2img_batch

    check(options)
    before = _times(options.out_dir)
    own_size = options.width is None and options.height is None

    def work(p: Any) -> Any:
        folders = str(options.init_dir), str(options.out_dir), options.mask_dir and str(options.mask_dir)
        return img2img_batch.process_batch(p, *folders, p.script_args, to_scale=own_size)

    if _drawn(options, work) is None:
        raise UsageError(f"--init-dir is {options.init_dir}; nothing in it could be drawn.")
    return sorted(path for path, time in _times(options.out_dir).items() if before.get(path) != time)


def _times(folder: Path) -> dict[Path, int]:
    """When each file was written last."""
    return {path: path.stat().st_mtime_ns for path in folder.iterdir()}


def render(options: argparse.Namespace) -> int:
    """`python -m miniwebui render`: draw, save, say where. Exit status 2 for what cannot be drawn."""
    from modules import shared

    shared.cmd_opts.no_prompt_history = True  # it is the page that goes on where it was left
    try:
        written = draw_folder(options) if options.init_dir else _save(draw(options), options.out)
    except (UsageError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    for path in written:
        print(f"Wrote {path}")
    return 0
