"""The commands of the README, and the pictures beside them: `.venv/bin/python -m tools.readme` draws them all anew."""

from __future__ import annotations

import argparse
import re
import shlex
import tempfile
from pathlib import Path

from PIL import Image

from tools.contact_sheet import GAP, contact_sheet

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs/images"
SHOWN = {"panorama": "panorama", "regions": "regions-example", "hires": "hires"}
"""Pictures of the commands by name, and of their files in docs/images."""


def shell_blocks(readme: str) -> list[str]:
    """The blocks of a README that name no language: what people type."""
    text = (ROOT / readme).read_text(encoding="utf-8")
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [block for language, block in fenced if not language]


def render_commands(readme: str = "README.md") -> list[list[str]]:
    """The options of every `python3 -m miniwebui render` in a README, in order."""
    commands = [
        shlex.split(command)
        for block in shell_blocks(readme)
        for command in re.split(r"^(?=python3 )", block.replace("\\\n", " "), flags=re.MULTILINE)
    ]
    return [words[4:] for words in commands if words[1:4] == ["-m", "miniwebui", "render"]]


def draw(commands: list[list[str]], folder: Path, *more: str) -> dict[str, Image.Image]:
    """The pictures of some commands, by the name that they are written under in `folder`; `more` is added to each.

    The mini WebUI must be initialised.
    """
    from miniwebui import render

    pictures = {}
    for options in commands:
        values = [
            str(folder / word) if before == "--init" else word
            for before, word in zip(["", *options], options)
        ]
        out = folder / options[options.index("--out") + 1]
        (picture,) = render.draw_once(*values, *more)
        picture.save(out)
        pictures[out.stem] = picture
    return pictures


def before_and_after(small: Image.Image, large: Image.Image, side: int = 640) -> Image.Image:
    """The same part of both at the size of the larger, one beside the other."""
    box = (large.width * 4 // 9, large.height // 3, large.width * 4 // 9 + side, large.height // 3 + side)
    pair = small.resize(large.size, Image.Resampling.BICUBIC), large
    return contact_sheet([[image.crop(box) for image in pair]], 2 * side + GAP)


def below(hint: Image.Image, picture: Image.Image, width: int = 1408, left: int = 700) -> Image.Image:
    """Two parts of a wide drawing, each over what was painted after it."""
    boxes = [(left + number * width, 0, left + (number + 1) * width, picture.height) for number in range(2)]
    return contact_sheet(
        [[strip.crop(box)] for box in boxes for strip in (hint.convert("RGB"), picture)], width
    )


def beside(hint: Image.Image, picture: Image.Image, width: int = 704) -> Image.Image:
    """Both, one beside the other."""
    return contact_sheet([[hint.convert("RGB"), picture]], 2 * width + GAP)


def main() -> None:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    from miniwebui import webui

    webui.initialize()
    with tempfile.TemporaryDirectory() as folder:
        pictures = draw(render_commands(), Path(folder))
    for name, file in SHOWN.items():
        pictures[name].save(IMAGES / f"{file}.jpg", quality=90)
    drawing, mountains = (Image.open(IMAGES / name) for name in ("drawing.png", "mountains.jpg"))
    below(drawing, pictures["drawing"]).save(IMAGES / "drawing.jpg", quality=90)
    beside(mountains, pictures["edges"]).save(IMAGES / "edges.jpg", quality=90)
    before_and_after(pictures["small"], pictures["upscaled"]).save(IMAGES / "upscale.jpg", quality=90)


if __name__ == "__main__":
    main()
