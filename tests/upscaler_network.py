"""A small random upscaler of the SRVGGNetCompact architecture (Real-ESRGAN's small models), as a file."""

from pathlib import Path

import torch
from safetensors.torch import save_file

FEATURES = 4


def save_upscaler(path: Path, scale: int = 4) -> Path:
    """One convolution in, PReLU, one out; the network adds the picture itself, enlarged."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = {
            "body.0.weight": torch.randn(FEATURES, 3, 3, 3) * 0.2,
            "body.0.bias": torch.zeros(FEATURES),
            "body.1.weight": torch.full((FEATURES,), 0.25),
            "body.2.weight": torch.randn(3 * scale**2, FEATURES, 3, 3) * 0.05,
            "body.2.bias": torch.zeros(3 * scale**2),
        }
    save_file(state, path)
    return path
