"""Fast work: every tile runs alone through a stretch of tasks; the statistics of GroupNorm are estimated before.

Crops of the true feature map, spread over it, are worked off at full resolution without padding, and their
statistics pooled, weighted so that the crops together have the channel means of the whole map. Nothing is shrunk, so
what is sampled has the distribution of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from math import ceil, prod
from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor

from tile_methods.vae import layers
from tile_methods.vae.program import DOWN, SAME, UP, Convolve
from tile_utils.group_norm import Affine, Moments, affine, measure, pool
from tile_utils.surface import Surface, Window, read_all

SAMPLED = 1 / 4
"""Part of the feature map that the crops cover at most, about; large maps need no more than MOST_CROPS."""
CROP = 12
"""Side of what a crop keeps after all convolutions, in pixels of the map that is cut."""
FEWEST_CROPS, MOST_CROPS = 9, 128
RIDGE = 0.1
"""Pull of the crops' weights towards equal ones."""


def reach(tasks: list[Convolve]) -> int:
    """How far a pixel of the result looks on each side, in pixels of the input."""
    pixels = 0
    for task in reversed(tasks):
        pixels = {UP: ceil((pixels + 1) / 2), DOWN: 2 * pixels + 2, SAME: pixels + 1}[task.resize]
    return pixels


def _scales(tasks: list[Convolve]) -> tuple[int, int]:
    """(how many times larger, how many times smaller) the tasks make a picture."""
    return (
        prod(2 for task in tasks if task.resize == UP),
        prod(2 for task in tasks if task.resize == DOWN),
    )


def _jittered(length: int, side: int, count: int, random: Random) -> list[int]:
    """First pixels of `count` spans of `side`, each anywhere in its own equal part of `length`.

    Not evenly: what repeats in the picture must not meet what repeats in the sample.
    """
    return [int((i + random.random()) * (length - side) / count) for i in range(count)]


