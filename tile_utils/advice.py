"""What the chosen sizes mean for a picture, in words, and sizes that suit it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import sqrt

from tile_utils.grid import MIN_STRIDE, Grid, batch_count, make_grid
from tile_utils.settings import SEAMLESS
from tile_utils.surface import OPT_F

STEP = 16
"""Tiles' sides are multiples of this many latent pixels."""
SMALLEST_TILE, LARGEST_TILE = 32, 256
LARGEST_BATCH = 8
BYTES_PER_LATENT_PIXEL = 96 * 1024
"""Memory that a UNet works in, for each latent pixel of a row, at half precision; SD 1.x and SDXL need 75 to 90 KiB."""
ROWS = 2
"""Rows per tile: cond and uncond."""
USABLE = 0.8
"""Part of the free memory to plan with."""
LOW_DENOISE = 0.5
"""Below this an img2img keeps its composition, and seams do not show."""
MULTI = "MultiDiffusion"


@dataclass(frozen=True)
class Sizes:
    """Sizes of Tiled Diffusion, latent."""

    tile_width: int
    tile_height: int
    overlap: int
    tile_batch_size: int
    method: str
    shift_tiles: bool = False
    seamless: str = "Off"


@dataclass(frozen=True)
class Pass:
    """One sampling pass: its name, its picture's size in pixels, its steps, how much of the noise it starts from."""

    name: str
    width: int
    height: int
    steps: int
    denoise: float = 1.0

    def grid(self, sizes: Sizes) -> Grid:
        width, height = (max(1, side // OPT_F) for side in (self.width, self.height))
        wraps = SEAMLESS[sizes.seamless]
        return make_grid(width, height, sizes.tile_width, sizes.tile_height, sizes.overlap, wraps)

    def tiles(self, sizes: Sizes) -> int:
        """How many are denoised in a step."""
        grid = self.grid(sizes)
        return grid.shifted if sizes.shift_tiles else len(grid)


def work(drawn: Pass, sizes: Sizes) -> int:
    """Latent pixels that the UNet sees in one pass of one picture, over all tiles and steps."""
    return drawn.tiles(sizes) * drawn.grid(sizes).tile_area * drawn.steps


def describe(drawn: Pass, sizes: Sizes, pictures: int = 1, pace: float | None = None) -> str:
    """One line: grid, batches, work, and the time if `pace` is known (seconds per latent pixel and step)."""
    grid = drawn.grid(sizes)
    count = drawn.tiles(sizes)
    place = f"{drawn.name}, {drawn.width}×{drawn.height} pixels"
    if count == 1:
        return f"{place}: one tile covers it, so nothing is tiled."
    batches = batch_count(count, sizes.tile_batch_size)
    more = sizes.shift_tiles
    across, down = (axis.shifted_count if more else axis.count for axis in (grid.across, grid.down))
    line = (
        f"{place}: {across}×{down} tiles of {grid.across.tile * OPT_F}×{grid.down.tile * OPT_F}"
        f"{', elsewhere at every step' if more else ''}, "
        f"{batches} {'batch' if batches == 1 else 'batches'} a step, {count} times the work of one tile"
    )
    still = _half_overlapping(sizes)
    if more and work(drawn, still) > work(drawn, sizes):
        line += f", {work(drawn, still) / work(drawn, sizes):.1f} times faster than overlap {still.overlap}"
    if pace is None:
        return f"{line}."
    return f"{line}; about {_duration(work(drawn, sizes) * pictures * pace)} at the last picture's speed."


def _half_overlapping(sizes: Sizes) -> Sizes:
    """The same tiles, standing still, with the overlap that they need then."""
    return replace(sizes, overlap=min(sizes.tile_width, sizes.tile_height) // 2, shift_tiles=False)


def _duration(seconds: float) -> str:
    if seconds < 1:
        return "a second"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def warnings(drawn: Pass, sizes: Sizes, native: int | None = None) -> Iterator[str]:
    """What is a poor choice for this pass; `native` is the latent side of the pictures the model was trained on."""
    grid = drawn.grid(sizes)
    tiled = [axis for axis in (grid.across, grid.down) if axis.count > 1]
    if not tiled:
        return
    axis = max(tiled, key=lambda axis: axis.tile)  # the one that needs the most overlap
    side = axis.tile
    if sizes.overlap > min(axis.tile for axis in tiled) - MIN_STRIDE:
        used = " and ".join(str(overlap) for overlap in dict.fromkeys(axis.overlap for axis in tiled))
        yield f"Overlap {sizes.overlap} leaves no step from tile to tile; {used} is used."
    elif (
        sizes.method == MULTI
        and not sizes.shift_tiles
        and sizes.overlap * 2 < side
        and drawn.denoise > LOW_DENOISE
    ):
        yield f"MultiDiffusion with less than half a tile of overlap ({side // 2}) shows seams."
    elif axis.overlap > (most := side * (1 if sizes.shift_tiles else 3 if sizes.method == MULTI else 2) // 4):
        yield f"Overlap above {most} costs time and gains nothing."
    if native is None:
        return
    pixels, mean = native * OPT_F, sqrt(grid.tile_area)
    if mean < 0.74 * native:
        yield f"Tiles are smaller than the {pixels}×{pixels} pixels this model knows: it repeats its subject in each."
    elif mean > 2 * native:
        yield f"Tiles are more than twice the {pixels}×{pixels} pixels this model knows: bodies and horizons double."


def recommend(
    passes: Sequence[Pass], method: str, native: int | None, free: int | None, row_cost: float = 1.0
) -> Sizes:
    """Sizes that suit the largest pass and `free` MiB of device memory (None: no device that tells).

    The tile is 1.5 times the model's side where it fits, as few tiles as that gives; its batch fills the memory. Tiles
    shift where that is less work.

    Args:
        row_cost: memory relative to half precision.
    """
    largest = max(passes, key=lambda drawn: drawn.width * drawn.height)
    pixel = BYTES_PER_LATENT_PIXEL * ROWS * row_cost
    budget = None if free is None else free * 2**20 * USABLE / pixel
    side = _multiple((native or 64) * 1.5)
    while budget is not None and side > SMALLEST_TILE and side * side > budget:
        side -= STEP
    overlap = side * (3 if method == MULTI else 2) // 4 // 4 * 4
    sizes = Sizes(side, side, overlap, 1, method)
    moving = replace(sizes, overlap=side // 8 // 4 * 4, shift_tiles=True)
    if work(largest, moving) < work(largest, sizes):
        sizes = moving
    fitting = 4 if budget is None else int(budget // largest.grid(sizes).tile_area)
    batch = max(1, min(fitting, largest.tiles(sizes), LARGEST_BATCH))
    return replace(sizes, tile_batch_size=batch)


def _multiple(side: float) -> int:
    return max(STEP, min(LARGEST_TILE, round(side / STEP) * STEP))


def explain(sizes: Sizes, free: int | None) -> str:
    """A sentence for the user about recommended sizes, with units."""
    memory = (
        "without a GPU to ask for its memory" if free is None else f"for {free / 1024:.1f} GiB of free memory"
    )
    return (
        f"Recommended {memory}: tiles of {sizes.tile_width}×{sizes.tile_height} latent pixels "
        f"({sizes.tile_width * OPT_F}×{sizes.tile_height * OPT_F} image pixels), overlap {sizes.overlap}"
        f"{', shifted at every step' if sizes.shift_tiles else ''}, {sizes.tile_batch_size} at a time."
    )
