"""Tiled VAE: the forward of an encoder or decoder in little memory, exactly by default."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from math import ceil, prod
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tile_methods.vae import memory, trial
from tile_methods.vae.exact import ExactWorker, bounds_of
from tile_methods.vae.fast import Sample, Tile, run_tiles, tiles_of
from tile_methods.vae.layers import Guard, query_slices
from tile_methods.vae.plan import needed, tile_work
from tile_methods.vae.program import Attend, Convolve, Program, Shape, output_shape, scale_of, shapes_of
from tile_methods.vae.recognise import recognise
from tile_methods.vae.residence import Residence
from tile_methods.vae.stages import EXACT_LEVELS, Exact, Mode, Sampled, Stage, stages_of
from tile_methods.vae.storage import DeviceStore, HostStore, Store
from tile_utils.surface import OPT_F

logger = logging.getLogger("Tiled VAE")

Storage = Literal["auto", "device", "host"]
FAST_BANDS = 4
"""Fast mode is for little memory: its exact bands are this many times smaller than a tile's work."""
SMALLEST_TILE = 16
"""Latent pixels; out of memory below this is final."""
HANDED_OVER = "The picture is too large for exact mode in this machine's memory; fast mode does it."
_TRIAL = threading.Lock()
"""A trial puts hooks on the network, which another thread must not take for the network's own."""


class Interrupted(Exception):
    """The caller asked to stop."""


class _Work:
    """Counts tasks done on bands, crops and tiles, reports them, and stops when asked to; counts what was redone."""

    def __init__(
        self, progress: Callable[[int, int], None] | None, interrupted: Callable[[], bool] | None
    ) -> None:
        self._progress, self._interrupted = progress, interrupted
        self._done = self.total = 0
        self.guard = Guard()

    def tick(self) -> None:
        self._done = min(self._done + 1, self.total)  # attention that overflows goes through its slices twice
        if self._progress is not None:
            self._progress(self._done, self.total)
        if self._interrupted is not None and self._interrupted():
            raise Interrupted


