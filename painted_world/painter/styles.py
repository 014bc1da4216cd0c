"""Styles: what is done to a finished picture to make it a painting, pixel art or a drawing."""

from __future__ import annotations

import numpy as np

from painted_world.painter.canvas import Array, Patch, Rng

PIXEL = 8
"""Side of a block of pixel art: a latent pixel, so that blocks stay sharp through the VAE."""
LEVELS = 10
"""Steps of each colour in pixel art."""


def apply_style(patch: Patch, style: str, rng: Rng) -> None:
    """Redo the canvas in a style ("": leave it as it is)."""
    if style == "pixel art":
        patch.image[:] = _pixels(patch.image)
    elif style == "painting":
        patch.image[:] = _strokes(patch, rng)
    elif style == "line drawing":
        patch.image[:] = _lines(patch.image)


def _pixels(image: Array) -> Array:
    blocks = image[
        PIXEL // 2 :: PIXEL, PIXEL // 2 :: PIXEL
    ]  # sampled, not averaged: pixel art has hard edges
    step = 255 / LEVELS
    blocks = np.round(blocks / step) * step
    return blocks.repeat(PIXEL, 0).repeat(PIXEL, 1)


def _strokes(patch: Patch, rng: Rng) -> Array:
    """Brush strokes: colours taken from a little beside, in flat dabs; richer and warmer."""
    height, width, _ = patch.image.shape
    reach = 3.4 * patch.zoom
    rows = np.arange(height)[:, None] + reach * patch.noise(rng, 13, 9)
    columns = np.arange(width)[None] + 1.4 * reach * patch.noise(rng, 13, 9)
    taken = patch.image[
        rows.round().astype(int).clip(0, height - 1), columns.round().astype(int).clip(0, width - 1)
    ]
    taken = taken + 15 * np.clip(2.4 * patch.noise(rng, 22, 6), -1, 1)[..., None]
    grey = taken.mean(-1, keepdims=True)
    return ((grey + 1.3 * (taken - grey)) * (1.06, 1.0, 0.92)).astype(np.float32)


def _lines(image: Array) -> Array:
    """Ink on paper: lines where colours change, a pale wash of the colours themselves."""
    smooth = _blurred(_blurred(image))
    down = np.abs(np.diff(smooth, axis=0, prepend=smooth[:1])).max(-1)
    across = np.abs(np.diff(smooth, axis=1, prepend=smooth[:, :1])).max(-1)
    ink = np.clip((np.maximum(down, across) - 4.5) / 7, 0, 1)[..., None]
    paper = np.float32((250, 246, 236)) * 0.8 + image * 0.2
    return paper + (np.float32((40, 38, 44)) - paper) * 0.9 * ink


def _blurred(image: Array) -> Array:
    """Mean over 5x5 pixels: what is finer is not drawn."""
    for axis in (0, 1):
        size = image.shape[axis]
        rows = [np.clip(np.arange(size) + shift, 0, size - 1) for shift in (-2, -1, 0, 1, 2)]
        image = np.mean([image.take(row, axis) for row in rows], axis=0)
    return image
