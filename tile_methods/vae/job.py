"""What Tiled VAE is asked for, and how it is to be done: in which stages, and where feature maps wait."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from tile_methods.ranks import Ranks
from tile_methods.vae import memory
from tile_methods.vae.exact import bounds_of
from tile_methods.vae.layers import query_slices
from tile_methods.vae.plan import needed
from tile_methods.vae.plan_fast import sampled_need, stage_tiles, tile_work
from tile_methods.vae.program import (
    Attend,
    Convolve,
    Program,
    Shape,
    output_shape,
    resize_of,
    scale_of,
    shapes_of,
)
from tile_methods.vae.ranks import slab_of
from tile_methods.vae.stages import EXACT_LEVELS, Exact, Mode, Sampled, Stage, stages_of
from tile_methods.vae.storage import DeviceStore, HostStore, Store
from tile_utils.surface import OPT_F

logger = logging.getLogger("Tiled VAE")

Storage = Literal["auto", "device", "host"]
SMALLEST_TILE = 16
"""Latent pixels; out of memory below this is final."""
FAST_BANDS = 4
"""Fast mode is for little memory: its exact bands are this many times smaller than a tile's work."""
HANDED_OVER = "The picture is too large for exact mode in this machine's memory; fast mode does it."


@dataclass(frozen=True)
class Job:
    """What is computed, and how."""

    program: Program
    x: Tensor
    mode: Mode
    color_fix: bool
    storage: Storage
    tell: Callable[[str], None]
    ranks: Ranks
    beside: int
    """Ranks on this machine, this one included."""

    @property
    def result_shape(self) -> Shape:
        return shapes_of(self.program.tasks, self.x.shape)[-1]

    @property
    def levels(self) -> int:
        """How often the network resizes."""
        return max(scale_of(self.program.tasks)).bit_length() - 1

    def band_values(self, tile: int, stages: Sequence[Stage]) -> int:
        """Values of a band: of a full-resolution feature map of one tile of one image, or less in fast mode.

        In exact mode each rank has as many bands as one alone would have, so that its work beside the maps is as much
        smaller as they are.
        """
        first, last = self.program.tasks[0], self.program.tasks[-1]
        assert isinstance(first, Convolve)
        assert isinstance(last, Convolve)
        if self.program.decodes:
            values = (tile * scale_of(self.program.tasks)[0]) ** 2 * last.conv.in_channels
        else:
            values = tile**2 * first.conv.out_channels
        samples = any(isinstance(one, Sampled) for one in stages)
        return max(1, values // (FAST_BANDS if samples else self.ranks.size))

    def tiles(self, tile: int) -> list[int]:
        """Sizes to try: this one, half of it, and so on, as far as is worth it."""
        smallest, sizes = SMALLEST_TILE if self.program.decodes else SMALLEST_TILE * OPT_F, [tile]
        while sizes[-1] > smallest:
            sizes.append(max(smallest, ceil(sizes[-1] / 2)))
        return sizes

    def fits(self, size: int, device: torch.device) -> bool:
        """Can each rank have `size` bytes on its device? Those of one machine share its memory."""
        return memory.fits(size * self.beside if device.type == "cpu" else size, device)


def exact_ticks(stage: Exact, band_values: int, ranks: Ranks) -> int:
    """Our bands and slices of attention of an exact stage."""
    total, shape = 0, stage.shape
    slab = slab_of(stage.tasks, shape[2], ranks)
    for task in stage.tasks:
        own = slab.of(shape)
        if isinstance(task, Attend):
            total += len(query_slices(shape[0], task.heads, own[2] * own[3], shape[2] * shape[3]))
        else:
            total += len(bounds_of(task, own, band_values)) - 1
        slab, shape = slab.resized(resize_of(task)), output_shape(task, shape)
    return total


class Plan(NamedTuple):
    """The stages, with a store for each exact one, and the size of their bands."""

    stages: list[Stage]
    stores: list[Store | None]
    band_values: int


def _store_for(job: Job, stage: Exact, band_values: int, given: int) -> Store | None:
    """Where feature maps can wait while exact work is done, or None if nowhere.

    Args:
        given: bytes of what goes in, where we made it.
    """
    if job.storage == "device":
        return DeviceStore()
    slab, device = slab_of(stage.tasks, stage.shape[2], job.ranks), job.x.device
    need = needed(stage.tasks, slab.of(stage.shape), job.x.dtype, band_values, slab.ranks.size)
    if job.storage == "auto":
        if job.fits(given + need.together, device):
            return DeviceStore()
        if device.type == "cpu":
            return None
    waiting = need.pinned if device.type == "cuda" else need.waiting
    if not job.fits(waiting, torch.device("cpu")):
        return None
    logger.info("Feature maps of %.1f GiB wait in the host's memory.", waiting / 2**30)
    return HostStore(device)


def _made_before(stages: Sequence[Stage], number: int, dtype: torch.dtype) -> int:
    """Bytes of what goes into a stage, if it is not the caller's: it stays until the stage is done."""
    return prod(stages[number].shape) * dtype.itemsize if number else 0


def stage_needs(plan: Plan, dtype: torch.dtype) -> list[int]:
    """Bytes that each stage takes at most, all on the device, beside what the caller has given."""
    return [
        _made_before(plan.stages, number, dtype)
        + (
            sampled_need(stage, dtype)
            if isinstance(stage, Sampled)
            else needed(stage.tasks, stage.shape, dtype, plan.band_values).together
        )
        for number, stage in enumerate(plan.stages)
    ]


def _as_small_as_sampling(stages: Sequence[Stage], x: Tensor, band_values: int) -> bool:
    """Do the exact stages take no more memory than a tile of the sampled one and the crops before it, about?"""
    tiles = [tile for one in stages if isinstance(one, Sampled) for tile in stage_tiles(one)]
    allowed = max((tile_work(tile, x.shape[0], x.dtype) for tile in tiles), default=0)
    return all(
        _made_before(stages, number, x.dtype) + needed(one.tasks, one.shape, x.dtype, band_values).together
        <= 2 * allowed
        for number, one in enumerate(stages)
        if isinstance(one, Exact)
    )


def _planned(job: Job, tile: int, mode: Mode, levels: int) -> Plan | None:
    """With so many exact levels, or None where more than EXACT_LEVELS of them take more than sampling."""
    stages = stages_of(job.program, job.x.shape, tile, mode, job.color_fix, levels)
    band_values = job.band_values(tile, stages)
    if levels > EXACT_LEVELS and not _as_small_as_sampling(stages, job.x, band_values):
        return None
    stores = [
        _store_for(job, stage, band_values, _made_before(stages, number, job.x.dtype))
        if isinstance(stage, Exact)
        else None
        for number, stage in enumerate(stages)
    ]
    return Plan(stages, stores, band_values)


def _fits(job: Job, plan: Plan) -> bool:
    """Has every exact stage a store, and a sampled one room on the device, for all ranks?"""
    if job.storage == "device":
        return True
    needs = stage_needs(plan, job.x.dtype)
    short = [
        not store if isinstance(stage, Exact) else not job.fits(need, job.x.device)
        for stage, store, need in zip(plan.stages, plan.stores, needs)
    ]
    return not job.ranks.any(any(short))


def _attempts(job: Job, tile: int, mode: Mode) -> list[tuple[int, int]]:
    """(side of a tile, exact levels) in the order of trying: a smaller tile does not change the picture."""
    if mode == "exact":
        return [(tile, EXACT_LEVELS)]
    sides, most = job.tiles(tile), max(EXACT_LEVELS, job.levels)
    return [
        *((side, levels) for side in sides for levels in range(most, EXACT_LEVELS - 1, -1)),
        *((side, levels) for levels in range(EXACT_LEVELS - 1, 0, -1) for side in sides),
    ]


def plan_stages(job: Job, tile: int, mode: Mode) -> Plan:
    """What fits: in fast mode with smaller tiles where memory is short, then with less done exactly.

    Where nothing fits, what takes least.
    """
    tried = []
    for side, levels in _attempts(job, tile, mode):
        plan = _planned(job, side, mode, levels)
        if plan is None:
            continue
        if _fits(job, plan):
            if side != tile:
                logger.info("Tiles of %d in place of %d, for want of memory.", side, tile)
            return plan
        tried.append(plan)
    if mode == "exact":
        fast = plan_stages(job, tile, "fast")
        if any(isinstance(stage, Sampled) for stage in fast.stages):
            job.tell(HANDED_OVER)
            return fast
    least = min(tried, key=lambda plan: max(stage_needs(plan, job.x.dtype)))
    return least._replace(stores=[store or DeviceStore() for store in least.stores])


def place_for(shape: Shape, x: Tensor) -> torch.device:
    """Where a result of this shape is put together: on x's device if it fits twice, else in the host's memory."""
    fits = memory.fits(2 * prod(shape) * x.dtype.itemsize, x.device)
    return x.device if fits else torch.device("cpu")
