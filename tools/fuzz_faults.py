"""Raise an error at a random call of ours or of the host's in a generation, and see that nothing of it is left.

    python -m tools.fuzz_faults --count 200 --seed 1

Each time a function is drawn among all that a generation calls, then one of its calls. Afterwards no function, class,
layer or setting of the host may be another one, and the next picture must be right to the bit.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from io import StringIO
from itertools import count
from pathlib import Path
from types import CodeType, FrameType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from PIL import Image

from miniwebui import webui
from miniwebui.render import draw_once

ROOT = Path(__file__).resolve().parent.parent
WATCHED = tuple(
    f"{ROOT}/{folder}/" for folder in ("tile_utils", "tile_methods", "tile_host", "scripts", "miniwebui")
)
UNDOING = {"_give_back", "_end", "__setattr__"}
"""What sets an attribute or one of the host's settings back, and what closes: these cannot fail by themselves."""
ERRORS = (RuntimeError, MemoryError, torch.OutOfMemoryError, KeyError)

LEFT = {"enable": True, "x": 0, "y": 0, "w": 0.5, "h": 1, "prompt": "balloon <lora:snow:0.5>", "seed": 3}
RIGHT = {**LEFT, "x": 0.625, "w": 0.25, "prompt": "moon", "blend_mode": "Foreground", "seed": 4}
TILES = {"enabled": True, "tile_width": 16, "tile_height": 16, "overlap": 8}
REGIONS = {**TILES, "enable_bbox_control": True, "draw_background": True, "regions": [LEFT, RIGHT]}
VAE = {"enabled": True, "encoder_tile_size": 256, "decoder_tile_size": 48}


def scenarios(folder: Path) -> dict[str, list[str]]:
    """Arguments of `render` by name; `folder` takes their pictures."""
    picture, mask = folder / "picture.png", folder / "mask.png"
    values = np.random.default_rng(1).integers(0, 255, (8, 16, 3)).astype(np.uint8)
    Image.fromarray(values).resize((512, 64), Image.Resampling.BICUBIC).save(picture)
    Image.linear_gradient("L").resize((512, 64)).point(lambda value: 255 * (value > 128)).save(mask)
    start = ["--init", str(picture), "--denoise", "0.9"]
    upscaled = {"upscaler_name": "Lanczos", "scale_factor": 1.5}
    inversion = {"noise_inverse": True, "noise_inverse_steps": 2}
    size = ["--width", "512", "--height", "64"]
    return {
        "plain": size,
        "regions, hires": [*size, *with_scripts(REGIONS, VAE), "--hires-scale", "1.5"],
        "overwritten size, batches": [
            *size,
            *with_scripts({**TILES, "overwrite_size": True, "image_width": 256, "image_height": 256}, VAE),
            *("--batch-count", "2"),
        ],
        "regions, inversion": [*start, *with_scripts({**REGIONS, **inversion}, VAE)],
        "upscaled, fast VAE": [*start, *with_scripts({**TILES, **upscaled}, {**VAE, "fast_decoder": True})],
        "inpainting": [*start, "--mask", str(mask), *with_scripts(REGIONS, VAE)],
    }


def with_scripts(diffusion: dict[str, Any], vae: dict[str, Any]) -> list[str]:
    """Options of `render` for both scripts."""
    return ["--script", "Tiled Diffusion", json.dumps(diffusion), "--script", "Tiled VAE", json.dumps(vae)]


def drawn(arguments: list[str], prompt: str = "sea, day") -> list[np.ndarray]:
    """The pictures of one generation."""
    pictures = draw_once(*arguments, "--prompt", prompt, "--steps", "2", "--sampler", "Euler", "--seed", "7")
    return [np.asarray(picture) for picture in pictures]


