"""Tiled VAE: the forward of an encoder or decoder in little memory, exactly by default."""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import ceil
from typing import Any, Literal

import torch
from torch import Tensor

from tile_methods.vae_exact import ExactWorker, output_channels, output_height, plan_bounds
from tile_methods.vae_fast import estimate, run_tiles, tile_boxes
from tile_methods.vae_layers import redone
from tile_methods.vae_program import DOWN, UP, Attend, Convolve, Task, compile_network, resize_of
from tile_methods.vae_storage import DeviceStore, HostStore, Store, fits
from tile_utils.geometry import OPT_F

logger = logging.getLogger("Tiled VAE")

Mode = Literal["exact", "fast"]
Storage = Literal["auto", "device", "host"]
SMALLEST_TILE = 16
"""Latent pixels; out of memory below this is final."""
BANDS_AT_WORK = 6
"""Bands' worth of memory that one convolution takes besides what waits: input, its activation, workspace, output."""
EXACT_LEVELS = 2
"""Fast mode: resolutions next to the latent that are exact all the same, or fewer where memory is short."""


class Interrupted(Exception):
    """The caller asked to stop."""


class _Work:
    """Counts bands and tiles, reports them, and stops when asked to."""

    def __init__(
        self, progress: Callable[[int, int], None] | None, interrupted: Callable[[], bool] | None
    ) -> None:
        self._progress, self._interrupted = progress, interrupted
        self._done = self.total = 0

    def tick(self) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, max(self.total, self._done))
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


def _waiting_bytes(tasks: list[Task], x: Tensor, dtype: torch.dtype) -> int:
    """The most that waits at one time, when bands are freed as they are read."""
    height, width, channels = x.shape[-2], x.shape[-1], x.shape[1]
    most = aside = 0
    for task in tasks:
        source = height * width * channels
        height, width = output_height(task, height), output_height(task, width)
        channels = output_channels(task, channels)
        target = height * width * channels
        most = max(most, aside + max(source, target))
        if isinstance(task, Convolve) and task.opens:
            aside = source if task.shortcut is None else target
            most = max(most, aside + target)
        elif isinstance(task, Attend) or task.closes:
            aside = 0
    return most * x.shape[0] * dtype.itemsize


def _store_for(
    tasks: list[Task], x: Tensor, dtype: torch.dtype, band_values: int, storage: Storage
) -> Store | None:
    """Where feature maps can wait, or None if nowhere."""
    if storage == "device":
        return DeviceStore()
    if storage == "host":
        return HostStore(x.device)
    waiting = _waiting_bytes(tasks, x, dtype)
    if fits(waiting + BANDS_AT_WORK * band_values * dtype.itemsize, x.device):
        return DeviceStore()
    if x.device.type != "cpu" and fits(waiting, torch.device("cpu")):
        logger.info("Feature maps of %.1f GiB wait in the host's memory.", waiting / 2**30)
        return HostStore(x.device)
    return None


def _band_values(tasks: list[Task], x: Tensor, tile_size: int) -> int:
    """Values of a full-resolution feature map of one tile, which a band has too."""
    if _is_decoder(tasks):
        scale = 2 ** sum(resize_of(task) == UP for task in tasks)
        return x.shape[0] * (tile_size * scale) ** 2 * _convolutions(tasks)[-1].conv.in_channels
    return x.shape[0] * tile_size**2 * _convolutions(tasks)[0].conv.out_channels


def _bands(tasks: list[Task], x_shape: tuple[int, ...], band_values: int) -> int:
    """How many bands `tasks` work off."""
    _, channels, height, width = x_shape
    count = 0
    for task in tasks:
        height, width = output_height(task, height), output_height(task, width)
        channels = output_channels(task, channels)
        count += 1 if isinstance(task, Attend) else len(plan_bounds(height, width, channels, band_values)) - 1
    return count


def _result_place(tasks: list[Task], x: Tensor, dtype: torch.dtype) -> torch.device:
    """Where the result is put together: with the input if it fits twice, else in the host's memory."""
    height, width = x.shape[-2:]
    for task in tasks:
        height, width = output_height(task, height), output_height(task, width)
    size = x.shape[0] * height * width * _convolutions(tasks)[-1].conv.out_channels * dtype.itemsize
    return x.device if fits(2 * size, x.device) else torch.device("cpu")


def _run(
    tasks: list[Task], x: Tensor, dtype: torch.dtype, tile: int, mode: Mode, color_fix: bool, storage: Storage,
    work: _Work,
) -> Tensor:  # fmt: skip
    band_values = _band_values(tasks, x, tile)
    for levels in range(EXACT_LEVELS if mode == "fast" else 1, 0, -1):
        start, end = _stretch(tasks, mode, color_fix, levels)
        store = _store_for(tasks[:start] if start else tasks[end:], x, dtype, band_values, storage)
        if store is not None:
            break
    if store is None and mode == "exact":
        logger.warning("The picture is too large for exact mode in this machine's memory; fast mode does it.")
        return _run(tasks, x, dtype, tile, "fast", color_fix, storage, work)
    store = store or DeviceStore()
    place = _result_place(tasks, x, dtype)
    before, tiled, after = tasks[:start], _convolutions(tasks[start:end]), tasks[end:]
    work.total = _bands(before, x.shape, band_values // x.shape[0])
    height = x.shape[-2]
    worker = ExactWorker(store, band_values, work.tick)
    if before:
        final = not tiled
        x = worker.run(before, x).take_whole(place if final else x.device)
    if tiled:
        side = max(1, tile * x.shape[-2] // height)
        work.total += len(tile_boxes(x.shape[-2], x.shape[-1], side, 1))
        x = run_tiles(tiled, estimate(tiled, x), x, side, x.device if after else place, work.tick)
    if after:
        work.total += _bands(after, x.shape, band_values // x.shape[0])
        x = worker.run(after, x).take_whole(place)
    return x


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
        progress: called with (done, total) after every band or tile.
        interrupted: asked after every band or tile.

    Returns:
        [N, C', H', W'], on x's device where it fits, else on the CPU; in the type of the network's weights.

    Raises:
        UnsupportedNetwork: see `vae_program`.
        ValueError: `x` is no batch of pictures or holds NaN, or `tile_size` is no positive whole number.
        Interrupted: `interrupted` said so.
        torch.OutOfMemoryError: even with small tiles.
    """
    tasks = compile_network(net)
    _check(x, tile_size)
    weight = net.conv_in.weight
    smallest = SMALLEST_TILE if _is_decoder(tasks) else SMALLEST_TILE * OPT_F
    tile, redone_before = tile_size, redone.pieces
    with torch.no_grad(), torch.autocast(weight.device.type, enabled=False):
        x = x.to(weight.device, weight.dtype)
        while True:
            try:
                out = _run(
                    tasks, x, weight.dtype, tile, mode, color_fix, storage, _Work(progress, interrupted)
                )
                break
            except torch.OutOfMemoryError:
                if tile <= smallest:
                    raise
            tile = max(smallest, ceil(tile / 2))  # outside of the handler, which holds on to the tensors
            storage = "host" if mode == "exact" and storage == "auto" and x.device.type != "cpu" else storage
            if weight.device.type == "cuda":
                torch.cuda.empty_cache()
        if tile != tile_size:
            logger.warning("Out of memory with tile size %d; %d worked.", tile_size, tile)
        if pieces := redone.pieces - redone_before:
            logger.warning("Half precision overflowed in the VAE; %d parts were redone in float32.", pieces)
        return out
