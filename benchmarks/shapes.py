"""Does a region of a letter's shape draw that letter, and leave what is outside of it?

.venv/bin/python benchmarks/shapes.py [--seeds 10] [--sheet docs/images/shapes.jpg]       (from the repository's root)

`sea` in the shape of a letter, in `desert`: as a foreground region over a desert that fills the picture, and as two
background regions, the letter and the rest. Where the picture, averaged over the 8 x 8 pixels of a latent one, is bluer
than red, is compared with the letter (intersection over union). Outside of the letter the picture is compared with the
desert alone; a letter of the same seed that says `desert` too shows how much of the change is not its words'.
"""

from __future__ import annotations

import argparse
import base64
import io
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.regions import DEMO, Picture, draw  # noqa: E402
from miniwebui import webui  # noqa: E402
from tools.contact_sheet import contact_sheet  # noqa: E402

SIDE, LATENT = 256, 8
KINDS = ("foreground", "background")
DESERT, SEA = "desert, day", "sea, day"
LETTERS = "LBEU"


def letter(sign: str, width: int = SIDE, height: int = SIDE) -> Image.Image:
    """It fills the height, and is as wide as the picture: its strokes are wide enough for what is in them."""
    font = ImageFont.load_default(size=2 * height)
    left, top, right, bottom = font.getbbox(sign, stroke_width=height // 8)
    picture = Image.new("L", (int(right - left), int(bottom - top)))
    pen = ImageDraw.Draw(picture)
    pen.text((-left, -top), sign, fill=255, font=font, stroke_width=height // 8)
    margin = height // 16
    shown = Image.new("L", (width, height))
    shown.paste(picture.resize((width - 2 * margin, height - 2 * margin)), (margin, margin))
    return shown.point(lambda value: 255 if value >= 128 else 0)


def as_png(picture: Image.Image) -> str:
    data = io.BytesIO()
    picture.save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


def cells(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means over the pixels of each latent pixel."""
    height, width = picture.shape[0] // LATENT, picture.shape[1] // LATENT
    return picture.reshape(height, LATENT, width, LATENT, *picture.shape[2:]).mean((1, 3))


def is_blue(picture: Picture) -> NDArray[np.bool_]:
    means = cells(picture)
    return means[..., 2] > means[..., 0]


def overlap(picture: Picture, plain: Picture, shape: Image.Image) -> float:
    """Intersection over union of the letter and what is blue, where the desert alone has sand: its sky is blue too."""
    wanted, sand, blue = cells(np.asarray(shape, dtype=float)) >= 128, ~is_blue(plain), is_blue(picture)
    return float((blue & wanted & sand).sum() / ((blue | wanted) & sand).sum())


def regions(kind: str, shape: Image.Image, seed: int, words: str | None) -> list[dict[str, object]]:
    """The desert, and in it the letter that says `words`, if any."""
    ground = {"x": 0.0, "y": 0.0, "w": 1.0, "h": 1.0, "prompt": DESERT, "seed": seed + 100}
    if words is None:
        return [ground]
    inside = {"mask": as_png(shape), "prompt": words, "seed": seed + 500}
    if kind == "foreground":
        return [ground, {**inside, "blend_mode": "Foreground", "feather_ratio": 0.2}]
    return [{**ground, "mask": as_png(ImageOps.invert(shape))}, inside]


def letters(seeds: Sequence[int], kind: str) -> list[Picture]:
    """Print what is found; returns the pictures."""
    found, changes, pictures = [], [], []
    for seed in seeds:
        shape = letter(LETTERS[seed % len(LETTERS)])
        outside = np.asarray(shape) == 0
        asked, silent, plain = (
            draw("", seed, shape.width, regions(kind, shape, seed, words)) for words in (SEA, DESERT, None)
        )
        found.append(overlap(asked, plain, shape))
        changes.append([np.abs(picture - plain)[outside].mean() for picture in (asked, silent)])
        pictures.append(asked)
        print(f"  {kind}, seed {seed}: IoU {found[-1]:.3f}, change outside {changes[-1]}", flush=True)
    of_asked, of_silent = np.mean(changes, 0)
    print(
        f"{kind}: IoU {np.mean(found):.3f} in the mean, {min(found):.3f} at least, of {len(found)}; mean change "
        f"outside {of_asked:.1f} of 255, by a letter of desert {of_silent:.1f}"
    )
    return pictures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--sheet", type=Path, help="write pictures of the first seeds as one")
    options = parser.parse_args()
    logging.disable(logging.INFO)  # a line for every picture
    webui.initialize(str(DEMO))
    seeds = range(1, options.seeds + 1)
    rows = [[Image.fromarray(p.astype(np.uint8)) for p in letters(seeds, kind)[:4]] for kind in KINDS]
    if options.sheet:
        contact_sheet(rows, 2048).save(options.sheet, quality=88)


if __name__ == "__main__":
    main()
