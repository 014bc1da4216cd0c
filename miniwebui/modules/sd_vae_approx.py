"""Cheap pictures of latents, for previews: one colour per latent pixel."""

import json

import torch

from modules import shared

SD1_RGB_FACTORS = [
    [0.298, 0.207, 0.208],
    [0.187, 0.286, 0.173],
    [-0.158, 0.189, 0.264],
    [-0.184, -0.271, -0.473],
]


def _rgb_factors() -> list[list[float]]:
    """[latent channels][3] of the loaded checkpoint: its own if its metadata gives them, else SD 1's."""
    own = shared.sd_model.metadata.get("latent_rgb_factors")
    return json.loads(own) if own else SD1_RGB_FACTORS


def cheap_approximation(sample: torch.Tensor) -> torch.Tensor:
    """Latents [..., 4, h, w], float32 as the factors are, -> pictures [..., 3, h, w], about [−1, 1]."""
    factors = torch.tensor(_rgb_factors()).to(sample.device)
    return torch.einsum("...lxy,lr->...rxy", sample, factors)


def model():
    """What the setting "Approx NN" shows. The WebUI downloads a small network; here it is the cheap colours."""
    return cheap_approximation
