"""Where feature maps wait: as bands of rows, in the device's memory or in the host's."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

RESERVE = 0.85
"""Part of the free memory that may be planned for."""
MEMINFO = Path("/proc/meminfo")


class Store(Protocol):
    """Keeps tensors; hands out rows of them on the device that computes."""

    def keep(self, band: Tensor) -> Any:
        """Take a band in; what comes back stands for it in `prefetch`."""

    def prefetch(self, kept: Any, rows: slice) -> Any:
        """Begin to bring these rows to the device."""

    def ready(self, fetched: Any) -> Tensor:
        """What `prefetch` began, on the device."""


class DeviceStore:
    """Everything stays where it is computed."""

    def keep(self, band: Tensor) -> Tensor:
        return band

    def prefetch(self, kept: Tensor, rows: slice) -> Tensor:
        return kept[..., rows, :]

    def ready(self, fetched: Tensor) -> Tensor:
        return fetched


class HostStore:
    """Everything waits in the host's memory; on CUDA pinned, and moved on a stream of its own while others compute.

    The band that was kept last is at hand on the device too: the next task begins with it.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._latest: tuple[Tensor, Tensor] | None = None  # (kept, on the device)

    @staticmethod
    def block_size(size: int, device: torch.device) -> int:
        """What a band of `size` bytes takes: torch hands out pinned memory in powers of two."""
        return 1 << (size - 1).bit_length() if device.type == "cuda" else size

    def keep(self, band: Tensor) -> Tensor:
        kept = self._to_host(band)
        self._latest = (kept, band)
        return kept

    def prefetch(self, kept: Tensor, rows: slice) -> Tensor:
        if self._latest is not None and self._latest[0] is kept:
            return self._latest[1][..., rows, :]
        return self._to_device(kept[..., rows, :])

    def _to_host(self, band: Tensor) -> Tensor:
        if self._stream is None:
            return band.cpu()
        kept = torch.empty(band.shape, dtype=band.dtype, pin_memory=True)
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            kept.copy_(band, non_blocking=True)
        band.record_stream(self._stream)  # its memory must not be used again before the copy is done
        return kept

    def _to_device(self, rows: Tensor) -> Tensor:
        if self._stream is None:
            return rows.to(self._device)
        with torch.cuda.stream(self._stream):
            return rows.to(self._device, non_blocking=True)

    def ready(self, fetched: Tensor) -> Tensor:
        if self._stream is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_stream(self._stream)
            fetched.record_stream(current)
        return fetched


class FeatureMap:
    """A feature map [N, C, height, W] as bands: band i holds rows bounds[i] ... bounds[i + 1]."""

    def __init__(self, bounds: list[int], store: Store) -> None:
        self.bounds = bounds
        self.height = bounds[-1]
        self._store = store
        self._bands: list[Any] = [None] * (len(bounds) - 1)

    def put(self, index: int, band: Tensor) -> None:
        self._bands[index] = self._store.keep(band)

    def parts(self, top: int, bottom: int) -> list[tuple[int, slice]]:
        """(band, rows of it) that make up the rows top ... bottom."""
        return [
            (index, slice(max(top, start) - start, min(bottom, end) - start))
            for index, (start, end) in enumerate(pairwise(self.bounds))
            if start < bottom and end > top
        ]

    def stream(self, reads: list[list[tuple[int, slice]]], release: bool) -> Iterator[list[Tensor]]:
        """The rows of each read in turn, the next ones already on their way.

        With `release`, a band is given up when no later read needs it.
        """
        last_use = {index: position for position, parts in enumerate(reads) for index, _ in parts}
        on_the_way = self._prefetch(reads[0])
        for position in range(len(reads)):
            pieces = [self._store.ready(one) for one in on_the_way]
            if position + 1 < len(reads):
                on_the_way = self._prefetch(reads[position + 1])
            yield pieces
            for index, position_done in last_use.items():
                if release and position_done == position:
                    self._bands[index] = None

    def _prefetch(self, parts: list[tuple[int, slice]]) -> list[Any]:
        return [self._store.prefetch(self._bands[index], rows) for index, rows in parts]

    def take_whole(self, device: torch.device) -> Tensor:
        """All rows in one tensor on `device`, in a type that holds every band; they are given up on the way."""
        first = self._bands[0]
        dtype = functools.reduce(torch.promote_types, (band.dtype for band in self._bands))
        out = torch.empty(*first.shape[:-2], self.height, first.shape[-1], dtype=dtype, device=device)
        for index, (start, end) in enumerate(pairwise(self.bounds)):
            band = self._store.ready(self._store.prefetch(self._bands[index], slice(None)))
            out[..., start:end, :] = band
            self._bands[index] = None
        return out


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be allocated on a device, or None where nobody tells."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    return _available_memory() if device.type == "cpu" else None


def _available_memory() -> int | None:
    """Bytes of the host's memory, what the system would take from its caches included where it tells."""
    try:
        lines = MEMINFO.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        known = "SC_AVPHYS_PAGES" in getattr(os, "sysconf_names", {})
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if known else None


def fits(size: int, device: torch.device) -> bool:
    """Can `size` bytes be had on the device? Where nobody tells, yes."""
    free = free_memory(device)
    return free is None or size <= RESERVE * free
