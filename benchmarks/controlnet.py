"""Does a picture drawn with the demo ControlNet have its hint's edges, in tiles too?

.venv/bin/python benchmarks/controlnet.py [--hints 20] [--steps 20] [--sizes 1024x256] [--keep scores.json]
    [--sheet sheet.png]     (from the repository's root)

Hints are Canny's edges of painted scenes that the network has not seen; prompts say where and when, not what stands
there. A picture's edges, found in the same way, are compared with them: F1 of precision and recall, where an edge
counts that has one of the other's within so many pixels. Wide pictures are drawn in tiles. "Whole, piece by piece":
the hint is cut into pieces of the native width, each is drawn as a picture of its own, and their edges are put side by
side; "squeezed": every tile sees the whole hint. With `--keep` the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import distance_transform_edt
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from miniwebui import render, webui  # noqa: E402
from painted_world.export import CHECKPOINT  # noqa: E402
from painted_world.lines import edges  # noqa: E402
from painted_world.painter import View, paint_view, random_scene  # noqa: E402

TOLERANCES = (4, 16)
"""Pixels: half a latent pixel, and two."""
THRESHOLDS = 0.15, 0.3
SIZES = ((256, 256), (1024, 256), (256, 512), (1024, 512))
NATIVE = 256
"""Pictures of this width are drawn whole, wider ones in tiles of it."""
Edges = NDArray[np.bool_]


def edge_f1(found: Edges, wanted: Edges, tolerance: float) -> float:
    """2 · precision · recall / (precision + recall) of edges [H, W]; 1 where there are none at all."""
    if not found.any() or not wanted.any():
        return float(found.any() == wanted.any())
    precision = (distance_transform_edt(~wanted)[found] <= tolerance).mean()
    recall = (distance_transform_edt(~found)[wanted] <= tolerance).mean()
    return float(2 * precision * recall / max(1e-9, precision + recall))


def scene_with_lines(number: int, width: int, height: int) -> tuple[str, Edges, NDArray[np.uint8]]:
    """(prompt, edges, painting) of scene `number`; the prompt says where and when, not what stands there."""
    rng = np.random.default_rng((5150, number, width, height))
    zoom = height / 256
    scene = random_scene(rng, 0, width / zoom, styled=0)
    painted = paint_view(scene, rng, View(width, height, zoom))
    return f"{scene.ground}, {scene.time}", edges(painted, *THRESHOLDS), painted


def drawn(prompt: str, size: tuple[int, int], seed: int, steps: int, *options: str) -> NDArray[np.uint8]:
    sides = ("--width", str(size[0]), "--height", str(size[1]))
    given = ("--prompt", prompt, "--seed", str(seed), "--steps", str(steps), *sides, *options)
    return np.asarray(render.draw_once(*given)[0])


def unit(lines: Edges, folder: Path) -> tuple[str, str]:
    """The option of `render` that draws after these lines."""
    path = folder / "lines.png"
    Image.fromarray(np.where(lines, np.uint8(255), np.uint8(0))).save(path)
    settings = {"image": str(path), "model": "demo-lines", "save_detected_map": False}
    return "--controlnet", json.dumps(settings)


@contextmanager
def squeezed() -> Iterator[None]:
    """Inside, every tile is shown the whole hint."""
    from tile_host.hosts import controlnet  # imports the host, which must have been started

    showing = controlnet._Unit.showing

    def whole(unit: Any, cuts: dict[str, Tensor], *more: Any) -> Any:
        like = cuts["hint_cond"]
        hint = F.interpolate(unit.whole()["hint_cond"], like.shape[-2:], mode="area").expand(
            len(like), -1, -1, -1
        )
        return showing(unit, {"hint_cond": hint}, *more)

    with patch.object(controlnet._Unit, "showing", whole):
        yield


def tiles(size: tuple[int, int]) -> tuple[str, ...]:
    """The options that draw a wide picture in tiles of its height."""
    settings = {"enabled": True, "method": "Mixture of Diffusers", "overlap": 16, "tile_width": NATIVE // 8}
    given = "--script", "Tiled Diffusion", json.dumps({**settings, "tile_height": size[1] // 8})
    return given if size[0] > NATIVE else ()


def ways_to_draw(
    prompt: str, lines: Edges, size: tuple[int, int], seed: int, steps: int, folder: Path
) -> dict[str, Callable[[], list[NDArray[np.uint8]]]]:
    """Each way as a function that gives the pictures it draws, from the left."""

    def whole(*options: str) -> list[NDArray[np.uint8]]:
        return [drawn(prompt, size, seed, steps, *tiles(size), *options)]

    def with_the_hint_squeezed() -> list[NDArray[np.uint8]]:
        with squeezed():
            return whole(*unit(lines, folder))

    def in_pieces() -> list[NDArray[np.uint8]]:
        pieces = [lines[:, left : left + NATIVE] for left in range(0, size[0], NATIVE)]
        return [
            drawn(prompt, (NATIVE, size[1]), seed + number, steps, *unit(piece, folder))
            for number, piece in enumerate(pieces)
        ]

    ways = {"no hint": whole, "hint": lambda: whole(*unit(lines, folder))}
    if size[0] > NATIVE:
        ways |= {"whole, piece by piece": in_pieces, "squeezed": with_the_hint_squeezed}
    return ways


class Scores:
    """F1 of each picture within TOLERANCES, by what was drawn; kept in a file, if one is named."""

    def __init__(self, kept: Path | None) -> None:
        self._kept = kept
        self._of: dict[str, list[float]] = json.loads(kept.read_text()) if kept and kept.exists() else {}

    def __contains__(self, key: str) -> bool:
        return key in self._of

    def put(self, key: str, pictures: Sequence[NDArray[np.uint8]], lines: Edges) -> None:
        found = np.concatenate([edges(picture, *THRESHOLDS) for picture in pictures], axis=1)
        self._of[key] = [edge_f1(found, lines, tolerance) for tolerance in TOLERANCES]
        if self._kept:
            self._kept.write_text(json.dumps(self._of))

    def mean(self, keys: Sequence[str]) -> str:
        means = np.mean([self._of[key] for key in keys], axis=0)
        return ", ".join(f"{mean:.3f} within {t}" for mean, t in zip(means, TOLERANCES)) + " pixels"


def compare(
    size: tuple[int, int], hints: int, steps: int, scores: Scores, folder: Path, show: bool
) -> list[NDArray[np.uint8]]:
    """Print the mean F1 of each way to draw; with `show` the pictures of each hint in a row."""
    keys: dict[str, list[str]] = {}
    rows = []
    for number in range(hints):
        prompt, lines, painted = scene_with_lines(number, *size)
        shown = [painted, np.repeat(np.where(lines, np.uint8(0), np.uint8(255))[..., None], 3, axis=2)]
        for way, draw in ways_to_draw(prompt, lines, size, number + 1, steps, folder).items():
            key = f"{size[0]}x{size[1]}, {way}, {steps} steps, {number}"
            keys.setdefault(way, []).append(key)
            if show or key not in scores:
                pictures = draw()
                scores.put(key, pictures, lines)
                shown.append(np.concatenate(pictures, axis=1))
        rows.append(np.concatenate(shown, axis=1 if size[0] <= size[1] else 0) if show else painted)
    for way, of_way in keys.items():
        print(f"{size[0]}x{size[1]}, {way}: {scores.mean(of_way)}", flush=True)
    return rows


def a_size(given: str) -> tuple[int, int]:
    width, height = map(int, given.split("x"))
    return width, height


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hints", type=int, default=20)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--sizes", type=a_size, nargs="+", default=SIZES, metavar="WIDTHxHEIGHT")
    parser.add_argument("--keep", type=Path, help="where to keep the scores (JSON), and to go on from")
    parser.add_argument("--sheet", type=Path, help="where to show all pictures (PNG)")
    options = parser.parse_args(arguments)
    webui.initialize(str(CHECKPOINT))
    with tempfile.TemporaryDirectory() as folder:
        scores = Scores(options.keep)
        for size in options.sizes:
            rows = compare(size, options.hints, options.steps, scores, Path(folder), bool(options.sheet))
            if options.sheet:
                name = f"{options.sheet.stem}-{size[0]}x{size[1]}.png"
                Image.fromarray(np.concatenate(rows)).save(options.sheet.with_name(name))


if __name__ == "__main__":
    main()
