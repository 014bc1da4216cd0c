import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.two_devices import SECOND, TwoDevices
from tile_utils.group_norm import Affine, Moments, affine, measure, pool


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.sampled_from([1, 2, 4]), st.integers(0, 99))
def test_pieces_of_any_size_give_the_norm_of_the_whole(heights, groups, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 8, sum(heights), 7, generator=generator) * 3
    x += torch.arange(float(sum(heights))).view(1, 1, -1, 1) * 5  # pieces with quite different means
    norm = nn.GroupNorm(groups, 8).requires_grad_(False)
    (
        norm.weight.copy_(torch.randn(8, generator=generator)),
        norm.bias.copy_(torch.randn(8, generator=generator)),
    )
    change = affine(norm, pool([measure(piece, groups) for piece in x.split(heights, dim=2)]))
    assert torch.allclose(x * change.scale + change.shift, norm(x), atol=1e-4)


def test_moments_of_pieces_by_hand():
    """0 and 3, 3: shares of 1/3 and 2/3, in float64."""
    one, two = (
        Moments(n, torch.full((1, 1), m), torch.full((1, 1), v)) for n, m, v in ((1, 0.0, 0.0), (2, 3.0, 3.0))
    )
    both = pool([one, two])
    assert both.count == 3
    assert both.mean.item() == pytest.approx(2, abs=1e-12)
    assert both.var.item() == pytest.approx(4, abs=1e-12)  # 2/3 of 3 inside, 2 between


def test_what_has_no_variance_is_divided_by_the_root_of_eps():
    norm = nn.GroupNorm(1, 1, eps=0.25, affine=False)
    norm.weight = nn.Parameter(torch.ones(1))  # only its device is asked for
    change = affine(norm, pool([measure(torch.full((1, 1, 4, 4), 3.0), 1)]))
    assert (change.scale.item(), change.shift.item()) == (2, -6)


def test_the_norm_of_every_image_that_stands_several_times():
    change = Affine(
        torch.tensor([1.0, 2.0]).view(2, 1, 1, 1), torch.tensor([3.0, 4.0]).view(2, 1, 1, 1)
    ).images(2)
    assert change.scale[:, 0, 0, 0].tolist() == [1, 1, 2, 2]
    assert change.shift[:, 0, 0, 0].tolist() == [3, 3, 4, 4]


def test_what_is_counted_are_the_values_of_a_group():
    assert measure(torch.zeros(2, 8, 3, 5), 4).count == 30
    assert pool([measure(torch.zeros(2, 8, rows, 5), 4) for rows in (1, 2)]).count == 30


def test_on_another_device_a_piece_stays_there_until_pieces_are_pooled():
    """In float32, whatever the piece has; the norm's weights are where the result has to be."""
    x, norm = torch.randn(2, 8, 6, 7) * 3 + 1, nn.GroupNorm(4, 8)
    wanted = norm(x)
    with TwoDevices() as devices:
        piece, norm = x.to(SECOND, torch.float64), norm.to(SECOND)
        devices.moved = 0
        moments = measure(piece, 4)
        assert (devices.moved, moments.count, moments.mean.device) == (0, 84, SECOND)
        assert moments.mean.dtype == moments.var.dtype == torch.float32
        change = affine(norm, pool([moments]))
        assert change.scale.device == change.shift.device == SECOND
        found = piece.float() * change.scale + change.shift
    assert torch.allclose(found, wanted, atol=1e-5)


def test_a_large_mean_does_not_drown_the_variance():
    x = torch.randn(1, 4, 64, 8) + 1000.0
    moments = pool([measure(piece, 1) for piece in x.split(8, dim=2)])
    assert abs(moments.var.item() - x.double().var(correction=0).item()) < 1e-3
