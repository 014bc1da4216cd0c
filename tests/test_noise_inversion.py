"""Noise inversion as arithmetic: on data that is Gaussian the exact denoiser is known."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tile_methods.inversion import invert, mix_noise, renoise_mask
from tile_utils.fingerprint import fingerprint

SPREAD = torch.tensor([0.2, 0.5, 1.0, 3.0]).view(1, 4, 1, 1)
"""Standard deviation of the data in each channel: from detail that drowns early to a background that never does."""


def sigmas(steps):
    """0, then from 0.03 to 14.6, evenly in the logarithm. [steps + 1]"""
    return torch.cat([torch.zeros(1), torch.logspace(-1.53, 1.165, steps)])


def denoised(x, sigma):
    """E[data | x] for data of N(0, SPREAD²)."""
    return x * SPREAD**2 / (SPREAD**2 + sigma**2)


def sample(x, levels):
    for sigma, lower in zip(levels.flip(0)[:-1], levels.flip(0)[1:]):
        x = x + (x - denoised(x, sigma)) / sigma * (lower - sigma)
    return x


@pytest.fixture
def image():
    return torch.randn(2, 4, 16, 24, generator=torch.Generator().manual_seed(0)) * SPREAD


def noise_of(image, levels):
    """(inverted latent, model calls)."""
    calls = []

    def denoise(x, i):
        calls.append(i)
        return denoised(x, levels[i])

    return invert(denoise, image, levels), calls


def test_sampling_from_the_inverted_latent_gives_the_image(image):
    levels = sigmas(20)
    latent, calls = noise_of(image, levels)
    assert calls == list(range(1, 21))
    error = ((sample(latent, levels) - image) / image).abs()
    assert error.max() < 0.04  # taking x_{i−1} for x_i would give 0.6


def test_more_steps_are_nearer_and_another_number_of_steps_samples_it_too(image):
    def error(inversion_steps, sampling_steps):
        latent, _ = noise_of(image, sigmas(inversion_steps))
        return ((sample(latent, sigmas(sampling_steps)) - image) / image)[:, 1:].abs().max()

    assert error(40, 40) < error(20, 20) / 3  # of second order
    assert error(80, 80) < error(40, 40) / 3
    assert error(200, 100) < error(200, 50)


def test_the_noise_of_gaussian_data_is_unit_noise(image):
    levels = sigmas(50)
    latent, _ = noise_of(image, levels)
    whitened = latent / (SPREAD**2 + levels[-1] ** 2).sqrt()  # the exact spread of data and noise together
    assert whitened.std((0, 2, 3)) == pytest.approx(torch.ones(4), abs=0.1)


def test_half_precision_is_inverted_in_float32(image):
    latent, _ = noise_of(image.half(), sigmas(5))
    assert latent.dtype == torch.float32


pictures = st.integers(0, 1000).map(
    lambda seed: torch.rand(1, 3, 40, 56, generator=torch.Generator().manual_seed(seed))
)


@given(pictures, st.integers(2, 512), st.sampled_from([0.0, 0.01, 1.0, 2.0, 100.0]))
def test_the_mask_is_a_share_in_the_latents_size(picture, kernel, strength):
    mask = renoise_mask(picture, kernel, strength, (5, 7))
    assert mask.shape == (1, 1, 5, 7)
    assert mask.min() >= 0
    assert mask.max() <= 1
    assert (mask == 0).all() == (strength == 0)
    turned = renoise_mask(picture.flip(3), kernel, strength, (5, 7))
    assert torch.allclose(turned.flip(3), mask, atol=1e-5)


def test_flat_parts_keep_their_noise_and_detail_gets_more():
    picture = torch.full((1, 3, 64, 64), 0.5)
    picture[..., 32:] += 0.2 * torch.sign(torch.randn(64, 32, generator=torch.Generator().manual_seed(0)))
    mask = renoise_mask(picture, 9, 1.0, (8, 8))[0, 0]
    assert mask[:, :2].max() < 1e-6
    assert mask[:, 5:].min() > 0.03
    twice = renoise_mask(picture, 9, 2.0, (8, 8))[0, 0]
    assert torch.allclose(twice, 2 * mask, atol=1e-6)


@pytest.mark.parametrize("kernel", [2, 3])
def test_the_detail_beside_an_edge(kernel):
    """Worked out by hand for pixels 0, 0, 1, 1: the window of 3 has variance 2/9 at the edge, and 0 elsewhere.

    An even kernel counts as the next odd one, which has a centre."""
    picture = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(1, 3, 1, 4)
    flat = 1 - (2 / 9) / (2 / 9 + 0.01)
    expected = 3 * flat * torch.tensor([1 / 6, 1 / 3, 1 / 3, 1 / 6])
    assert torch.allclose(renoise_mask(picture, kernel, 3.0, (1, 4))[0, 0, 0], expected, atol=1e-6)


def test_long_sums_do_not_drown_a_flat_picture():
    """Running sums of a wide picture reach thousands; in float32 their differences would be noise."""
    mask = renoise_mask(torch.full((1, 3, 8, 40000), 0.7), 9, 100.0, (1, 5000))
    assert mask.max() < 1e-3


def test_a_kernel_wider_than_the_picture_sees_it_all():
    picture = torch.rand(1, 3, 16, 24)
    assert torch.allclose(renoise_mask(picture, 512, 1.0, (2, 3)), renoise_mask(picture, 99, 1.0, (2, 3)))


@given(st.floats(0, 1))
def test_mixed_noise_keeps_its_variance(share):
    one, two = torch.randn(2, 1, 4, 128, 128, generator=torch.Generator().manual_seed(1))
    mixed = mix_noise(one, two, torch.tensor(share))
    assert mixed.std() == pytest.approx(1, abs=0.02)
    if share in (0, 1):
        assert torch.equal(mixed, two if share else one)


def test_fingerprints_differ_where_values_do():
    values = [
        torch.zeros(2, 3),
        torch.zeros(3, 2),
        torch.zeros(2, 3).half(),
        [torch.zeros(2, 3)],
        "ab",
        "a",
        1,
        1.0,
    ]
    values += [("a", "b"), ("ab", ""), {"a": torch.ones(2)}, {"b": torch.ones(2)}, {"a": torch.zeros(2)}]
    assert len({fingerprint(value) for value in values}) == len(values)
    assert fingerprint({"a": [torch.arange(4)]}, 2) == fingerprint({"a": (torch.arange(4),)}, 2)
