"""Noise inversion: the noise that a sampler would have drawn an image from, and where new noise takes its place.

Sampling follows the probability flow of Karras et al. (arXiv 2206.00364, eq. 1), dx/dσ = (x − D(x, σ))/σ, which is
deterministic, so it can be followed backwards (DDIM inversion: Song et al., arXiv 2010.02502).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

DenoiseAt = Callable[[Tensor, int], Tensor]
"""`denoise(x [B, C, h, w], i) -> denoised`: what the model takes x for at the i-th noise level"""
GUIDED_EPS = 0.01
"""Variance (of grey in 0 ... 1) above which the guided filter takes structure for an edge."""


def invert(denoise: DenoiseAt, image: Tensor, sigmas: Tensor) -> Tensor:
    """The latent that Euler steps down `sigmas` would turn into `image`. [B, C, h, w], float32

    An Euler step from σ_i to σ_{i−1} goes along the slope at (x_i, σ_i). x_i is not known on the way back, and to give
    the model x_{i−1}, which has too little noise for σ_i, would shrink the result. So x_i is foretold with the slope of
    the step before: no further model call, and an error of one order less.

    Args:
        denoise: the model; called once for each level but the first.
        image: latent without noise.
        sigmas: noise levels, rising from 0. [steps + 1]
    """
    x = image.float()
    slope = torch.zeros_like(x)
    for i in range(1, len(sigmas)):
        sigma, step = float(sigmas[i]), float(sigmas[i] - sigmas[i - 1])
        foretold = x + slope * step
        slope = (foretold - denoise(foretold, i)) / sigma
        x = x + slope * step
    return x


def _box_mean(grey: Tensor, size: int) -> Tensor:
    """Mean over a window that reaches `size // 2` pixels each way, of what of it lies inside. [N, 1, H, W]

    From running sums, so that the time does not grow with the window.
    """
    for axis in (2, 3):
        length = grey.shape[axis]
        at = torch.arange(length, device=grey.device)
        low, high = (at - size // 2).clamp(min=0), (at + size // 2 + 1).clamp(max=length)
        sums = grey.cumsum(axis, dtype=torch.float64)
        sums = torch.cat([torch.zeros_like(sums.narrow(axis, 0, 1)), sums], dim=axis)
        sums = sums.index_select(axis, high) - sums.index_select(axis, low)
        counts = (high - low).view(-1, *[1] * (3 - axis))
        grey = (sums / counts).to(grey.dtype)
    return grey


def _smooth(grey: Tensor, size: int) -> Tensor:
    """Guided filter of an image by itself: flat parts are averaged, edges kept (He et al., ECCV 2010). [N, 1, H, W]"""
    mean = _box_mean(grey, size)
    variance = (_box_mean(grey * grey, size) - mean * mean).clamp_(min=0)
    gain = variance / (variance + GUIDED_EPS)
    return _box_mean(gain, size) * grey + _box_mean((1 - gain) * mean, size)


def renoise_mask(images: Tensor, kernel: int, strength: float, latent: tuple[int, int]) -> Tensor:
    """How much of the noise is to be new: `strength` times the detail of the images. [N, 1, h, w] in 0 ... 1

    Detail is how far the image is from its smoothed self, either way, averaged over a latent pixel.

    Args:
        images: [N, 3, H, W] in 0 ... 1.
        kernel: side of the filter's window in pixels; an even one counts as the next odd one, which has a centre.
        latent: height and width of the latent.
    """
    luma = images.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)  # of ITU-R BT.601, as Pillow's "L"
    grey = (images * luma).sum(1, keepdim=True)
    detail = (_smooth(grey, kernel) - grey).abs_()
    return (F.adaptive_avg_pool2d(detail, latent) * strength).clamp_(max=1)


def mix_noise(inverse: Tensor, random: Tensor, share: Tensor) -> Tensor:
    """`((1 − r)·inverse + r·random) / sqrt(r² + (1 − r)²)`: unit variance stays unit variance. [B, C, h, w]

    Args:
        share: r, the share of the random noise, 0 ... 1, broadcastable.
    """
    return ((1 - share) * inverse + share * random) / (share**2 + (1 - share) ** 2).sqrt()
