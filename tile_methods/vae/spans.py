"""Which pixels along one axis a task needs, and which bands of rows hold them: arithmetic of indices only."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

SAME, UP, DOWN = 0, 1, -1
"""How a task resizes."""


class Reading(NamedTuple):
    """What a span of a task's output needs of its input, along one axis.

    Of the input start ... stop; `before` and `after` pixels more beyond its edges. Of what the convolution then
    gives, the first `skip` pixels are not wanted.
    """

    start: int
    stop: int
    before: int
    after: int
    skip: int


class Rows(NamedTuple):
    """Rows start ... stop of band `band`, counted from the band's first."""

    band: int
    start: int
    stop: int


def output_length(resize: int, length: int) -> int:
    """Pixels that a task makes of `length`."""
    return {SAME: length, UP: 2 * length, DOWN: length // 2}[resize]


def reading(resize: int, start: int, stop: int, length: int | None) -> Reading:
    """What the output's start ... stop needs of an input of `length` pixels (None: one without edges).

    An upsampling convolution of 3 taps is two of 2 taps on the input, one for odd and one for even outputs: output r
    looks at (r - 1) // 2 and the pixel after it, or at r // 2 and the pixel before it.
    """
    first, last, skip = {
        SAME: (start - 1, stop + 1, 0),
        UP: ((start - 1) // 2, stop // 2 + 1, (start + 1) % 2),
        DOWN: (2 * start, 2 * stop + 1, 0),
    }[resize]
    if length is None:
        return Reading(first, last, 0, 0, skip)
    before, after = max(0, -first), max(0, last - length)
    return Reading(first + before, last - after, before, after, skip)


def chain(resizes: Sequence[int], start: int, stop: int, lengths: Sequence[int | None]) -> list[Reading]:
    """What each of several tasks reads so that the last one gives start ... stop.

    Args:
        lengths: of the input of each task.
    """
    readings: list[Reading] = []
    for resize, length in zip(reversed(resizes), reversed(lengths)):
        readings.insert(0, reading(resize, start, stop, length))
        start, stop = readings[0].start, readings[0].stop
    return readings


def reach(resizes: Sequence[int]) -> int:
    """How far a pixel of the result looks on each side, in pixels of the input, at most."""
    pixels = 0
    for resize in reversed(resizes):
        pixels = {UP: (pixels + 2) // 2, DOWN: 2 * pixels + 2, SAME: pixels + 1}[resize]
    return pixels


def rows_of(bounds: Sequence[int], start: int, stop: int) -> list[Rows]:
    """The rows start ... stop of a feature map whose band i holds the rows bounds[i] ... bounds[i + 1]."""
    return [
        Rows(band, max(start, top) - top, min(stop, bottom) - top)
        for band, (top, bottom) in enumerate(pairwise(bounds))
        if top < stop and bottom > start
    ]


class Step(NamedTuple):
    """One band of a task: where it goes, and which rows of the source and of what was put aside it takes."""

    band: int
    top: int
    bottom: int
    read: Reading
    source: list[Rows]
    aside: list[Rows]


def steps(
    resize: int, height: int | None, source: Sequence[int], target: Sequence[tuple[int, tuple[int, int]]],
    aside: Sequence[int], upwards: bool,
) -> list[Step]:  # fmt: skip
    """The bands of a task in the order of work.

    Args:
        height: of all that the task is given, whichever rows of it are in `source`; None: it has no edges.
        source, aside: bounds of the bands of the feature maps; `aside` may be empty.
        target: number, first row and last row + 1 of each band that is to be made, from the top.
        upwards: from the last band to the first.
    """
    return [
        Step(
            band,
            top,
            bottom,
            (read := reading(resize, top, bottom, height)),
            rows_of(source, read.start, read.stop),
            rows_of(aside, top, bottom) if aside else [],
        )
        for band, (top, bottom) in (reversed(target) if upwards else target)
    ]


def last_uses(reads: Sequence[Sequence[Rows]]) -> list[list[int]]:
    """After each read, the bands that no later one needs."""
    last = {rows.band: position for position, parts in enumerate(reads) for rows in parts}
    return [[band for band, at in last.items() if at == position] for position in range(len(reads))]


MOST_VALUES = 2**30
"""Of a tensor, so that no count of values or bytes of half of them leaves 32 bits."""


def band_bounds(height: int, row_values: int, band_values: int, images: int = 1) -> list[int]:
    """Even bands, each of at most about `band_values` values of one image, and never too many for 32 bits.

    Args:
        row_values: values of one row of one image, of what a task reads or writes, whichever is more.
    """
    wanted = round(height * row_values / band_values)
    needed = -(-height // max(1, MOST_VALUES // (row_values * images)))
    bands = max(1, min(height, max(wanted, needed)))
    return [height * i // bands for i in range(bands + 1)]
