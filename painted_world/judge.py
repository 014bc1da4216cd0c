"""A small network that says what a picture shows, trained on painted scenes: how prompts' pictures are measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from painted_world.canvases import Canvas, read_canvases
from painted_world.loop import Settings
from painted_world.painter import COLOURED, COLOURS, GROUNDS, MARGIN, THINGS, TIMES, Scene

WEIGHTS = Path(__file__).parent / "judge.safetensors"
SIDE, BATCH = 128, 24
"""Pictures are seen at this size."""
PARTS = (len(GROUNDS), len(TIMES), len(THINGS), len(COLOURED) * len(COLOURS))

Pictures = NDArray[np.uint8]  # [N, 256, 256, 3]


class JudgeNet(nn.Module):
    """Four strided convolutions; the mean tells ground and hour, the maximum things and their colours."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 16, 32, 64, 96)
        layers: list[nn.Module] = []
        for before, width in zip(widths, widths[1:]):
            layers += [nn.Conv2d(before, width, 3, stride=2, padding=1), nn.SiLU(), nn.GroupNorm(4, width)]
        self.features = nn.Sequential(*layers, nn.Conv2d(96, 96, 3, padding=1), nn.SiLU())
        self.place = nn.Linear(96, PARTS[0] + PARTS[1])
        self.things = nn.Linear(96, PARTS[2] + PARTS[3])

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:  # [B, 3, SIDE, SIDE], 0 ... 1
        """Logits of ground [B, 6], hour [B, 3], things [B, 6] and the things' colours [B, 3, 5]."""
        mean, largest = self.pooled(x)
        place, things = self.place(mean), self.things(largest)
        ground, hour = place.split(PARTS[:2], 1)
        kinds, colours = things.split(PARTS[2:], 1)
        return ground, hour, kinds, colours.unflatten(1, (len(COLOURED), len(COLOURS)))

    def pooled(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(mean, maximum) of the features over the picture, [B, 96] each."""
        found = self.features(x - 0.5)
        return found.mean(dim=(2, 3)), found.amax(dim=(2, 3))


def target(scene: Scene) -> list[int]:
    """Numbers of ground and hour, 0 or 1 for each of THINGS, number of the colour of each of COLOURED (-1: none)."""
    colours = {thing.kind: list(COLOURS).index(thing.colour) for thing in scene.things if thing.colour}
    kinds = {thing.kind for thing in scene.things}
    return [
        GROUNDS.index(scene.ground),
        TIMES.index(scene.time),
        *(int(kind in kinds) for kind in THINGS),
        *(colours.get(kind, -1) for kind in COLOURED),
    ]


class JudgeJob:
    """Windows of canvases with whole scenes in the plain style, blurred and noisy as a drawn picture may be."""

    def __init__(self, settings: Settings, workers: int) -> None:
        self.networks = nn.ModuleDict({"judge": JudgeNet()}).to(settings.device)
        paths = [
            path for kind in ("scene", "things") for path in settings.work.glob(f"canvases-{kind}-*.pkl")
        ]
        canvases = [canvas for canvas in read_canvases(sorted(paths)) if not canvas.scene.style]
        self._small = [_halved(canvas) for canvas in canvases]
        self._targets = torch.tensor([target(canvas.scene) for canvas in canvases])
        self._columns = [canvas.columns for canvas in canvases]
        self._device, self._workers = settings.device, workers

    def loss(self, done: float, generator: torch.Generator) -> Tensor:
        picks = torch.randint(
            len(self._small), (max(1, BATCH // self._workers),), generator=generator
        ).tolist()
        x = torch.stack([self._window(pick, generator) for pick in picks]).to(self._device)
        side = int(torch.randint(88, SIDE + 1, (), generator=generator))
        x = F.interpolate(F.interpolate(x, side, mode="area"), SIDE, mode="bilinear")
        x = x + 0.03 * torch.randn(x.shape, generator=generator).to(x)
        return _loss(self.networks["judge"](x), self._targets[picks].to(self._device))

    def _window(self, index: int, generator: torch.Generator) -> Tensor:
        """SIDE columns that show all things of the canvas. [3, SIDE, SIDE], 0 ... 1"""
        columns = [column / 2 for column in self._columns[index]]
        last = self._small[index].shape[-1] - SIDE
        first = max([0, *(int(column) - SIDE + 10 for column in columns)])
        final = min([last, *(int(column) - 10 for column in columns)])
        left = (
            int(torch.randint(first, max(first, final) + 1, (), generator=generator))
            if first <= last
            else last
        )
        return self._small[index][:, :, left : left + SIDE].float() / 255

    def report(self, average: nn.ModuleDict) -> str:
        return ""


def _halved(canvas: Canvas) -> Tensor:
    """Without its margin, at half the size. [3, 128, 192], uint8"""
    image = torch.from_numpy(canvas.image[MARGIN:-MARGIN, MARGIN:-MARGIN]).permute(2, 0, 1)
    return F.avg_pool2d(image.float(), 2).round().byte()


def _loss(found: tuple[Tensor, ...], wanted: Tensor) -> Tensor:
    ground, hour, kinds, colours = found
    loss = F.cross_entropy(ground, wanted[:, 0]) + F.cross_entropy(hour, wanted[:, 1])
    loss = loss + 3 * F.binary_cross_entropy_with_logits(kinds, wanted[:, 2 : 2 + len(THINGS)].float())
    shades = wanted[:, 2 + len(THINGS) :]
    for number in range(len(COLOURED)):
        if (shades[:, number] >= 0).any():
            loss = loss + F.cross_entropy(colours[:, number], shades[:, number], ignore_index=-1)
    return loss


def write_judge(network: nn.Module, path: Path = WEIGHTS) -> None:
    save_file({key: value.half().contiguous().cpu() for key, value in network.state_dict().items()}, path)


@dataclass(frozen=True)
class Sight:
    """What a picture shows; the colour of each thing that has one."""

    ground: str
    time: str
    things: frozenset[str]
    colours: dict[str, str]


def _batches(pictures: Pictures) -> Iterator[Tensor]:
    """As the network sees them: [≤ 63, 3, SIDE, SIDE], 0 ... 1"""
    for part in np.array_split(pictures, max(1, len(pictures) // 32)):
        yield F.avg_pool2d(torch.tensor(part).permute(0, 3, 1, 2).float() / 255, 2)


class Judge:
    """What the trained network sees in pictures of 256x256."""

    def __init__(self, path: Path = WEIGHTS) -> None:
        self._network = JudgeNet().eval()
        self._network.load_state_dict({key: value.float() for key, value in load_file(path).items()})

    @torch.no_grad()
    def look(self, pictures: Pictures) -> list[Sight]:
        """What each picture shows."""
        seen = []
        for x in _batches(pictures):
            for ground, hour, kinds, colours in zip(*self._network(x), strict=True):
                things = frozenset(kind for kind, logit in zip(THINGS, kinds) if logit > 0)
                likeliest = [list(COLOURS)[int(of_kind.argmax())] for of_kind in colours]
                shades = {kind: colour for kind, colour in zip(COLOURED, likeliest) if kind in things}
                seen.append(Sight(GROUNDS[int(ground.argmax())], TIMES[int(hour.argmax())], things, shades))
        return seen

    @torch.no_grad()
    def features(self, pictures: Pictures) -> NDArray[np.float64]:
        """What all its answers are drawn from: means and maxima of 96 feature maps. [N, 192]"""
        pooled = [torch.cat(self._network.pooled(x), dim=1) for x in _batches(pictures)]
        return torch.cat(pooled).double().numpy()

    def recognised(self, pictures: Pictures, scenes: Sequence[Scene]) -> dict[str, list[bool]]:
        """For "ground", "time", "thing" and "colour" (one entry for each asked for) and "all": what is as asked."""
        right: dict[str, list[bool]] = {"ground": [], "time": [], "thing": [], "colour": [], "all": []}
        for sight, scene in zip(self.look(pictures), scenes, strict=True):
            place = [sight.ground == scene.ground, sight.time == scene.time]
            there = [thing.kind in sight.things for thing in scene.things]
            shades = [sight.colours.get(thing.kind) == thing.colour for thing in scene.things if thing.colour]
            right["ground"].append(place[0])
            right["time"].append(place[1])
            right["thing"] += there
            right["colour"] += shades
            right["all"].append(all([*place, *there, *shades]))
        return right
