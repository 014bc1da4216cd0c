"""Raise an error at a random call of ours or of the host's in a generation, and see that nothing of it is left.

    python -m tools.fuzz_faults --count 200 --seed 1 [--keep faults.json]

Each time a function is drawn among all that a generation calls, then one of its calls. Afterwards no function, class,
layer or setting of the host may be another one, and the next picture must be right to the bit. With `--keep` the same
command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
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
    Image.fromarray(values).resize((256, 64), Image.Resampling.BICUBIC).save(picture)
    Image.linear_gradient("L").resize((256, 64)).point(lambda value: 255 * (value > 128)).save(mask)
    start = ["--init", str(picture), "--denoise", "0.9"]
    upscaled = {"upscaler_name": "Lanczos", "scale_factor": 2}
    inversion = {"noise_inverse": True, "noise_inverse_steps": 2}
    size = ["--width", "256", "--height", "64"]
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


class Fuzzer:
    """Raises errors in the loaded host's generations, and looks at what is left."""

    def __init__(self, folder: Path) -> None:
        self._known = scenarios(folder)
        self._right = {name: drawn(arguments) for name, arguments in self._known.items()}
        # What is kept of an earlier prompt would not be called again.
        self._prompts = (f"sea, day {i}" for i in count())
        self._functions = {
            name: calls_of(lambda arguments=arguments: drawn(arguments, next(self._prompts)))  # type: ignore[misc]
            for name, arguments in self._known.items()
        }
        self._before = host_state()

    def try_one(self, chance: random.Random) -> tuple[bool, str | None]:
        """One fault. -> (was it reached, a sentence if it left something)"""
        name, following = chance.choice(list(self._known)), chance.choice(list(self._known))
        counts = self._functions[name]
        code = chance.choice(sorted(counts, key=lambda code: (code.co_filename, code.co_firstlineno)))
        fault = Fault(code, chance.randint(1, counts[code]), chance.choice(ERRORS)("a fault"))
        with suppress(*ERRORS, ValueError, TypeError, AttributeError), followed(fault):
            drawn(self._known[name], next(self._prompts))
        after = host_state()
        left = changed(self._before, after)
        pairs = zip(drawn(self._known[following]), self._right[following], strict=True)
        same = all(np.array_equal(*pair) for pair in pairs)
        if not left and same:
            return fault.happened, None
        self._before = after
        where = f"{Path(code.co_filename).relative_to(ROOT)}:{code.co_firstlineno} {code.co_name}"
        return (
            fault.happened,
            f"{name}, {where}: left {left[:5]}; the next picture, {following}, right: {same}",
        )


@dataclass
class Tally:
    """What came of all faults so far."""

    tried: int = 0
    reached: int = 0
    found: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def go_on(self, seed: int, number: int, folder: Path, after_each: Callable[[], None]) -> None:
        """Until there are `number` of them. Each is drawn anew from the seed and its own number."""
        fuzzer = Fuzzer(folder)
        while self.tried < number:
            start = time.process_time()
            reached, sentence = fuzzer.try_one(random.Random(f"{seed}/{self.tried}"))
            self.reached += reached
            self.found += [f"{self.tried}: {sentence}"] if sentence else []
            self.tried, self.seconds = self.tried + 1, self.seconds + time.process_time() - start
            after_each()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="where to keep what came of it (JSON), and to go on from")
    options = parser.parse_args()
    kept = options.keep
    tally = Tally(**json.loads(kept.read_text())) if kept and kept.exists() else Tally()

    def keep() -> None:
        if kept:
            kept.write_text(json.dumps(vars(tally)))

    logging.disable(logging.CRITICAL)
    webui.initialize()
    with tempfile.TemporaryDirectory() as folder, redirect_stderr(StringIO()), redirect_stdout(StringIO()):
        tally.go_on(options.seed, options.count, Path(folder), keep)
    print(*tally.found, sep="\n")
    print(
        f"{tally.reached} of {tally.tried} faults reached, {len(tally.found)} left something;"
        f" {tally.seconds:.0f} seconds of the processor."
    )
    return bool(tally.found)


if __name__ == "__main__":
    raise SystemExit(main())
