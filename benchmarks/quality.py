"""Is speed bought with quality? Pictures drawn in tiles, in units of what the judge sees, tints and edges.

.venv/bin/python benchmarks/quality.py draw [--samplers "Euler a,DDIM"] [--ways half,shifted] [--pictures 24]
    [--seconds 420]                             (from the repository's root; again and again, until nothing is missing)
.venv/bin/python benchmarks/quality.py report [--sheet docs/images/shifted.jpg]

`draw` keeps its pictures under `--work` and goes on where it stopped; `--way NAME JSON` adds settings of Tiled
Diffusion of one's own, `--size 512x256` another canvas. `report` prints a line for each sampler and way:

- **KID**: kernel distance between random crops of the model's native size and native pictures of the same prompts
  (Binkowski et al., arXiv 1801.01401; crops as in Lee et al., SyncDiffusion, arXiv 2306.05178), by the features of the
  judge of `painted_world` in place of Inception's, centred and scaled by those of the native ones; times 1000.
- **seen**: part of the crops in which the judge sees the ground and the hour of the prompt.
- **diversity**: mean distance between all pairs of disjoint native crops of one picture, same features.
- **tone**: difference of the means of bands of 32 pixels on both sides of a tile's border, over that at other places.
- **edge**: step between the pixels on both sides of a tile's border, over that at other borders of latent pixels; both
  are ratios of geometric means, which a moon or a house does not sway.
- **worst tone**, **worst edge**: the largest at any line that is a multiple of 8 pixels, over the median of all.

A shifted grid's borders are those of its last step, which no later one heals. Behind each figure is its standard error
over the pictures; a native picture stands for nothing but KID and what is seen.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from miniwebui import render, webui  # noqa: E402
from painted_world.judge import Judge  # noqa: E402
from painted_world.painter import GROUNDS, TIMES  # noqa: E402
from tile_utils.grid import Axis, make_axis, phases  # noqa: E402
from tools.contact_sheet import contact_sheet  # noqa: E402

NATIVE, TILE, BAND, SEGMENT, CROPS = 256, 32, 32, 128, 6
PROMPTS = [f"{ground}, {hour}" for hour in TIMES for ground in GROUNDS]
METHODS = {"MoD": "Mixture of Diffusers", "MD": "MultiDiffusion"}
OVERLAPS = {"half": {"overlap": 16}, "shifted": {"overlap": 4, "shift_tiles": True}}
CONTRAST = {"pasted": {"method": "MultiDiffusion", "overlap": 0}}
WAYS: dict[str, dict[str, Any]] = {
    f"{short} {name}": {"method": method, **more}
    for short, method in METHODS.items()
    for name, more in OVERLAPS.items()
}
STEPS = {"Heun": 6, "DPM++ SDE": 6, "LCM": 6}
"""Samplers that call the model twice in a step, or that want few."""
Picture = NDArray[np.uint8]  # [H, W, 3]


class Job:
    """Which pictures, and where they are."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.work: Path = options.work
        self.width, self.height = map(int, options.size.split("x"))
        self.steps, self.pictures = options.steps, options.pictures
        self.samplers = options.samplers.split(",")
        known = {**WAYS, **CONTRAST, **{name: json.loads(text) for name, text in options.way}}
        chosen = options.ways.split(",") if options.ways else [*WAYS, *(name for name, _ in options.way)]
        self.ways = {name: known[name] for name in known if any(part in name for part in chosen)}

    def steps_of(self, sampler: str) -> int:
        return STEPS.get(sampler, self.steps)

    def path(self, sampler: str, way: str, number: int) -> Path:
        size = "native" if way == "native" else f"{self.width}x{self.height}"
        name = f"{size}-{sampler}-{self.steps_of(sampler)}-{way}-{number}.png"
        return self.work / name.replace(" ", "_").replace("+", "p")

    def parts(self) -> Iterator[tuple[str, str, int]]:
        """(sampler, way, number) of every picture: the first of each before the second of any."""
        for number in range(self.pictures):
            for sampler in self.samplers:
                for way in ("native", *self.ways):
                    yield sampler, way, number

    def settings(self, way: str) -> dict[str, Any]:
        return {"tile_width": TILE, "tile_height": TILE, **self.ways[way]}

    def draw(self, sampler: str, way: str, number: int) -> Image.Image:
        width, height = (NATIVE, NATIVE) if way == "native" else (self.width, self.height)
        settings = {"enabled": False} if way == "native" else {"enabled": True, **self.settings(way)}
        (picture,) = render.draw_once(
            *("--prompt", PROMPTS[number % len(PROMPTS)], "--seed", str(number + 1), "--sampler", sampler),
            *("--steps", str(self.steps_of(sampler)), "--width", str(width), "--height", str(height)),
            *("--script", "Tiled Diffusion", json.dumps(settings)),
        )
        return picture

    def found(self, sampler: str, way: str) -> list[tuple[int, Picture]]:
        """(number, picture) of all that are drawn."""
        paths = ((number, self.path(sampler, way, number)) for number in range(self.pictures))
        return [(number, np.array(Image.open(path))) for number, path in paths if path.exists()]

    def axes(self, way: str) -> tuple[Axis, Axis]:
        """The grid of a way, down and across."""
        overlap = self.settings(way)["overlap"]
        return make_axis(self.height // 8, TILE, overlap), make_axis(self.width // 8, TILE, overlap)

    def borders(self, sampler: str, way: str, down: bool) -> set[int]:
        """Lines, in pixels, at which a tile of the last step begins or ends; along one axis."""
        axis = self.axes(way)[0 if down else 1]
        starts = [axis.start(i) for i in range(axis.count)]
        if self.settings(way).get("shift_tiles"):
            last = self.steps_of(sampler) - (2 if sampler == "DDIM" else 1)  # DDIM draws one step less
            last //= 2 if sampler == "LMS" else 1  # keeps a grid for two steps
            spans = axis.shifted(phases(last)[0 if down else 1])
            starts = [span.start - span.moved for span in spans]
        lines = {line for start in starts for line in (start, start + axis.tile)}
        return {8 * line for line in lines if 0 < line < axis.length}


def draw_missing(job: Job, seconds: float) -> None:
    webui.initialize()
    logging.getLogger("Tiled Diffusion").setLevel(logging.WARNING)
    job.work.mkdir(parents=True, exist_ok=True)
    missing = [part for part in job.parts() if not job.path(*part).exists()]
    end, drawn = time.monotonic() + seconds, 0
    for part in missing:
        if time.monotonic() > end:
            break
        path = job.path(*part)
        job.draw(*part).save(path.with_suffix(".part"), format="PNG")
        path.with_suffix(".part").rename(path)
        drawn += 1
    print(f"{drawn} pictures drawn, {len(missing) - drawn} missing", flush=True)


def crops_of(picture: Picture, number: int) -> Picture:
    """Random crops of native size, the same places for every way. [CROPS, 256, 256, 3]"""
    rng = np.random.default_rng(number)
    height, width = picture.shape[:2]
    places = rng.integers(0, (height - NATIVE + 1, width - NATIVE + 1), (CROPS, 2))
    return np.stack([picture[y : y + NATIVE, x : x + NATIVE] for y, x in places])


def kernel_distance(found: NDArray[Any], wanted: NDArray[Any]) -> float:
    """Unbiased squared MMD with the kernel (x·y / d + 1)³ of two sets of features, [N, d] and [M, d]."""

    def kernel(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def within(a: NDArray[Any]) -> float:
        matrix, count = kernel(a, a), len(a)
        return float((matrix.sum() - np.trace(matrix)) / (count * (count - 1)))

    return within(found) + within(wanted) - 2 * float(kernel(found, wanted).mean())


def jackknife(groups: Sequence[NDArray[Any]], wanted: NDArray[Any]) -> tuple[float, float]:
    """(kernel distance of all groups together, its standard error by leaving out one group after the other)"""
    whole = kernel_distance(np.concatenate(groups), wanted)
    left = [
        kernel_distance(np.concatenate([*groups[:i], *groups[i + 1 :]]), wanted) for i in range(len(groups))
    ]
    return whole, float(np.sqrt((len(left) - 1) * np.var(left)))


class Eye:
    """The judge's features, scaled by those of native pictures."""

    def __init__(self, judge: Judge, natives: Picture) -> None:
        found = judge.features(natives)
        self._judge, self._mean = judge, found.mean(axis=0)
        self._deviation = found.std()  # one for all: features that natives hardly differ in must not decide
        self.natives = (found - self._mean) / self._deviation

    def features(self, pictures: Picture) -> NDArray[Any]:
        return (self._judge.features(pictures) - self._mean) / self._deviation


def diversity(picture: Picture, eye: Eye) -> float:
    """Mean distance of the features of all disjoint native crops; 1 is that of two numbers of variance 0.5."""
    height, width = picture.shape[:2]
    corners = [(y, x) for y in range(0, height - 255, NATIVE) for x in range(0, width - 255, NATIVE)]
    features = eye.features(np.stack([picture[y : y + NATIVE, x : x + NATIVE] for y, x in corners]))
    return float(np.mean([np.sqrt(np.mean((a - b) ** 2)) for a, b in combinations(features, 2)]))


def lines_of(picture: Picture) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """(x of every vertical line at a multiple of 8, tone step there, edge there); tone by segments of SEGMENT."""
    values = picture.astype(float)
    lines = np.arange(BAND, picture.shape[1] - BAND + 1, 8)
    sums = np.concatenate([np.zeros_like(values[:, :1]), values.cumsum(axis=1)], axis=1)
    left, here, right = (sums[:, lines + offset] for offset in (-BAND, 0, BAND))
    bands = (right - 2 * here + left) / BAND  # mean on the right less mean on the left, row by row
    segments = [bands[top : top + SEGMENT].mean(axis=0) for top in range(0, len(bands), SEGMENT)]
    tone = np.abs(segments).mean(axis=(0, 2))
    edge = np.abs(values[:, lines] - values[:, lines - 1]).mean(axis=(0, 2))
    return lines, tone, edge


def seams(job: Job, sampler: str, way: str, picture: Picture) -> list[float]:
    """tone, edge, worst tone, worst edge; over both directions."""
    at: list[list[float]] = [[], []]
    worst = [0.0, 0.0]
    for down in (False, True):
        lines, *steps = lines_of(picture.transpose(1, 0, 2) if down else picture)
        is_border = np.isin(lines, sorted(job.borders(sampler, way, down)))
        for kind, values in enumerate(steps):
            logs = np.log(values + 1e-3)
            at[kind] += list(logs[is_border] - logs[~is_border].mean())
            worst[kind] = max(worst[kind], float(values.max() / np.median(values)))
    return [float(np.exp(np.mean(logs))) for logs in at] + worst


def seen_rightly(judge: Judge, crops: Picture, number: int) -> float:
    """Part of the crops in which ground and hour are the prompt's."""
    ground, hour = PROMPTS[number % len(PROMPTS)].split(", ")
    return float(np.mean([(sight.ground, sight.time) == (ground, hour) for sight in judge.look(crops)]))


def figures(job: Job, judge: Judge, eye: Eye, sampler: str, way: str) -> str:
    """A line of the report."""
    found = job.found(sampler, way)
    if len(found) < 2:
        return f"{sampler:10} {way:12} {len(found)} pictures"
    crops = [crops_of(picture, number) for number, picture in found]
    kid, error = jackknife([eye.features(part) for part in crops], eye.natives)
    rows = [
        [
            seen_rightly(judge, part, number),
            diversity(picture, eye),
            *seams(job, sampler, way, picture),
        ]
        for (number, picture), part in zip(found, crops)
    ]
    means, errors = np.mean(rows, axis=0), np.std(rows, axis=0) / np.sqrt(len(rows) - 1)
    cells = [f"{1000 * kid:7.1f} ±{1000 * error:4.1f}"]
    cells += [f"{mean:5.2f} ±{spread:4.2f}" for mean, spread in zip(means, errors)]
    return f"{sampler:10} {way:12} {len(found):3} " + "  ".join(cells)


def report(job: Job) -> None:
    judge = Judge()
    head = "KID·1000        seen         diversity    tone         edge         worst tone   worst edge"
    print(f"{'sampler':10} {'way':12}   n  {head}")
    for sampler in job.samplers:
        natives = job.found(sampler, "native")
        if len(natives) < 2:
            continue
        right = np.mean([seen_rightly(judge, picture[None], number) for number, picture in natives])
        print(f"{sampler:10} {'native':12} {len(natives):3} {'':14} {right:5.2f}")
        eye = Eye(judge, np.stack([picture for _, picture in natives]))
        for way in job.ways:
            print(figures(job, judge, eye, sampler, way), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("draw", "report"))
    parser.add_argument("--work", type=Path, default=ROOT / "build/quality")
    parser.add_argument("--samplers", default="Euler a,DPM++ 2M,DPM++ SDE,Heun,DDIM,UniPC,LCM")
    parser.add_argument("--ways", default="", help="parts of their names, with commas")
    parser.add_argument("--way", nargs=2, action="append", default=[], metavar=("NAME", "JSON"))
    parser.add_argument("--size", default="512x384")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=420)
    parser.add_argument("--sheet", type=Path, help="write the first pictures of each sampler as one")
    options = parser.parse_args()
    job = Job(options)
    if options.what == "draw":
        draw_missing(job, options.seconds)
        return
    report(job)
    if options.sheet:
        ways = list(job.ways)
        rows = [
            [Image.open(path) for path in paths if path.exists()]
            for row, sampler in enumerate(job.samplers)
            for paths in [[job.path(sampler, way, row % job.pictures) for way in ways]]
        ]
        titles = [f"{sampler}: {', '.join(ways)}" for sampler in job.samplers]
        contact_sheet(rows, job.width // 2 * len(ways), titles).save(options.sheet, quality=88)


if __name__ == "__main__":
    main()
