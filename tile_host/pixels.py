"""Pictures as tensors, and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def as_tensor(pictures: Sequence[Image.Image]) -> Tensor:
    """[N, 3, H, W] float32, 0 … 1"""
    arrays = [np.asarray(picture.convert("RGB"), dtype=np.float32) / 255 for picture in pictures]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)


def as_image(picture: Tensor) -> Image.Image:
    """Of [3, H, W], 0 … 1."""
    return Image.fromarray((picture * 255).round().byte().permute(1, 2, 0).numpy())
