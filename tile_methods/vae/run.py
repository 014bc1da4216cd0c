"""Tiled VAE: the forward of an encoder or decoder in little memory, exactly by default."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import accumulate, pairwise
from math import ceil, prod
from typing import Any, Literal

import torch
from torch import Tensor

from tile_methods.vae.exact import ExactWorker, output_shape, plan_bounds
from tile_methods.vae.fast import chunks_of_crops, estimate, run_tiles, tile_boxes
from tile_methods.vae.layers import Guard
from tile_methods.vae.program import DOWN, UP, Attend, Convolve, Task, compile_network, resize_of
from tile_methods.vae.storage import DeviceStore, HostStore, Store, fits
from tile_utils.surface import OPT_F

logger = logging.getLogger("Tiled VAE")

Mode = Literal["exact", "fast"]
Storage = Literal["auto", "device", "host"]
Shape = Sequence[int]
OUT_OF_MEMORY: type[Exception] = torch.cuda.OutOfMemoryError
"""By the name that torch has had since 2.0; `torch.OutOfMemoryError` came with 2.5."""
SMALLEST_TILE = 16
"""Latent pixels; out of memory below this is final."""
BANDS_AT_WORK = 6
"""Bands' worth of memory that one convolution takes besides what waits: input, its activation, workspace, output."""
EXACT_LEVELS = 2
"""Fast mode: resolutions next to the latent that are exact all the same, or fewer where memory is short."""


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
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self.total)
        if self._interrupted is not None and self._interrupted():
            raise Interrupted


def _is_decoder(tasks: list[Task]) -> bool:
    return any(resize_of(task) == UP for task in tasks)


def _convolutions(tasks: list[Task]) -> list[Convolve]:
    """The tasks but attention, which is never part of what runs tile by tile."""
    return [task for task in tasks if isinstance(task, Convolve)]


def _stretch(tasks: list[Task], mode: Mode, color_fix: bool, exact_levels: int) -> tuple[int, int]:
    """(first, last + 1) of the tasks whose statistics are estimated: the large resolutions in fast mode, or none."""
    if mode == "exact":
        return len(tasks), len(tasks)
    if _is_decoder(tasks):
        ups = [i for i, task in enumerate(tasks) if resize_of(task) == UP]
        return ups[min(exact_levels, len(ups)) - 1], len(tasks)
    downs = [i for i, task in enumerate(tasks) if resize_of(task) == DOWN]
    return 0, downs[0 if color_fix else max(0, len(downs) - exact_levels)] + 1


def _shapes(tasks: list[Task], shape: Shape) -> list[Shape]:
    """[N, C, H, W] of what goes in, and of what comes out of each task."""
    return list(accumulate(tasks, lambda before, task: output_shape(task, before), initial=shape))


def _waiting_bytes(tasks: list[Task], sizes: list[int]) -> int:
    """The most that waits at one time, when bands are freed as they are read.

    Args:
        sizes: bytes of what goes into the first task, and of what comes out of each.
    """
    most = aside = 0
    for task, (source, target) in zip(tasks, pairwise(sizes)):
        most = max(most, aside + max(source, target))
        if isinstance(task, Convolve) and task.opens:
            aside = source if task.shortcut is None else target
            most = max(most, aside + target)
        elif isinstance(task, Attend) or task.closes:
            aside = 0
    return most


def _pinned_bytes(shape: Shape, dtype: torch.dtype, band_values: int, device: torch.device) -> int:
    """What a feature map takes in a HostStore."""
    row = prod(shape) // shape[-2] * dtype.itemsize
    bands = pairwise(plan_bounds(shape, band_values))
    return sum(HostStore.block_size(row * (bottom - top), device) for top, bottom in bands)


def _store_for(
    tasks: list[Task], shape: Shape, dtype: torch.dtype, device: torch.device, band_values: int,
    storage: Storage,
) -> Store | None:  # fmt: skip
    """Where feature maps can wait while exact work is done on something of this shape, or None if nowhere."""
    if storage == "device":
        return DeviceStore()
    shapes = _shapes(tasks, shape)
    if storage == "auto":
        waiting = _waiting_bytes(tasks, [prod(one) * dtype.itemsize for one in shapes])
        if fits(waiting + BANDS_AT_WORK * band_values * shape[0] * dtype.itemsize, device):
            return DeviceStore()
        if device.type == "cpu":
            return None
    waiting = _waiting_bytes(tasks, [_pinned_bytes(one, dtype, band_values, device) for one in shapes])
    if not fits(waiting, torch.device("cpu")):
        return None
    logger.info("Feature maps of %.1f GiB wait in the host's memory.", waiting / 2**30)
    return HostStore(device)


def _band_values(tasks: list[Task], tile_size: int) -> int:
    """Values of a full-resolution feature map of one tile of one image, which a band has too."""
    if _is_decoder(tasks):
        scale = 2 ** sum(resize_of(task) == UP for task in tasks)
        return (tile_size * scale) ** 2 * _convolutions(tasks)[-1].conv.in_channels
    return tile_size**2 * _convolutions(tasks)[0].conv.out_channels


def _bands(tasks: list[Task], shape: Shape, band_values: int) -> int:
    """How many bands `tasks` work off."""
    return sum(
        1 if isinstance(task, Attend) else len(plan_bounds(target, band_values)) - 1
        for task, target in zip(tasks, _shapes(tasks, shape)[1:])
    )


