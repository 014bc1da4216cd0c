"""Does the demo checkpoint draw what it is asked? Prompts over the vocabulary, judged by simple measures.

.venv/bin/python -m miniwebui.training.evaluate [--prompts 200] [--sheet docs/images/demo-scenes.jpg]

Ground and hour: ridge regression on the picture's colours and contrasts in 16x16 cells, fitted to painted scenes.
Objects: the densest patch of the object's own colours in sky or ground, against a threshold halfway between painted
scenes with and without it. Both are first checked on painted scenes that they have not seen.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from miniwebui import render, webui
from miniwebui.checkpoint_layout import load_checkpoint
from miniwebui.training.autoencoder import paint_set, psnr
from miniwebui.training.export import CHECKPOINT
from miniwebui.training.painter import GROUNDS, HORIZON, LIGHT, SIZE, TIMES, Scene, paint, random_scene

Pictures = NDArray[np.uint8]  # [N, 256, 256, 3]
COLOURS = {
    "red balloon": [(222, 32, 36)],
    "house": [(236, 226, 204), (172, 62, 44)],
    "boat": [(248, 246, 240), (112, 58, 36)],
    "tree": [(38, 110, 42)],
    "sun": [(255, 236, 130)],
    "moon": [(240, 240, 225)],
}
IN_THE_SKY = ("red balloon", "sun", "moon")
NEAR, PATCH, RIDGE = 42.0, 24, 3.0


def features(pictures: Pictures) -> Tensor:
    """Mean colour and contrast of 16x16 cells, and 1. [N, 257 x 4]"""
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    mean = F.avg_pool2d(x, 16)
    spread = (F.avg_pool2d(x.square(), 16) - mean.square()).clamp_min(0).sqrt().mean(1, keepdim=True)
    flat = torch.cat([mean, spread], 1).flatten(1)
    return torch.cat([flat, torch.ones(len(flat), 1)], 1)


def density(pictures: Pictures, thing: str, time: str) -> Tensor:
    """The densest patch of the thing's colours, 0 ... 1. [N]"""
    x = torch.from_numpy(pictures).float()
    light = (1.0, 1.0, 1.0) if thing in ("sun", "moon") else LIGHT[time]
    if thing == "red balloon":
        light = tuple(max(part, 0.7) for part in light)
    near = torch.zeros(x.shape[:3], dtype=torch.bool)
    for colour in COLOURS[thing]:
        near |= (x - torch.tensor(colour) * torch.tensor(light)).norm(dim=-1) < NEAR
    horizon = int(SIZE * HORIZON)
    part = near[:, : horizon - 12] if thing in IN_THE_SKY else near[:, horizon - 20 :]
    return F.avg_pool2d(part[:, None].float(), PATCH, stride=4).amax(dim=(1, 2, 3))


class Judge:
    """Measures fitted to painted scenes."""

    def __init__(self, count: int = 1500, seed: int = 77) -> None:
        rng = np.random.default_rng(seed)
        self._scenes = [random_scene(rng) for _ in range(count)]
        self._pictures = np.stack([paint(scene, rng) for scene in self._scenes])
        x, y = features(self._pictures), torch.stack([_one_hot(scene) for scene in self._scenes])
        self._weights = torch.linalg.solve(x.T @ x + RIDGE * torch.eye(x.shape[1]), x.T @ y)
        self._thresholds: dict[tuple[str, str, str], float] = {}

    def _threshold(self, scene: Scene) -> float:
        """Halfway between painted scenes of this ground and hour with and without the thing."""
        key = (scene.ground, scene.time, scene.thing)
        if key not in self._thresholds:
            rng = np.random.default_rng(5)
            means = []
            for thing in (scene.thing, ""):
                painted = [paint(Scene(scene.ground, scene.time, thing), rng) for _ in range(12)]
                means.append(float(density(np.stack(painted), scene.thing, scene.time).median()))
            self._thresholds[key] = sum(means) / 2
        return self._thresholds[key]

    def recognised(self, pictures: Pictures, scenes: Sequence[Scene]) -> dict[str, list[bool]]:
        """For "ground", "time", "thing" (where one was asked for) and "all": what is seen as asked."""
        scores = features(pictures) @ self._weights
        grounds = scores[:, : len(GROUNDS)].argmax(1)
        times = scores[:, len(GROUNDS) :].argmax(1)
        seen: dict[str, list[bool]] = {"ground": [], "time": [], "thing": [], "all": []}
        for index, scene in enumerate(scenes):
            right = [GROUNDS[grounds[index]] == scene.ground, TIMES[times[index]] == scene.time]
            seen["ground"].append(right[0])
            seen["time"].append(right[1])
            if scene.thing:
                dense = density(pictures[index : index + 1], scene.thing, scene.time)
                right.append(float(dense) > self._threshold(scene))
                seen["thing"].append(right[-1])
            seen["all"].append(all(right))
        return seen


def _one_hot(scene: Scene) -> Tensor:
    row = torch.zeros(len(GROUNDS) + len(TIMES))
    row[GROUNDS.index(scene.ground)] = row[len(GROUNDS) + TIMES.index(scene.time)] = 1
    return row


def draw(scenes: Sequence[Scene]) -> Pictures:
    """One picture for each scene's words, seeds counting from 1."""
    pictures = []
    for number, scene in enumerate(scenes):
        pictures += render.draw_once("--prompt", ", ".join(scene.words), "--seed", str(number + 1))
    return np.stack([np.asarray(picture) for picture in pictures])


def save_sheet(
    pictures: Pictures, scenes: Sequence[Scene], path: Path, columns: int = 5, side: int = 192
) -> None:
    """A contact sheet, each picture with its prompt."""
    rows = -(-len(scenes) // columns)
    sheet = Image.new("RGB", (columns * side, rows * (side + 16)), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (picture, scene) in enumerate(zip(pictures, scenes)):
        left, top = number % columns * side, number // columns * (side + 16)
        sheet.paste(Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS), (left, top))
        pen.text((left + 3, top + side + 2), ", ".join(scene.words), fill="black")
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, quality=88)


def share(values: Sequence[bool]) -> str:
    return f"{100 * sum(values) / max(1, len(values)):.0f} % of {len(values)}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--sheet", type=Path, help="write 20 of the pictures as one")
    options = parser.parse_args()
    print(f"VAE, 24 held-out scenes: {psnr(load_checkpoint(CHECKPOINT).vae, paint_set(24, 1001)):.1f} dB")
    judge = Judge()
    rng = np.random.default_rng(2024)
    scenes = [random_scene(rng) for _ in range(options.prompts)]
    painted = np.stack([paint(scene, rng) for scene in scenes])
    webui.initialize(str(CHECKPOINT))
    for name, pictures in (("painted", painted), ("drawn", draw(scenes))):
        seen = judge.recognised(pictures, scenes)
        print(f"{name}: " + ", ".join(f"{part} {share(values)}" for part, values in seen.items()))
    if options.sheet:
        save_sheet(pictures[:20], scenes[:20], options.sheet)
        print(f"Wrote {options.sheet}")


if __name__ == "__main__":
    main()
