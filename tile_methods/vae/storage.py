"""Where feature maps wait: as bands of rows, in the device's memory or in the host's."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from tile_methods.vae import memory
from tile_methods.vae.spans import Rows, rows_of


class Store(Protocol):
    """Keeps tensors; hands out rows of them on the device that computes."""

    def keep(self, band: Tensor) -> Any:
        """Take a band [N, C, h, w] in; what comes back stands for it in `prefetch`."""

    def prefetch(self, kept: Any, rows: slice) -> Any:
        """Begin to bring these rows to the device."""

    def ready(self, fetched: Any) -> Tensor:
        """What `prefetch` began, on the device. [N, C, rows, w]"""


class DeviceStore:
    """Everything stays where it is computed."""

    def keep(self, band: Tensor) -> Tensor:
        return band

    def prefetch(self, kept: Tensor, rows: slice) -> Tensor:
        return kept[..., rows, :]

    def ready(self, fetched: Tensor) -> Tensor:
        return fetched


AT_HAND = DeviceStore()


class Kept(NamedTuple):
    """A band in the host's memory, rows first, [h, N, C, w], so that any rows of it are one piece of memory."""

    rows: Tensor
    written: Any
    """CUDA: the event of the copy that fills it."""


class Fetched(NamedTuple):
    """Rows on the device, rows first; on CUDA with the event of the copy that brings them."""

    rows: Tensor
    arrived: Any


class HostStore:
    """Everything waits in the host's memory.

    On CUDA it is pinned, and copied on two streams, one a direction, while the next bands are computed; every copy is
    of one piece of memory, since torch would copy anything else on the CPU, at once, whether it is written yet or not.
    The copy into a band comes before those out of it by an event. Other devices copy at once.

    The band that was kept last is at hand on the device too: the next task begins with it.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        cuda = device.type == "cuda"
        self._away, self._back = (torch.cuda.Stream(device) if cuda else None for _ in range(2))
        self._latest: tuple[Kept, Tensor] | None = None  # (kept, on the device)

    def keep(self, band: Tensor) -> Kept:
        kept = self._to_host(band.permute(2, 0, 1, 3))
        self._latest = (kept, band)
        return kept

    def prefetch(self, kept: Kept, rows: slice) -> Fetched:
        if self._latest is not None and self._latest[0] is kept:
            return Fetched(self._latest[1][..., rows, :].permute(2, 0, 1, 3), None)
        return self._to_device(kept, rows)

    def ready(self, fetched: Fetched) -> Tensor:
        if fetched.arrived is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_event(fetched.arrived)
            fetched.rows.record_stream(current)  # its memory must not be used again before it is read
        return fetched.rows.permute(1, 2, 0, 3)

    def _to_host(self, rows: Tensor) -> Kept:
        if self._away is None:
            return Kept(rows.cpu(), None)
        rows = rows.contiguous()
        kept = torch.empty(rows.shape, dtype=rows.dtype, pin_memory=True)
        self._away.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._away):
            kept.copy_(rows, non_blocking=True)
        rows.record_stream(self._away)  # likewise, before the copy is done
        memory.PINNED.hold(kept)
        return Kept(kept, self._away.record_event())

    def _to_device(self, kept: Kept, rows: slice) -> Fetched:
        if self._back is None:
            return Fetched(kept.rows[rows].to(self._device), None)
        self._back.wait_event(kept.written)
        with torch.cuda.stream(self._back):
            fetched = kept.rows[rows].to(self._device, non_blocking=True)
        return Fetched(fetched, self._back.record_event())


class FeatureMap:
    """Rows of a feature map [N, C, height, W] as bands: band i holds rows bounds[i] ... bounds[i + 1].

    The bands `own` are computed here. One of a single row before and one after them may be `borrowed`: what lies there
    is computed elsewhere, and is always at hand.
    """

    def __init__(
        self, bounds: Sequence[int], store: Store, borrowed: tuple[bool, bool] = (False, False)
    ) -> None:
        above, below = borrowed
        self.bounds = [
            *([bounds[0] - 1] if above else []), *bounds, *([bounds[-1] + 1] if below else [])
        ]  # fmt: skip
        self.own = range(above, above + len(bounds) - 1)
        self._latest = self.own.start
        self._store = store
        self._bands: list[tuple[Store, Any] | None] = [None] * (len(self.bounds) - 1)
        self._types: set[torch.dtype] = set()

    @property
    def bands(self) -> list[tuple[int, tuple[int, int]]]:
        """Number, first row and last row + 1 of our own."""
        spans = list(pairwise(self.bounds))
        return [(band, spans[band]) for band in self.own]

    @property
    def upwards(self) -> bool:
        """Was another band than the first put last?"""
        return self._latest > self.own.start

    def beside(self) -> FeatureMap:
        """An empty one with the same bands, for what is put aside."""
        return FeatureMap(self.bounds[self.own.start : self.own.stop + 1], self._store, self.borrows)

    @property
    def borrows(self) -> tuple[bool, bool]:
        """Is a row above our own borrowed, and one below?"""
        return self.own.start > 0, self.own.stop < len(self._bands)

    def put(self, index: int, band: Tensor) -> None:
        self._bands[index] = self._store, self._store.keep(band)
        self._types.add(band.dtype)
        self._latest = index

    def borrow(self, above: Tensor, below: Tensor) -> None:
        """Take the rows beyond our own, as far as there are any. Both [N, C, 1, W]"""
        for index, row, wanted in zip((0, -1), (above, below), self.borrows):
            if wanted:
                self._bands[index] = AT_HAND, row

    def edges(self) -> Tensor:
        """The first and the last of our own rows. [N, C, 2, W]"""
        first, last = self.bounds[self.own.start], self.bounds[self.own.stop]
        rows = [rows_of(self.bounds, row, row + 1) for row in (first, last - 1)]
        return torch.cat([piece for pieces in self.stream(rows, None) for piece in pieces], -2)

    def stream(
        self, reads: Sequence[Sequence[Rows]], given_up: Sequence[Sequence[int]] | None
    ) -> Iterator[list[Tensor]]:
        """The rows of each read in turn, the next ones already on their way.

        Args:
            given_up: bands that are no longer needed after each read; nothing is given up if None.
        """
        on_the_way = self._prefetch(reads[0])
        for position in range(len(reads)):
            pieces = [store.ready(one) for store, one in on_the_way]
            on_the_way = self._prefetch(reads[position + 1]) if position + 1 < len(reads) else []
            for band in given_up[position] if given_up is not None else ():
                self._bands[band] = None
            yield pieces
            del pieces

    def _prefetch(self, read: Sequence[Rows]) -> list[tuple[Store, Any]]:
        return [self._fetched(rows.band, slice(rows.start, rows.stop)) for rows in read]

    def _fetched(self, band: int, rows: slice) -> tuple[Store, Any]:
        held = self._bands[band]
        assert held is not None  # what was given up is read no more
        store, kept = held
        return store, store.prefetch(kept, rows)

    def take_whole(self, device: torch.device) -> Tensor:
        """All our own rows in one tensor on `device`, in a type that holds every band; they are given up on the way."""
        dtype, out = functools.reduce(torch.promote_types, self._types), None
        first, last = self.bounds[self.own.start], self.bounds[self.own.stop]
        for index, (start, end) in self.bands:
            store, one = self._fetched(index, slice(None))
            band = store.ready(one)
            if out is None:
                size = (*band.shape[:2], last - first, band.shape[-1])
                out = torch.empty(size, dtype=dtype, device=device)
            out[..., start - first : end - first, :] = band
            self._bands[index] = None
        assert out is not None  # there is at least one band
        return out
