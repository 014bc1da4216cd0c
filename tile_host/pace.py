"""How fast the last tiled picture was drawn, for the estimate of the next one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_last: list[float] = []


def last() -> float | None:
    """Seconds per latent pixel of a tile and step, of one picture; None before the first tiled picture."""
    return _last[-1] if _last else None


@contextmanager
def measured(work: int, clock: Callable[[], float] = time.perf_counter) -> Iterator[Callable[[int], None]]:
    """Around a pass of `work` latent pixels a step; call what it yields with the sampler's step before each call.

    The pace is taken between beginnings of steps, so preparations and the last step do not count.
    """
    begun: dict[int, float] = {}

    def tick(step: int) -> None:
        if step not in begun:
            begun[step] = clock()

    try:
        yield tick
    finally:
        if len(begun) > 1 and work:
            times = sorted(begun.values())
            _last[:] = [(times[-1] - times[0]) / (len(times) - 1) / work]