def sample_boxes(height: int, width: int, margin: int) -> list[Window]:
    """Crops, spread over the map, of CROP pixels and the margin that unpadded convolutions take away."""
    tall, wide = min(height, CROP + 2 * margin), min(width, CROP + 2 * margin)
    count = min(MOST_CROPS, max(FEWEST_CROPS, height * width * SAMPLED / CROP**2))
    rows = max(1, min(MOST_CROPS, round((count * height / width) ** 0.5)))
    cols = max(1, min(MOST_CROPS // rows, ceil(count / rows)))
    random = Random(rows * cols)  # the same picture every time
    return [
        Window(y, x, tall, wide)
        for y in _jittered(height, tall, rows, random)
        for x in _jittered(width, wide, cols, random)
    ]


def _descriptions(parts: Sequence[Tensor]) -> Tensor:
    """What is known of pictures in short: mean and mean square of every channel. [N, 2 C], float64 on the CPU

    Args:
        parts: pieces of the same pictures, each [N, C, h, w].
    """
    moments = pool([measure(part, part.shape[1]) for part in parts])
    return torch.cat([moments.mean, moments.var + moments.mean.square()], -1)


def calibrated_weights(sampled: Tensor, wanted: Tensor) -> Tensor:
    """How much each crop counts, so that together they are described as the whole is. [N, K], sums to 1

    Calibration of survey samples (Deville & Särndal, 1992), by ridge regression around equal weights.

    Args:
        sampled: descriptions of the crops, [N, K, D], float64 on the CPU.
        wanted: that of the whole, [N, D].
    """
    count = sampled.shape[1]
    spread = sampled.std(1, keepdim=True) + 1e-8
    sampled, wanted = sampled / spread, wanted[:, None] / spread
    gap = (wanted - sampled.mean(1, keepdim=True)).transpose(1, 2)  # [N, D, 1]
    centred = (sampled - sampled.mean(1, keepdim=True)).transpose(1, 2)  # [N, D, K]
    gram = centred.transpose(1, 2) @ centred + RIDGE * centred.shape[1] * torch.eye(
        count, dtype=torch.float64
    )
    change = torch.linalg.solve(gram, centred.transpose(1, 2) @ gap)[..., 0]
    weights = (1 / count + change).clamp_min(0)
    return weights / weights.sum(1, keepdim=True)


def _by_image(per_crop: Sequence[Tensor], images: int) -> Tensor:
    """Values of crops, chunk by chunk, each [images x crops, D], as [images, all crops, D] in float64 on the CPU."""
    return torch.cat([part.view(images, -1, part.shape[-1]).cpu().double() for part in per_crop], 1)


def _pool_crops(chunks: Sequence[Moments], weights: Tensor) -> Moments:
    """Moments of [images x crops], chunk by chunk, to those of [images]."""
    mean, var = (_by_image([getattr(m, name) for m in chunks], len(weights)) for name in ("mean", "var"))
    share = weights[..., None]
    pooled = (share * mean).sum(1)
    return Moments(chunks[0].count, pooled, (share * (var + (mean - pooled[:, None]).square())).sum(1))


def chunks_of_crops(tasks: list[Convolve], height: int, width: int, tile: int) -> list[list[Window]]:
    """The sample of a map, in parts that take no more work than a padded tile of side `tile`, but at least a crop."""
    margin = reach(tasks)
    boxes = sample_boxes(height, width, margin)
    at_once = max(1, (tile + 2 * margin) ** 2 // (boxes[0].w * boxes[0].h))
    return [boxes[start : start + at_once] for start in range(0, len(boxes), at_once)]


def _crop_weights(x: Tensor, crops: Sequence[Tensor], margin: int) -> Tensor:
    """`calibrated_weights` of crops [N x k, C, h, w], chunk by chunk, of `x` [N, C, H, W]."""
    middles = [chunk[..., margin:-margin, margin:-margin] for chunk in crops]
    seen = middles if middles[0].numel() else crops
    rows = max(1, crops[0].shape[0] // x.shape[0] * crops[0][0, 0].numel() // x.shape[-1])
    sampled = _by_image([_descriptions([chunk]) for chunk in seen], x.shape[0])
    return calibrated_weights(sampled, _descriptions(x.split(rows, dim=-2)))


def estimate(
    tasks: list[Convolve],
    x: Tensor,
    chunks: list[list[Window]],
    tick: Callable[[], None],
    guard: layers.Guard,
) -> list[Affine | None]:
    """GroupNorm of each task, as sampled crops of `x` [N, C, H, W] show it.

    Args:
        chunks: the crops, see `chunks_of_crops`.
        tick: called after every task on every chunk; raises to stop.
        guard: redoes what overflows.
    """
    surface = Surface(x.shape[-2], x.shape[-1])
    crops = [read_all(x, boxes, surface) for boxes in chunks]
    weights = _crop_weights(x, crops, reach(tasks))
    asides: list[Tensor | None] = [None] * len(crops)
    norms: list[Affine | None] = []
    for task in tasks:
        norm = None
        if task.norm is not None:
            groups = task.norm.num_groups
            norm = affine(task.norm, _pool_crops([measure(chunk, groups) for chunk in crops], weights))
        norms.append(norm)
        for index, boxes in enumerate(chunks):
            if task.opens:
                asides[index] = layers.shortcut(task, crops[index], guard)
            repeated = norm.images(len(boxes)) if norm is not None else None
            aside = asides[index] if task.closes else None
            crops[index] = layers.inner(task, crops[index], aside, repeated, guard)
            if task.closes:
                asides[index] = None
            tick()
    return norms


def run_tile(
    tasks: list[Convolve],
    x: Tensor,
    norms: list[Affine | None],
    tick: Callable[[], None],
    guard: layers.Guard,
) -> Tensor:
    """All tasks on one padded tile."""
    aside: Tensor | None = None
    for task, norm in zip(tasks, norms):
        if task.opens:
            aside = layers.shortcut(task, x, guard)
        x = layers.whole(task, x, aside if task.closes else None, norm, guard)
        tick()
    return x


def _bounds(length: int, tile: int, unit: int) -> list[int]:
    """Even parts of at most about `tile`, cut at multiples of `unit`."""
    count = max(1, ceil(length / tile))
    return [length * i // count // unit * unit for i in range(count)] + [length]


def tile_boxes(height: int, width: int, tile: int, unit: int) -> list[Window]:
    """Tiles without overlap, cut at multiples of `unit`."""
    return [
        Window(top, left, bottom - top, right - left)
        for top, bottom in pairwise(_bounds(height, tile, unit))
        for left, right in pairwise(_bounds(width, tile, unit))
    ]


def run_tiles(
    tasks: list[Convolve],
    norms: list[Affine | None],
    x: Tensor,
    tile: int,
    place: torch.device,
    tick: Callable[[], None],
    guard: layers.Guard,
) -> Tensor:
    """The tasks tile by tile.

    Args:
        norms: GroupNorm of each task.
        x: what goes in, [N, C, H, W].
        tile: side of a tile without its padding, in pixels of `x`.
        place: the device that the result is put together on.
        tick: called after every task on every tile; raises to stop.
        guard: redoes what overflows.

    Returns:
        In x's type, or in float32 where a tile overflows it.
    """
    larger, smaller = _scales(tasks)
    margin = ceil(reach(tasks) / smaller) * smaller
    height, width = x.shape[-2:]
    around = margin if any(layers.wraps(task) for task in tasks) and margin <= min(height, width) else 0
    if around:
        x = F.pad(x, (around,) * 4, mode="circular")
    size = (height * larger // smaller, width * larger // smaller)
    out = torch.empty(x.shape[0], tasks[-1].conv.out_channels, *size, dtype=x.dtype, device=place)
    for box, rows, cols, padded in _tiles(x, tile_boxes(height, width, tile, smaller), margin, around):
        tile_out = run_tile(tasks, padded, norms, tick, guard)
        top, left = box.y * larger // smaller, box.x * larger // smaller
        bottom = min(out.shape[-2], (box.y + box.h) * larger // smaller)
        right = min(out.shape[-1], (box.x + box.w) * larger // smaller)
        rows, cols = rows * larger // smaller, cols * larger // smaller
        out = out.to(torch.promote_types(out.dtype, tile_out.dtype))
        out[..., top:bottom, left:right] = tile_out[
            ..., rows : rows + bottom - top, cols : cols + right - left
        ]
    return out


def _tiles(
    x: Tensor, boxes: list[Window], margin: int, around: int
) -> Iterator[tuple[Window, int, int, Tensor]]:
    """(box in the picture, rows and columns of padding above and left of it, padded tile) of every tile.

    `around`: how much `x` was padded on each side.
    """
    for box in boxes:
        y, x0 = box.y + around, box.x + around
        top, left = max(0, y - margin), max(0, x0 - margin)
        yield box, y - top, x0 - left, x[..., top : y + box.h + margin, left : x0 + box.w + margin]
