"""From a picture to a hint: preprocessors, and the canvas' size."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from fastapi.exceptions import HTTPException
from PIL import Image
from skimage.color import rgb2gray
from skimage.feature import canny as skimage_canny

from modules import devices
from modules.api.pictures import decode_base64_to_image

Picture = np.ndarray  # [H, W, 3], uint8
LEAST_RESOLUTION = 64
CANNY_LOW, CANNY_HIGH = 100.0, 200.0
OPENCV_SCALE = 2 * 255
"""Thresholds are those of OpenCV's Canny, which sees grey values of 0 ... 255 and does not smooth; smoothing halves
the step at an edge."""


def picture_of(image: Any) -> Picture:
    """An array, a PIL image, a path or base64 as a picture of three channels. Raises ValueError if it is none."""
    if isinstance(image, str):
        try:
            image = Image.open(image) if os.path.exists(image) else decode_base64_to_image(image)
        except (HTTPException, OSError) as error:
            raise ValueError(
                f"ControlNet's image is {image[:80]!r}; allowed is a picture's file, or base64."
            ) from error
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image.squeeze().astype(np.uint8))
    if not isinstance(image, Image.Image):
        raise ValueError(f"ControlNet's image is a {type(image).__name__}; allowed is a picture or base64.")
    return np.asarray(image.convert("RGB"))


def canny(picture: Picture, low: float, high: float) -> Picture:
    """White edges on black."""
    low, high = (own if given < 0 else given for own, given in ((CANNY_LOW, low), (CANNY_HIGH, high)))
    edges = skimage_canny(rgb2gray(picture), 1.0, low / OPENCV_SCALE, high / OPENCV_SCALE)
    return np.repeat(np.where(edges, np.uint8(255), np.uint8(0))[..., None], 3, axis=2)


PREPROCESSORS: dict[str, Callable[[Picture, float, float], Picture]] = {
    "none": lambda picture, _a, _b: picture,
    "canny": canny,
    "invert": lambda picture, _a, _b: 255 - picture,
}


def fitted(picture: Picture, mode: str, width: int, height: int) -> Picture:
    """Of that size: stretched, cut to fill it, or whole with its border's colour around it."""
    image = Image.fromarray(picture)
    ratios = width / image.width, height / image.height
    if mode == "Just Resize":
        return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))
    ratio = max(ratios) if mode == "Crop and Resize" else min(ratios)
    size = max(1, round(image.width * ratio)), max(1, round(image.height * ratio))
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    canvas = Image.new("RGB", (width, height), tuple(int(v) for v in np.median(border, axis=0)))
    resized = image.resize(size, Image.Resampling.LANCZOS)
    canvas.paste(resized, ((width - size[0]) // 2, (height - size[1]) // 2))
    return np.asarray(canvas)


def detect(picture: Picture, module: str, resolution: int, a: float, b: float) -> Picture:
    """What the preprocessor makes of the picture, seen with `resolution` pixels on its shorter side."""
    if resolution >= LEAST_RESOLUTION and module == "canny":
        height, width = picture.shape[:2]
        ratio = resolution / min(width, height)
        picture = fitted(picture, "Just Resize", round(width * ratio), round(height * ratio))
    return PREPROCESSORS[module](picture, a, b)


def as_hint(picture: Picture) -> torch.Tensor:
    """[1, 3, H, W], 0 ... 1, where the control networks run."""
    hint = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255
    return hint.to(devices.get_device_for("controlnet"))
