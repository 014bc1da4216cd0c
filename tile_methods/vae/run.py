"""Tiled VAE: the forward of an encoder or decoder in little memory, exactly by default."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from tile_methods.ranks import ALONE, Ranks
from tile_methods.vae import memory, trial
from tile_methods.vae.exact import ExactWorker
from tile_methods.vae.fast import Sample, run_tiles, share_of
from tile_methods.vae.job import Job, Storage, exact_ticks, place_for, plan_stages
from tile_methods.vae.layers import Guard
from tile_methods.vae.plan_fast import stage_tiles
from tile_methods.vae.program import Convolve, Program, scale_of, shapes_of
from tile_methods.vae.recognise import recognise
from tile_methods.vae.residence import Residence
from tile_methods.vae.stages import Mode, Sampled

logger = logging.getLogger("Tiled VAE")

_TRIAL = threading.Lock()
"""A trial puts hooks on the network, which another thread must not take for the network's own."""


class Interrupted(Exception):
    """The caller asked to stop."""


AGREED = (
    (memory.is_out_of_memory, memory.OutOfMemory),
    (lambda error: isinstance(error, Interrupted), Interrupted),
)
"""Failures that mean the same on all ranks: they try again with smaller tiles, or stop."""


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


def _run(job: Job, tile: int, work: _Work) -> Tensor:
    (stages, stores, band_values), x = plan_stages(job, tile, job.mode), job.x
    samples, tiles = {}, {}
    for number, stage in enumerate(stages):
        if isinstance(stage, Sampled):
            samples[number] = Sample(stage.tasks, stage.shape[-2], stage.shape[-1], stage.side)
            tiles[number] = stage_tiles(stage)
            work.total += samples[number].ticks + len(stage.tasks) * len(share_of(tiles[number], job.ranks))
        else:
            work.total += exact_ticks(stage, band_values, job.ranks)
    for number, (stage, store) in enumerate(zip(stages, stores)):
        place = place_for(job.result_shape, x) if number + 1 == len(stages) else job.x.device
        if isinstance(stage, Sampled):
            norms = samples[number].norms(x, work.tick, work.guard)
            x = run_tiles(tiles[number], norms, x, place, work.tick, work.guard, job.ranks)
        else:
            assert store is not None
            worker = ExactWorker(store, band_values, work.tick, work.guard, job.ranks)
            x = worker.whole(stage.tasks, x, place)
    return x


def smaller_storage(storage: Storage, mode: Mode, device: torch.device) -> Storage:
    """Where feature maps wait after running out of memory: no more where it ran out, if the choice is ours."""
    return "host" if mode == "exact" and storage == "auto" and device.type != "cpu" else storage


def _run_in_memory(job: Job, tile_size: int, new_work: Callable[[], _Work]) -> Tensor:
    """`_run` with half the tile, and again half of it, until it no longer runs out of memory."""
    device = job.x.device
    for tile in job.tiles(tile_size):
        work, failed = new_work(), ""
        try:
            with job.ranks.together(AGREED):
                out = _run(job, tile, work)
                job.ranks.meet("the end of Tiled VAE")
            break
        except Exception as error:
            if not memory.is_out_of_memory(error):
                raise
            failed = str(error)
        job = replace(job, storage=smaller_storage(job.storage, job.mode, device))
        if device.type == "cuda":
            torch.cuda.empty_cache()
    else:
        raise memory.OutOfMemory(
            f"Tiled VAE: out of memory even with tile size {tile}, the smallest that is tried ({failed})."
        )
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


def check_tile(size: Any) -> None:
    """Raises:
    ValueError: it is no side of a tile.
    """
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"Tiled VAE: the tile size is {size!r}; allowed are whole numbers from 1.")


def _check(x: Tensor, tile_size: int, program: Program) -> None:
    check_tile(tile_size)
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
    ranks: Ranks = ALONE,
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
        ranks: they all call this with the same arguments and get the same result; the work is shared out.

    Returns:
        [N, C', H', W'], on x's device where it fits, else on the CPU; in the type of the network's weights. Without
        gradients.

    Raises:
        UnsupportedNetwork: see `recognise` and `trial`.
        ValueError: `x` is no batch of pictures or holds NaN or infinity, or `tile_size` is no positive whole number.
        Interrupted: `interrupted` said so.
        OutOfMemory: even with small tiles.
        RankError: another rank failed, is gone or hangs.
    """
    home = x.device
    with torch.no_grad(), _without_autocast(home):
        with ranks.together():
            program, there, dtype = _understood(net, x)
            _check(there, tile_size, program)
            there = ranks.same(there, "decoding" if program.decodes else "encoding")
        job = Job(program, there, mode, color_fix, storage, tell, ranks, ranks.beside)
        out = _run_in_memory(job, tile_size, lambda: _Work(progress, interrupted))
        out = out.to(dtype)
        return out.to(home) if memory.fits(out.numel() * out.element_size(), home) else out