@contextmanager
def followed(seen: Callable[[CodeType], None]) -> Iterator[None]:
    """Call `seen` with the code of every function of ours or the host's that is entered; it may raise, once."""

    def profile(frame: FrameType, event: str, _argument: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(WATCHED) and code.co_name not in UNDOING:
            seen(code)

    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(None)


def calls_of(draw: Callable[[], Any]) -> Counter[CodeType]:
    """How often a generation enters each function."""
    counts: Counter[CodeType] = Counter()
    with followed(lambda code: counts.update([code])):
        draw()
    return counts


class Fault:
    """Raises `error` at one call of a function; `happened` says whether it was reached."""

    def __init__(self, code: CodeType, number: int, error: Exception) -> None:
        self._code, self._left, self._error = code, number, error
        self.happened = False

    def __call__(self, code: CodeType) -> None:
        if code is self._code and not self.happened:
            self._left -= 1
            if self._left == 0:
                self.happened = True
                raise self._error


def host_state() -> dict[Any, Any]:
    """What a patch could change: functions and classes of the host, its settings, the classes and methods of layers."""
    shared: Any = sys.modules["modules.shared"]
    kinds = (FunctionType, MethodType, type, property)
    state: dict[Any, Any] = {"settings": dict(shared.opts.data)}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] not in ("modules", "networks", "k_diffusion"):
            continue
        for key, value in vars(module).items():
            if isinstance(value, kinds):
                state[name, key] = value
            if isinstance(value, type):
                state |= {
                    (name, key, member): found
                    for member, found in vars(value).items()
                    if isinstance(found, kinds)
                }
    for name, layer in shared.sd_model.named_modules():
        state["layer", name] = type(layer)
        own = {
            key: value for key, value in vars(layer).items() if callable(value) and not key.startswith("_")
        }
        state |= {("layer", name, key): value for key, value in own.items()}
    return state


def changed(before: dict[Any, Any], after: dict[Any, Any]) -> list[str]:
    """What is another one or gone, and what layers have of their own that they had not."""
    mine = [key for key in {**before, **after} if key in before or key[0] == "layer"]
    return [str(key) for key in mine if before.get(key) != after.get(key)]


def fuzz(seed: int, number: int, folder: Path, say: Callable[[str], None] = print) -> tuple[int, list[str]]:
    """`number` faults in the loaded host. -> (how many were reached, one sentence for each that left something)"""
    chance, known = random.Random(seed), scenarios(folder)
    right = {name: drawn(arguments) for name, arguments in known.items()}
    prompts = (
        f"sea, day {i}" for i in count()
    )  # what is kept of an earlier prompt would not be called again
    functions = {
        name: calls_of(lambda arguments=arguments: drawn(arguments, next(prompts)))  # type: ignore[misc]
        for name, arguments in known.items()
    }
    before, reached, found = host_state(), 0, []
    for i in range(number):
        name, following = chance.choice(list(known)), chance.choice(list(known))
        code = chance.choice(
            sorted(functions[name], key=lambda code: (code.co_filename, code.co_firstlineno))
        )
        fault = Fault(code, chance.randint(1, functions[name][code]), chance.choice(ERRORS)("a fault"))
        with suppress(*ERRORS, ValueError, TypeError, AttributeError), followed(fault):
            drawn(known[name], next(prompts))
        reached += fault.happened
        after = host_state()
        left = changed(before, after)
        same = all(
            np.array_equal(*pair) for pair in zip(drawn(known[following]), right[following], strict=True)
        )
        if left or not same:
            where = f"{Path(code.co_filename).relative_to(ROOT)}:{code.co_firstlineno} {code.co_name}"
            found.append(
                f"{i}: {name}, {where}: left {left[:5]}; the next picture, {following}, right: {same}"
            )
            say(found[-1])
            before = after
    return reached, found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    webui.initialize()
    with tempfile.TemporaryDirectory() as folder, redirect_stderr(StringIO()), redirect_stdout(StringIO()):
        reached, found = fuzz(
            options.seed,
            options.count,
            Path(folder),
            lambda text: print(text, file=sys.__stdout__, flush=True),
        )
    print(f"{reached} of {options.count} faults reached, {len(found)} left something.")
    return bool(found)


if __name__ == "__main__":
    raise SystemExit(main())