def _result_place(shape: Shape, dtype: torch.dtype, device: torch.device) -> torch.device:
    """Where a result of this shape is put together: on the device if it fits twice, else in the host's memory."""
    return device if fits(2 * prod(shape) * dtype.itemsize, device) else torch.device("cpu")


def _run(
    tasks: list[Task], x: Tensor, tile: int, mode: Mode, color_fix: bool, storage: Storage, work: _Work
) -> Tensor:
    band_values, shapes, dtype, device = _band_values(tasks, tile), _shapes(tasks, x.shape), x.dtype, x.device
    for levels in range(EXACT_LEVELS if mode == "fast" else 1, 0, -1):
        start, end = _stretch(tasks, mode, color_fix, levels)
        exact, shape = (tasks[:start], x.shape) if start else (tasks[end:], shapes[end])
        store = _store_for(exact, shape, dtype, device, band_values, storage)
        if store is not None:
            break
    if store is None and mode == "exact":
        logger.warning("The picture is too large for exact mode in this machine's memory; fast mode does it.")
        return _run(tasks, x, tile, "fast", color_fix, storage, work)
    worker = ExactWorker(store or DeviceStore(), band_values, work.tick, work.guard)
    place = _result_place(shapes[-1], dtype, device)
    before, tiled, after = tasks[:start], _convolutions(tasks[start:end]), tasks[end:]
    work.total = _bands(before, x.shape, band_values) + _bands(after, shapes[end], band_values)
    if tiled:
        height, width = shapes[start][-2:]
        side = max(1, tile * height // x.shape[-2])
        chunks = chunks_of_crops(tiled, height, width, side)
        work.total += len(tiled) * (len(chunks) + len(tile_boxes(height, width, side, 1)))
    if before:
        x = worker.run(before, x).take_whole(device if tiled else place)
    if tiled:
        norms = estimate(tiled, x, chunks, work.tick, work.guard)
        x = run_tiles(tiled, norms, x, side, device if after else place, work.tick, work.guard)
    if after:
        x = worker.run(after, x).take_whole(place)
    return x


def _run_in_memory(
    tasks: list[Task], x: Tensor, tile_size: int, mode: Mode, color_fix: bool, storage: Storage,
    new_work: Callable[[], _Work],
) -> Tensor:  # fmt: skip
    """`_run` with half the tile, and again half of it, until it no longer runs out of memory."""
    smallest = SMALLEST_TILE if _is_decoder(tasks) else SMALLEST_TILE * OPT_F
    tile = tile_size
    while True:
        work = new_work()
        try:
            out = _run(tasks, x, tile, mode, color_fix, storage, work)
            break
        except OUT_OF_MEMORY:
            if tile <= smallest:
                raise
        tile = max(smallest, ceil(tile / 2))  # outside of the handler, which holds on to the tensors
        storage = "host" if mode == "exact" and storage == "auto" and x.device.type != "cpu" else storage
        if x.device.type == "cuda":
            torch.cuda.empty_cache()
    if tile != tile_size:
        logger.warning("Out of memory with tile size %d; %d worked.", tile_size, tile)
    if work.guard.redone:
        logger.warning(
            "Half precision overflowed in the VAE; %d parts were redone in float32.", work.guard.redone
        )
    return out.to(x.dtype)


def _without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Types as they are; a torch that knows no autocast for the device has none on."""
    try:
        return torch.autocast(device.type, enabled=False)
    except (RuntimeError, AssertionError):
        return nullcontext()


def _check(x: Tensor, tile_size: int) -> None:
    if not isinstance(tile_size, int) or tile_size < 1:
        raise ValueError(f"Tiled VAE: the tile size is {tile_size!r}; allowed are whole numbers from 1.")
    if x.ndim != 4 or not x.numel():
        raise ValueError(
            f"Tiled VAE: the input has the shape {tuple(x.shape)}; allowed is [N, C, H, W], none zero."
        )
    if bool(x.isnan().any()):
        raise ValueError(
            "Tiled VAE: the input holds NaN, so the network before it failed; nothing was computed."
        )


def run(
    net: Any,
    x: Tensor,
    *,
    tile_size: int,
    mode: Mode = "exact",
    color_fix: bool = False,
    storage: Storage = "auto",
    progress: Callable[[int, int], None] | None = None,
    interrupted: Callable[[], bool] | None = None,
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
        progress: called with (done, total) after every task on a band, crop or tile.
        interrupted: asked as often.

    Returns:
        [N, C', H', W'], on x's device where it fits, else on the CPU; in the type of the network's weights. Without
        gradients.

    Raises:
        UnsupportedNetwork: see `program`.
        ValueError: `x` is no batch of pictures or holds NaN, or `tile_size` is no positive whole number.
        Interrupted: `interrupted` said so.
        OUT_OF_MEMORY: even with small tiles.
    """
    tasks = compile_network(net)
    _check(x, tile_size)
    weight = net.conv_in.weight
    with torch.no_grad(), _without_autocast(weight.device):
        x = x.to(weight.device, weight.dtype)
        return _run_in_memory(
            tasks, x, tile_size, mode, color_fix, storage, lambda: _Work(progress, interrupted)
        )
