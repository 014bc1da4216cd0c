"""The shapes of regions: as a picture, as a short text, and on the latent pixels of a canvas.

A mask is a grid of cells over its region's box, [rows, columns] bool, True where the region is. As text it is
`{columns}x{rows}:` and the lengths of runs, line by line, of cells that equal the one above them and of cells that do
not, in turn, beginning with equal ones; above the first line nothing is set. A length is written in digits of 5 bits,
the lowest first, each but the last plus 32, as letters of URL-safe base64. `javascript/lib/masks.mjs` reads and writes
the same.
"""

from __future__ import annotations

import base64
import binascii
import re
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tile_utils.surface import Window

Mask = NDArray[np.bool_]

MOST_CELLS = 256
"""Of a region's longer side: one for each latent pixel of a box of 2048 image pixels."""
FINEST = 1024
"""Cells of the longer side of a picture that has not been cut to what it shows yet."""
MOST_PIXELS = 2**26
"""Of a picture that is read, 8192 x 8192."""
_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_VALUES = {letter: value for value, letter in enumerate(_DIGITS)}
_TEXT = re.compile(r"(\d{1,4})x(\d{1,4}):([A-Za-z0-9_-]*)")
_PICTURE = re.compile(r"data:image/[\w.+-]+;base64,")


def compact(text: str) -> str:
    """A mask's short text, of that itself or of a picture in base64, with or without `data:image/png;base64,`.

    White is the region: what is at least half bright, and where there is transparency at least half opaque.

    Raises:
        ValueError: it is neither, it is empty, or too large; the end of a sentence.
    """
    if not text:
        return ""
    mask = decode(text) if _TEXT.fullmatch(text) else _smaller(_of_picture(text), FINEST)
    if not mask.any():
        raise ValueError("is a mask without any white; allowed is one that shows where its region is.")
    return encode(mask)


def encode(mask: Mask) -> str:
    """The short text of a mask."""
    rows, columns = mask.shape
    above = np.vstack([np.zeros((1, columns), bool), mask[:-1]])
    changed = (mask ^ above).ravel()
    ends = np.flatnonzero(np.diff(changed)) + 1
    lengths = np.diff(np.concatenate([[0], ends, [changed.size]]))
    runs = [0, *lengths] if changed[0] else lengths
    return f"{columns}x{rows}:" + "".join(map(_digits, map(int, runs)))


def _digits(length: int) -> str:
    text = ""
    while length >= 32:
        text += _DIGITS[length % 32 + 32]
        length //= 32
    return text + _DIGITS[length]


def decode(text: str) -> Mask:
    """The mask of a short text.

    Raises:
        ValueError: it is none, or larger than any that is written; the end of a sentence.
    """
    found = _TEXT.fullmatch(text)
    if found is None:
        raise ValueError("is no mask.")
    columns, rows = int(found[1]), int(found[2])
    if not 1 <= min(columns, rows) <= max(columns, rows) <= FINEST:
        raise ValueError(f"is a mask of {columns} x {rows} cells; allowed are 1 to {FINEST} a side.")
    lengths, length, place = [], 0, 0
    for letter in found[3]:
        value = _VALUES[letter]
        length += value % 32 << place
        place = min(place + 5, 30)
        if value < 32:
            lengths.append(min(length, rows * columns + 1))
            length = place = 0
    if place or sum(lengths) != rows * columns:
        raise ValueError(
            f"is a mask whose runs do not fill its {columns} x {rows} cells; allowed is a whole one."
        )
    changed = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return np.logical_xor.accumulate(changed.reshape(rows, columns), axis=0)


