"""A canvas in scene units, and the shapes and noises that everything is painted with.

One scene unit is a pixel of a 256x256 picture that shows a whole scene. A view may show it enlarged: edges stay sharp.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIZE = 256
"""Height of a scene, and of the model's native picture in pixels."""
HORIZON = 160.0
"""One height for every scene, so that tiles of one prompt fit together; a whole number of latent pixels."""

Array = NDArray[np.float32]
Colour = tuple[float, float, float]
Rng = np.random.Generator


@dataclass(frozen=True)
class View:
    """What part of the scene a picture shows: its size in pixels, pixels a scene unit, and its corner in units."""

    width: int = SIZE
    height: int = SIZE
    zoom: float = 1.0
    left: float = 0.0
    top: float = 0.0

    def widened(self, pixels: int) -> View:
        """With that many more pixels on every side."""
        units = pixels / self.zoom
        more = 2 * pixels
        return View(self.width + more, self.height + more, self.zoom, self.left - units, self.top - units)


class Patch:
    """Part of a canvas: the pixels' coordinates in scene units (ys [h, 1], xs [1, w]), and shapes over them."""

    def __init__(self, image: Array, xs: Array, ys: Array, zoom: float) -> None:
        self.image, self.xs, self.ys, self.zoom = image, xs, ys, zoom

    def within(self, left: float, top: float, right: float, bottom: float) -> Patch:
        """The part that covers this box (units) and two pixels around."""
        pad = 2 / self.zoom
        x0, x1 = np.searchsorted(self.xs[0], (left - pad, right + pad))
        y0, y1 = np.searchsorted(self.ys[:, 0], (top - pad, bottom + pad))
        return Patch(self.image[y0:y1, x0:x1], self.xs[:, x0:x1], self.ys[y0:y1], self.zoom)

    def blend(self, colour: Colour | Array, mask: Array) -> None:
        """Lay a colour, one or one for each pixel, over the image where `mask` (0 ... 1) is."""
        self.image += (np.asarray(colour, np.float32) - self.image) * mask[..., None]

    def edge(self, distance: Array) -> Array:
        """1 where `distance` (units) is positive, 0 where it is negative, antialiased."""
        return np.clip(distance * self.zoom + 0.5, 0, 1)

    def below(self, line: Array) -> Array:
        """1 below a line (heights [w] in units)."""
        return self.edge(self.ys - line)

    def disc(self, cx: float, cy: float, rx: float, ry: float) -> Array:
        distance = np.sqrt(((self.xs - cx) / rx) ** 2 + ((self.ys - cy) / ry) ** 2)
        return self.edge((1 - distance) * min(rx, ry))

    def glow(self, cx: float, cy: float, rx: float, ry: float) -> Array:
        return np.exp(-(((self.xs - cx) / rx) ** 2)) * np.exp(-(((self.ys - cy) / ry) ** 2))

    def box(self, left: float, top: float, right: float, bottom: float) -> Array:
        across = self.edge(np.minimum(self.xs - left, right - self.xs))
        return across * self.edge(np.minimum(self.ys - top, bottom - self.ys))

    def noise(self, rng: Rng, width: float, height: float, ys: Array | None = None) -> Array:
        """Smooth value noise, about -1 ... 1, lattice cells of that size; `ys`: other heights than the pixels' own."""
        across, down = _lattice(self.xs[0] / width), _lattice((self.ys if ys is None else ys)[:, 0] / height)
        values = rng.uniform(-1, 1, (down[2], across[2])).astype(np.float32)
        rows = values[down[0]] + down[1][:, None] * (values[down[0] + 1] - values[down[0]])
        return rows[:, across[0]] + across[1] * (rows[:, across[0] + 1] - rows[:, across[0]])


def _lattice(x: Array) -> tuple[NDArray[np.intp], Array, int]:
    """Cell, smooth fraction, and how many lattice points there are."""
    cell = np.floor(x).astype(np.intp)
    fraction = (x - cell).astype(np.float32)
    cell -= cell.min(initial=0) if len(cell) else 0
    return cell, fraction**2 * (3 - 2 * fraction), int(cell.max(initial=0)) + 2


def canvas(view: View) -> Patch:
    """An empty canvas of what the view shows."""
    xs = view.left + (np.arange(view.width, dtype=np.float32) + 0.5) / view.zoom
    ys = view.top + (np.arange(view.height, dtype=np.float32) + 0.5) / view.zoom
    return Patch(np.zeros((view.height, view.width, 3), np.float32), xs[None], ys[:, None], view.zoom)


def line_noise(rng: Rng, xs: Array, length: float, octaves: int = 1) -> Array:
    """A random line over xs, about -1 ... 1; each octave has half the length and half the height."""
    line = np.zeros_like(xs)
    for octave in range(octaves):
        cell, fraction, count = _lattice(xs * 2**octave / length + rng.uniform(0, 1))
        values = rng.uniform(-1, 1, count).astype(np.float32)
        line += (values[cell] + fraction * (values[cell + 1] - values[cell])) / 2**octave
    return line


def mix(a: Colour | Array, b: Colour | Array, share: float) -> Colour:
    """A colour between a (share 0) and b (share 1)."""
    red, green, blue = np.asarray(a, np.float64) + (np.asarray(b, np.float64) - np.asarray(a)) * share
    return float(red), float(green), float(blue)


def times(colour: Colour, light: Colour | float) -> Colour:
    """A colour under a light."""
    red, green, blue = np.asarray(colour, np.float64) * np.asarray(light)
    return float(red), float(green), float(blue)
