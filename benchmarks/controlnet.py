"""Does a picture drawn with the demo ControlNet have its hint's edges, in tiles too?

.venv/bin/python benchmarks/controlnet.py [--hints 20] [--steps 20] [--sheet sheet.png]     (from the repository's root)

Hints are Canny's edges of painted scenes that the network has not seen; prompts say where and when, not what stands
there. A picture's edges, found in the same way, are compared with them: F1 of precision and recall, where an edge
counts that has one of the other's within so many pixels. "Squeezed": every tile sees the whole hint.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
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


def compare(size: tuple[int, int], hints: int, steps: int, folder: Path) -> list[NDArray[np.uint8]]:
    """Print the mean F1 of each way to draw; the pictures of each hint in a row."""
    scores: dict[str, list[list[float]]] = {}
    rows = []
    for number in range(hints):
        prompt, lines, painted = scene_with_lines(number, *size)
        shown = [painted, np.repeat(np.where(lines, np.uint8(0), np.uint8(255))[..., None], 3, axis=2)]
        ways = {"no hint": (nullcontext(), ()), "hint": (nullcontext(), unit(lines, folder))}
        if size[0] > NATIVE:
            ways["squeezed"] = squeezed(), unit(lines, folder)
        for name, (context, options) in ways.items():
            with context:
                picture = drawn(prompt, size, number + 1, steps, *tiles(size), *options)
            found = edges(picture, *THRESHOLDS)
            scores.setdefault(name, []).append([edge_f1(found, lines, tolerance) for tolerance in TOLERANCES])
            shown.append(picture)
        rows.append(np.concatenate(shown, axis=1 if size[0] <= size[1] else 0))
    for name, values in scores.items():
        told = ", ".join(f"{mean:.3f} within {t}" for mean, t in zip(np.mean(values, axis=0), TOLERANCES))
        print(f"{size[0]}x{size[1]}, {name}: {told} pixels", flush=True)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hints", type=int, default=20)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--sheet", type=Path, help="where to show all pictures (PNG)")
    options = parser.parse_args(arguments)
    webui.initialize(str(CHECKPOINT))
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            rows = compare(size, options.hints, options.steps, Path(folder))
            if options.sheet:
                name = f"{options.sheet.stem}-{size[0]}x{size[1]}.png"
                Image.fromarray(np.concatenate(rows)).save(options.sheet.with_name(name))


if __name__ == "__main__":
    main()