def _of_picture(text: str) -> Mask:
    """Raises ValueError; the end of a sentence."""
    prefix = _PICTURE.match(text)
    try:
        data = base64.b64decode(text[prefix.end() if prefix else 0 :].encode("ascii"), validate=True)
        picture = Image.open(BytesIO(data))
    except (binascii.Error, UnicodeEncodeError, OSError, Image.DecompressionBombError) as error:
        raise ValueError(
            "is no picture; allowed is a PNG in base64, or on a command line the path of a picture."
        ) from error
    if picture.width * picture.height > MOST_PIXELS:
        raise ValueError(
            f"is a picture of {picture.width} x {picture.height}; allowed are {MOST_PIXELS} pixels at most."
        )
    try:
        return of_picture(picture)
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"is a picture that cannot be read ({error}); allowed is a whole PNG.") from error


def of_picture(picture: Image.Image) -> Mask:
    """Where a picture of any mode is white, and opaque. [height, width]"""
    if picture.mode.startswith(("I", "F")):  # 16 bits and more
        values = np.asarray(picture, dtype=np.float64)
        return values >= (0.5 if picture.mode == "F" else 2**15)
    colours = np.asarray(picture.convert("RGBA"), dtype=np.uint16)
    bright = colours[..., :3] @ np.array([299, 587, 114]) >= 127_500
    return bright & (colours[..., 3] >= 128)


def _smaller(mask: Mask, most: int) -> Mask:
    """With its longer side cut to `most` cells."""
    rows, columns = mask.shape
    scale = min(1.0, most / max(rows, columns))
    size = max(1, round(rows * scale)), max(1, round(columns * scale))
    return mask if size == mask.shape else _laid(mask, _edges(0, rows, size[0]), _edges(0, columns, size[1]))


def _edges(start: float, end: float, count: int) -> NDArray[np.float64]:
    return np.linspace(start, end, count + 1)


def _laid(mask: Mask, down: NDArray[np.float64], across: NDArray[np.float64]) -> Mask:
    """The mask on other cells, whose edges are given in cells of its own: those that it covers by half, or by most
    where it covers none so far."""
    covered = _shares(down, mask.shape[0]) @ mask.astype(np.float64) @ _shares(across, mask.shape[1]).T
    most = covered.max()
    return covered >= min(0.5, most) - 1e-9 if most > 0 else np.zeros(covered.shape, bool)


def _shares(edges: NDArray[np.float64], cells: int) -> NDArray[np.float64]:
    """How much of each interval between edges lies on each cell. [intervals, cells]"""
    low, high = edges[:-1, None], edges[1:, None]
    at = np.arange(cells)[None]
    return np.clip(np.minimum(high, at + 1) - np.maximum(low, at), 0, None) / (high - low)


def fitted(text: str, x: float, y: float, w: float, h: float) -> tuple[str, float, float, float, float]:
    """A mask over a box, cut to what it shows: (its text, and the box of that), in fractions of the canvas.

    A mask that is all of its box is none: the text is then empty.
    """
    mask = decode(text)
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    height, width = mask.shape
    bottom, right = rows[-1] + 1, columns[-1] + 1
    # A box begins on the canvas, even where it goes on beyond the edge.
    top = rows[0] if y + h * float(rows[0] / height) < 1 else 0
    left = columns[0] if x + w * float(columns[0] / width) < 1 else 0
    x, w = x + w * float(left / width), w * float((right - left) / width)
    y, h = y + h * float(top / height), h * float((bottom - top) / height)
    cut = _smaller(mask[top:bottom, left:right], MOST_CELLS)
    return "" if cut.all() else encode(cut), x, y, w, h


def on_canvas(
    text: str, box: tuple[float, float, float, float], window: Window, height: int, width: int
) -> Mask:
    """Which pixels of a window belong to a mask over a box. [window.h, window.w]

    Args:
        box: (x, y, w, h) in fractions of a canvas of `width` x `height` latent pixels.
    """
    mask, (x, y, w, h) = decode(text), box
    down = _edges(window.y, window.y + window.h, window.h) / height
    across = _edges(window.x, window.x + window.w, window.w) / width
    return _laid(mask, (down - y) / h * mask.shape[0], (across - x) / w * mask.shape[1])
