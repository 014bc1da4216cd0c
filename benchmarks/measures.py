"""What several benchmarks measure of a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
EDGE = 12
"""Pixels at the picture's edges that are left out."""


def detail(picture: NDArray[Any], where: NDArray[np.bool_] | None = None) -> float:
    """Mean |luma − its Gauss 1.5 px| of a picture [H, W, 3], 0 … 255; only `where` [H, W], if that is given."""
    luma = picture.astype(np.float32) @ LUMA
    inside = (slice(EDGE, -EDGE), slice(EDGE, -EDGE))
    fine = np.abs(luma - ndimage.gaussian_filter(luma, 1.5))[inside]
    return float((fine if where is None else fine[where[inside]]).mean())
