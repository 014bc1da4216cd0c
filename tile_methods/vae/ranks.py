"""Exact work over ranks: each holds a slab of the picture's rows, from the first task to the last.

A slab's neighbours lend it one row each side after every task; a picture that is joined at its edges lends itself its
own. Statistics are pooled over all ranks, attention asks all pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tile_methods.ranks import ALONE, Ranks
from tile_methods.vae.program import Convolve, Shape, Task, scale_of
from tile_methods.vae.spans import output_length
from tile_methods.vae.storage import FeatureMap
from tile_utils.group_norm import Moments, pool


@dataclass(frozen=True)
class Slab:
    """The rows of a feature map that are ours.

    Args:
        ranks: who holds rows.
        cuts: the first row of each rank, and the map's height.
        ring: do the first and the last row lie next to each other?
    """

    ranks: Ranks
    cuts: Sequence[int]
    ring: bool = False

    @property
    def top(self) -> int:
        return self.cuts[self.ranks.rank]

    @property
    def rows(self) -> int:
        return self.cuts[self.ranks.rank + 1] - self.top

    @property
    def height(self) -> int:
        """Of the whole map."""
        return self.cuts[-1]

    @property
    def borrows(self) -> tuple[bool, bool]:
        """Are there rows above ours, and below?"""
        return self.ring or self.ranks.rank > 0, self.ring or self.ranks.rank + 1 < self.ranks.size

    def of(self, shape: Shape) -> tuple[int, int, int, int]:
        """[N, C, h, W] of our part of a map of this shape."""
        return shape[0], shape[1], self.rows, shape[3]

    def resized(self, resize: int) -> Slab:
        """Of what a task makes of the map."""
        return replace(self, cuts=[output_length(resize, cut) for cut in self.cuts])

    def lend(self, feature_map: FeatureMap, dtype: torch.dtype) -> None:
        """Give our first and last row to our neighbours, and take theirs.

        Args:
            dtype: of the network; rows travel in float32 at least, for a band that overflowed is that.
        """
        if not (self.ring or self.ranks.size > 1):
            return
        edges = feature_map.edges().to(torch.promote_types(dtype, torch.float32))
        of_all, rank = self.ranks.gathered(edges), self.ranks.rank
        above, below = of_all[rank - 1], of_all[(rank + 1) % self.ranks.size]
        feature_map.borrow(above[..., 1:, :], below[..., :1, :])

    def pooled(self, moments: Sequence[Moments]) -> Moments:
        """The moments of the whole map, of those of our bands."""
        own = pool(moments)
        count = torch.full_like(own.mean, own.count)
        of_all = self.ranks.gathered(torch.stack([count, own.mean, own.var]))
        return pool([Moments(int(count.flatten()[0]), mean, var) for count, mean, var in of_all])

    def joined(self, own: Tensor) -> Tensor:
        """The whole map, of our rows of it; in float32 if any rank's are."""
        return self.ranks.joined(self.ranks.widest(own), 2)


def slab_of(tasks: Sequence[Task], height: int, ranks: Ranks) -> Slab:
    """Our part of what goes into the tasks; everything where there are fewer rows of latent pixels than ranks."""
    unit = scale_of(tasks)[1]
    if height // unit < ranks.size:
        ranks = ALONE
    cuts = [height // unit * rank // ranks.size * unit for rank in range(ranks.size)]
    ring = any(isinstance(task, Convolve) and task.wraps[0] for task in tasks)
    return Slab(ranks, [*cuts, height], ring)
