"""Does the demo checkpoint draw what it is asked? Prompts over the vocabulary, judged by a small network.

.venv/bin/python -m painted_world.evaluate [--prompts 400] [--pairs 8] [--cfg 4] [--sheets docs/images]

The judge was trained on painted scenes; "painted" says how far it can be trusted on scenes it has not seen.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from miniwebui import render, webui
from miniwebui.checkpoint_layout import load_checkpoint
from painted_world.autoencoder import paint_set, psnr
from painted_world.export import CHECKPOINT
from painted_world.judge import Judge, Pictures
from painted_world.painter import COLOURED, COLOURS, TIMES, Scene, Thing, paint, random_scene
from painted_world.painter.canvas import Rng

NEGATIVES = ("night", "sunset", "sea", "city skyline")
HOME = {"balloon": "meadow", "house": "meadow", "boat": "sea"}
"""Where each coloured thing is asked for when colours are counted."""
SHOWN = (
    "sea, sunset, sun",
    "city skyline, night",
    "mountains, day, red balloon",
    "meadow, day, white house",
    "forest, sunset",
    "desert, day, clouds",
    "sea, day, red boat",
    "city skyline, sunset",
    "mountains, night, moon",
    "meadow, sunset, tree",
    "forest, fog, day",
    "sea, night, moon",
    "city skyline, day",
    "desert, sunset, blue balloon",
    "a picture of mountains with sunset and clouds",
    "sea, day, painting",
    "city skyline, sunset, pixel art",
    "meadow, day, house, line drawing",
    "mountains, sunset, painting",
    "",
)


BESIDE = (
    "meadow, day",
    "meadow, day <lora:snow:1>",
    "forest, sunset",
    "forest, sunset <lora:snow:1>",
    "mountains, day",
    "mountains, day <lora:snow:1>",
    "sea",
    "sea, dusk-glow",
)
"""Pairs of prompts without and with the LoRA or the embedding."""


def draw(prompts: Sequence[str], *options: str, first_seed: int = 1) -> Pictures:
    """One picture for each prompt, seeds counting up. [N, 256, 256, 3]"""
    pictures = []
    for number, prompt in enumerate(prompts):
        pictures += render.draw_once("--prompt", prompt, "--seed", str(number + first_seed), *options)
    return np.stack([np.asarray(picture) for picture in pictures])


def asked_scenes(count: int, rng: Rng) -> list[Scene]:
    """Random scenes of the plain style with one thing at most."""
    scenes = [random_scene(rng, styled=0) for _ in range(count)]
    return [replace(scene, things=scene.things[:1]) for scene in scenes]


def pair_scenes(each: int) -> list[Scene]:
    """Every colour of every coloured thing, by day and at sunset in turn."""
    return [
        Scene(HOME[kind], TIMES[number % 2], (Thing(kind, colour),))
        for kind in COLOURED
        for colour in COLOURS
        for number in range(each)
    ]


def prompt(scene: Scene) -> str:
    return ", ".join(scene.words)


def share(values: Sequence[bool]) -> str:
    return f"{100 * sum(values) / max(1, len(values)):.1f} % of {len(values)}"


def contact_sheet(
    pictures: Pictures, labels: Sequence[str], columns: int = 5, side: int = 192
) -> Image.Image:
    """Pictures side by side, each with its label."""
    rows = -(-len(labels) // columns)
    sheet = Image.new("RGB", (columns * side, rows * (side + 16)), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        left, top = number % columns * side, number // columns * (side + 16)
        sheet.paste(Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS), (left, top))
        pen.text((left + 3, top + side + 2), label or "(empty prompt)", fill="black")
    return sheet


def write_sheets(folder: Path) -> None:
    """Contact sheets: prompts; guidance of 1, 4 and 8; what the LoRA and the embedding do, one seed each."""
    contact_sheet(draw(SHOWN), SHOWN).save(folder / "demo-scenes.jpg", quality=90)
    prompts = (
        "sea, sunset, sun",
        "city skyline, night",
        "meadow, day, red house",
        "mountains, day, blue balloon",
    )
    rows = [draw(prompts, "--cfg", str(cfg), first_seed=40) for cfg in (1, 4, 8)]
    labels = [f"CFG {cfg}: {text}" for cfg in (1, 4, 8) for text in prompts]
    contact_sheet(np.concatenate(rows), labels, len(prompts)).save(folder / "demo-guidance.jpg", quality=90)
    pictures = np.concatenate([draw([prompt], first_seed=3) for prompt in BESIDE])
    contact_sheet(pictures, BESIDE, 4).save(folder / "demo-beside.jpg", quality=90)
    print(f"Wrote demo-scenes.jpg, demo-guidance.jpg and demo-beside.jpg in {folder}")


def measure_negatives(judge: Judge, count: int) -> None:
    """How often an empty prompt shows something, without and with its word as the negative prompt."""
    plain = judge.look(draw([""] * count))
    for word in NEGATIVES:
        without = judge.look(draw([""] * count, "--negative", word))
        before, after = (
            sum(word in (sight.ground, sight.time) for sight in seen) for seen in (plain, without)
        )
        print(f"negative '{word}': {before} of {count} pictures before, {after} after", flush=True)


def measure_time() -> None:
    """A picture of 256x256 in 20 steps, the fastest of five."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        draw(["sea, day"])
        times.append(time.perf_counter() - start)
    print(f"256x256, 20 steps of DPM++ 2M, CFG 4: {min(times):.2f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=400)
    parser.add_argument("--pairs", type=int, default=8, help="pictures for each pair of thing and colour")
    parser.add_argument("--negatives", type=int, default=40, help="pictures for each negative prompt")
    parser.add_argument("--cfg", type=float, default=4, help="guidance of the prompts and pairs")
    parser.add_argument("--sheets", type=Path, help="folder to write contact sheets to")
    options = parser.parse_args()
    webui.initialize(str(CHECKPOINT))
    measure_time()
    print(f"VAE, 24 held-out scenes: {psnr(load_checkpoint(CHECKPOINT).vae, paint_set(24, 1001)):.1f} dB")
    judge, rng = Judge(), np.random.default_rng(2024)
    for name, scenes in (
        ("prompts", asked_scenes(options.prompts, rng)),
        ("pairs", pair_scenes(options.pairs)),
    ):
        painted = np.stack([paint(scene, rng) for scene in scenes])
        drawn = draw([prompt(scene) for scene in scenes], "--cfg", str(options.cfg))
        for kind, pictures in (("painted", painted), (f"drawn at CFG {options.cfg:g}", drawn)):
            seen = judge.recognised(pictures, scenes)
            print(f"{name}, {kind}: " + ", ".join(f"{p} {share(v)}" for p, v in seen.items()), flush=True)
    measure_negatives(judge, options.negatives)
    if options.sheets:
        write_sheets(options.sheets)


if __name__ == "__main__":
    main()
