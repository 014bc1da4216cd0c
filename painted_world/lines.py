"""Lines of painted pictures: what the demo ControlNet is shown. As a program, an ink drawing of a wide scene:

.venv/bin/python -m painted_world.lines drawing.png [--ground meadow] [--width 5632] [--height 256] [--seed 1]
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from skimage.color import rgb2gray
from skimage.feature import canny
from torch import Tensor

from painted_world import files
from painted_world.canvases import read_canvases
from painted_world.painter import GROUNDS, MARGIN, SIZE, Scene, View, paint_view, random_thing, things_of
from painted_world.painter.canvas import Rng

SKETCHES = 3
"""Cached of each canvas, with thresholds of their own; one of them is drawn at every step."""
LOW_THRESHOLDS, HIGH_OVER_LOW = (0.05, 0.25), (1.5, 3.0)
"""Of Canny's gradient over grey values 0 ... 1: from every blade of grass to the outlines alone."""


def edges(image: NDArray[np.uint8], low: float, high: float) -> NDArray[np.bool_]:
    """Canny's edges (doi:10.1109/TPAMI.1986.4767851) behind a Gaussian of one pixel. [H, W, 3] -> [H, W]"""
    found: NDArray[np.bool_] = canny(rgb2gray(image), 1.0, low, high)
    return found


def random_edges(image: NDArray[np.uint8], rng: Rng) -> NDArray[np.bool_]:
    """With thresholds that are drawn evenly over their logarithms. [H, W, 3] -> [H, W]"""
    low = float(np.exp(rng.uniform(*np.log(LOW_THRESHOLDS))))
    return edges(image, low, low * float(rng.uniform(*HIGH_OVER_LOW)))


def _sketch_shard(canvases: Path, out: Path, seed: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    sketches = [
        [
            np.packbits(random_edges(canvas.image, rng)[MARGIN:-MARGIN, MARGIN:-MARGIN], -1)
            for _ in range(SKETCHES)
        ]
        for canvas in read_canvases([canvases])
    ]
    files.save(torch.from_numpy(np.array(sketches)), out)


def sketch_canvases(work: Path, seed: int, processes: int) -> None:
    """Find the lines of the cached canvases, where that is not done yet or older than the canvases."""
    with ProcessPoolExecutor(processes) as pool:
        running = []
        for number, canvases in enumerate(sorted(work.glob("canvases-*.pkl"))):
            out = work / canvases.name.replace("canvases", "lines").replace(".pkl", ".pt")
            if not out.exists() or out.stat().st_mtime < canvases.stat().st_mtime:
                running.append(pool.submit(_sketch_shard, canvases, out, (seed, number)))
        for future in running:
            future.result()


def read_lines(work: Path, kind: str) -> Tensor:
    """Lines of this kind of canvas, eight pixels a byte. [N, SKETCHES, height, width / 8], uint8"""
    return torch.cat([files.load(path) for path in sorted(work.glob(f"lines-{kind}-*.pt"))])


def unpacked(lines: Tensor) -> Tensor:
    """[..., w / 8] of `read_lines` -> 1 where a line is, 0 elsewhere, [..., w]."""
    return torch.from_numpy(np.unpackbits(lines.numpy(), axis=-1)).float()


def drawn_by_hand(lines: Tensor, generator: torch.Generator) -> Tensor:
    """One drawing as it may come: thin, thick, soft, pale, or with gaps. [H, W] -> [H, W], 0 ... 1"""

    def chance() -> float:
        return float(torch.rand((), generator=generator))

    x = lines[None, None]
    if chance() < 0.35:
        gaps = torch.rand((1, 1, x.shape[-2] // 8, x.shape[-1] // 8), generator=generator) < 0.25 * chance()
        x = x * (1 - F.interpolate(gaps.float(), size=x.shape[-2:]))
    if chance() < 0.5:
        x = F.max_pool2d(x, 3, 1, 1)
        if chance() < 0.3:
            x = F.max_pool2d(x, 3, 1, 1)
        if chance() < 0.6:
            x = F.avg_pool2d(x, 3, 1, 1)
        x = x * (0.6 + 0.4 * chance())
    return x[0, 0]


def ink_drawing(ground: str, width: int, height: int, rng: Rng) -> Image.Image:
    """Black lines on white: a scene by day with a thing on every width of a native picture, [height, width]."""
    zoom = height / SIZE
    kinds = [kind for kind in things_of(ground, "day") if kind != "sun"]
    places = np.arange(0, width / zoom - SIZE / 2, SIZE)
    things = tuple(random_thing(rng, str(rng.choice(kinds)), place, SIZE) for place in places)
    picture = paint_view(Scene(ground, "day", things), rng, View(width, height, zoom))
    lines = Image.fromarray(~edges(picture, 0.1, 0.3))
    return lines.convert("L").filter(ImageFilter.MinFilter(3)).convert("1")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--ground", choices=GROUNDS, default="meadow")
    parser.add_argument("--width", type=int, default=5632)
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    ink_drawing(options.ground, options.width, options.height, rng).save(options.file, optimize=True)


if __name__ == "__main__":
    main()