@dataclass(frozen=True)
class _Job:
    """What is computed, and how."""

    program: Program
    x: Tensor
    mode: Mode
    color_fix: bool
    storage: Storage
    tell: Callable[[str], None]

    @property
    def result_shape(self) -> Shape:
        return shapes_of(self.program.tasks, self.x.shape)[-1]

    @property
    def levels(self) -> int:
        """How often the network resizes."""
        return max(scale_of(self.program.tasks)).bit_length() - 1

    def band_values(self, tile: int, stages: Sequence[Stage]) -> int:
        """Values of a band: of a full-resolution feature map of one tile of one image, or less in fast mode."""
        first, last = self.program.tasks[0], self.program.tasks[-1]
        assert isinstance(first, Convolve)
        assert isinstance(last, Convolve)
        if self.program.decodes:
            values = (tile * scale_of(self.program.tasks)[0]) ** 2 * last.conv.in_channels
        else:
            values = tile**2 * first.conv.out_channels
        return max(1, values // FAST_BANDS) if any(isinstance(one, Sampled) for one in stages) else values


def _ticks(stage: Stage, band_values: int) -> int:
    """Bands and slices of attention that an exact stage works off."""
    total = 0
    shape = stage.shape
    for task in stage.tasks:
        if isinstance(task, Attend):
            total += len(query_slices(shape[0], task.heads, shape[2] * shape[3]))
        else:
            total += len(bounds_of(task, shape, band_values)) - 1
        shape = output_shape(task, shape)
    return total


def _store_for(stage: Exact, x: Tensor, band_values: int, storage: Storage) -> Store | None:
    """Where feature maps can wait while exact work is done, or None if nowhere."""
    if storage == "device":
        return DeviceStore()
    need, device = needed(stage.tasks, stage.shape, x.dtype, band_values), x.device
    if storage == "auto":
        if memory.fits(need.together, device):
            return DeviceStore()
        if device.type == "cpu":
            return None
    waiting = need.pinned if device.type == "cuda" else need.waiting
    if not memory.fits(waiting, torch.device("cpu")):
        return None
    logger.info("Feature maps of %.1f GiB wait in the host's memory.", waiting / 2**30)
    return HostStore(device)


def _as_small_as_sampling(stages: Sequence[Stage], x: Tensor, band_values: int) -> bool:
    """Do the exact stages take no more memory than a tile of the sampled one and the crops before it, about?"""
    tiles = [tile for one in stages if isinstance(one, Sampled) for tile in _tiles(one)]
    allowed = max((tile_work(tile, x.shape[0], x.dtype) for tile in tiles), default=0)
    exact = [needed(one.tasks, one.shape, x.dtype, band_values) for one in stages if isinstance(one, Exact)]
    return all(need.together <= 2 * allowed for need in exact)


def _tiles(stage: Sampled) -> list[Tile]:
    height, width = stage.shape[-2:]
    return tiles_of(stage.tasks, height, width, stage.side)


def _plan(job: _Job, tile: int, mode: Mode) -> tuple[list[Stage], list[Store | None]]:
    """The stages, and a store for each exact one; fast mode does less exactly where memory is short."""
    for levels in range(max(EXACT_LEVELS, job.levels) if mode == "fast" else 1, 0, -1):
        stages = stages_of(job.program, job.x.shape, tile, mode, job.color_fix, levels)
        band_values = job.band_values(tile, stages)
        if levels > EXACT_LEVELS and not _as_small_as_sampling(stages, job.x, band_values):
            continue
        stores = [
            _store_for(stage, job.x, band_values, job.storage) if isinstance(stage, Exact) else None
            for stage in stages
        ]
        short = [store is None and isinstance(stage, Exact) for stage, store in zip(stages, stores)]
        if not any(short):
            break
    if any(short) and mode == "exact":
        fast = _plan(job, tile, "fast")
        if any(isinstance(stage, Sampled) for stage in fast[0]):
            job.tell(HANDED_OVER)
            return fast
    return stages, [store or DeviceStore() for store in stores]


def _place(shape: Shape, x: Tensor) -> torch.device:
    """Where a result of this shape is put together: on x's device if it fits twice, else in the host's memory."""
    fits = memory.fits(2 * prod(shape) * x.dtype.itemsize, x.device)
    return x.device if fits else torch.device("cpu")


def _run(job: _Job, tile: int, work: _Work) -> Tensor:
    stages, stores = _plan(job, tile, job.mode)
    band_values, x = job.band_values(tile, stages), job.x
    samples, tiles = {}, {}
    for number, stage in enumerate(stages):
        if isinstance(stage, Sampled):
            samples[number] = Sample(stage.tasks, stage.shape[-2], stage.shape[-1], stage.side)
            tiles[number] = _tiles(stage)
            work.total += samples[number].ticks + len(stage.tasks) * len(tiles[number])
        else:
            work.total += _ticks(stage, band_values)
    for number, (stage, store) in enumerate(zip(stages, stores)):
        place = _place(job.result_shape, x) if number + 1 == len(stages) else job.x.device
        if isinstance(stage, Sampled):
            norms = samples[number].norms(x, work.tick, work.guard)
            x = run_tiles(tiles[number], norms, x, place, work.tick, work.guard)
        else:
            assert store is not None
            x = ExactWorker(store, band_values, work.tick, work.guard).run(stage.tasks, x).take_whole(place)
    return x


def smaller_storage(storage: Storage, mode: Mode, device: torch.device) -> Storage:
    """Where feature maps wait after running out of memory: no more where it ran out, if the choice is ours."""
    return "host" if mode == "exact" and storage == "auto" and device.type != "cpu" else storage


def _run_in_memory(job: _Job, tile_size: int, new_work: Callable[[], _Work]) -> Tensor:
    """`_run` with half the tile, and again half of it, until it no longer runs out of memory."""
    smallest = SMALLEST_TILE if job.program.decodes else SMALLEST_TILE * OPT_F
    tile, device = tile_size, job.x.device
    while True:
        work, failed = new_work(), None
        try:
            out = _run(job, tile, work)
            break
        except Exception as error:
            if not memory.is_out_of_memory(error):
                raise
            if tile <= smallest:
                failed = str(error)
        if failed is not None:  # outside of the handler, which holds on to the tensors
            raise memory.OutOfMemory(
                f"Tiled VAE: out of memory even with tile size {tile}, the smallest that is tried ({failed})."
            )
        tile, job = (
            max(smallest, ceil(tile / 2)),
            replace(job, storage=smaller_storage(job.storage, job.mode, device)),
        )
        if device.type == "cuda":
            torch.cuda.empty_cache()
    if tile != tile_size:
        logger.warning("Out of memory with tile size %d; %d worked.", tile_size, tile)
    if work.guard.redone:
        logger.warning(
            "Half precision overflowed in the VAE; %d parts were redone in float32.", work.guard.redone
        )
    return out


def _without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Types as they are; a torch that knows no autocast for the device has none on."""
    try:
        return torch.autocast(device.type, enabled=False)
    except (RuntimeError, AssertionError):
        return nullcontext()


def _check(x: Tensor, tile_size: int, program: Program) -> None:
    if not isinstance(tile_size, int) or tile_size < 1:
        raise ValueError(f"Tiled VAE: the tile size is {tile_size!r}; allowed are whole numbers from 1.")
    if x.ndim != 4 or not x.numel():
        raise ValueError(
            f"Tiled VAE: the input has the shape {tuple(x.shape)}; allowed is [N, C, H, W], none zero."
        )
    if not prod(shapes_of(program.tasks, x.shape)[-1]):
        smaller = scale_of(program.tasks)[1]
        raise ValueError(f"Tiled VAE: the picture is {x.shape[-1]}x{x.shape[-2]}; each side needs {smaller}.")
    if not bool(x.isfinite().all()):
        raise ValueError(
            "Tiled VAE: the input holds NaN or infinity, so the network before it failed; nothing was computed."
        )


def _understood(net: nn.Module, x: Tensor) -> tuple[Program, Tensor, torch.dtype]:
    """The network's tasks, the input where its first task computes, and the type that it computes in.

    The input has that type too, if it does not overflow it.
    """
    with _TRIAL:
        program = recognise(net)
        with Residence() as residence:
            first = program.tasks[0]
            assert isinstance(first, Convolve)
            residence.bring([*first.holders, first.conv])
            device, dtype = first.conv.weight.device, first.conv.weight.dtype
        trial.check(net, program, dtype, device)
    x = x.to(device)
    rounded = x.to(dtype)
    overflows = dtype == torch.float16 and bool(x.isfinite().all()) and not bool(rounded.isfinite().all())
    return program, x.float() if overflows else rounded, dtype


def run(
    net: nn.Module,
    x: Tensor,
    *,
    tile_size: int,
    mode: Mode = "exact",
    color_fix: bool = False,
    storage: Storage = "auto",
    progress: Callable[[int, int], None] | None = None,
    interrupted: Callable[[], bool] | None = None,
    tell: Callable[[str], None] = logger.warning,
) -> Tensor:
    """What `net(x)` gives, in the memory of a few tiles besides the feature map that waits.

    Args:
        net: an Encoder or Decoder of the `ldm`/`sgm` or the `diffusers` layout.
        x: [N, C, H, W]; latent for a decoder, picture for an encoder.
        tile_size: side of a tile: latent pixels for a decoder, pixels for an encoder. In exact mode the work is
            done in bands of full width and a tile's number of values.
        mode: "exact" equals `net(x)` up to rounding; "fast" estimates the statistics of the large resolutions
            and runs every tile alone.
        color_fix: fast encoder: estimate only before the first downsampling.
        storage: where feature maps wait: on the device, in the host's memory, or where they fit.
        progress: called with (done, total) after every task on a band, crop or tile, and every slice of attention.
        interrupted: asked as often.
        tell: given one sentence when exact mode does not fit and fast mode does the work.

    Returns:
        [N, C', H', W'], on x's device where it fits, else on the CPU; in the type of the network's weights. Without
        gradients.

    Raises:
        UnsupportedNetwork: see `recognise` and `trial`.
        ValueError: `x` is no batch of pictures or holds NaN or infinity, or `tile_size` is no positive whole number.
        Interrupted: `interrupted` said so.
        OutOfMemory: even with small tiles.
    """
    home = x.device
    with torch.no_grad(), _without_autocast(home):
        program, there, dtype = _understood(net, x)
        _check(there, tile_size, program)
        job = _Job(program, there, mode, color_fix, storage, tell)
        out = _run_in_memory(job, tile_size, lambda: _Work(progress, interrupted))
        out = out.to(dtype)
        return out.to(home) if memory.fits(out.numel() * out.element_size(), home) else out
