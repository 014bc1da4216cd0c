"""What a model sees beyond the edges of what it is given, where the canvas' own are joined."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from tile_host.door import host
from tile_methods.fuse import Model
from tile_methods.joins import Joins, joined
from tile_methods.patch import Batch
from tile_utils.surface import Surface


class Edges:
    """Of one pass on a surface.

    Convolutions go on at the opposite edge where what they are given goes all the way around, and are padded as ever
    where it does not: whatever the host's *Tiling* has made of them.
    """

    def __init__(self, p: Any, surface: Surface) -> None:
        self._p, self._surface, self._joins = p, surface, Joins(surface.wraps)

    @property
    def are_joined(self) -> bool:
        return any(self._surface.wraps)

    @contextmanager
    def padded(self) -> Iterator[None]:
        """Around each call of the denoiser: the networks may be others at the next one."""
        if not self.are_joined:
            yield
            return
        networks = [host.sampling.network(self._p), *host.controls.networks(self._p)]
        with joined(networks, self._joins):
            yield

    def telling(self, model: Model) -> Model:
        """The model, whose convolutions are told at which edges a batch's patches are joined to themselves."""

        def of_batch(batch: Batch, x: Tensor, sigma: Tensor, cond: Any) -> Tensor:
            self._joins.wraps = self._surface.closed(batch.windows[0])
            return model(batch, x, sigma, cond)

        return of_batch
