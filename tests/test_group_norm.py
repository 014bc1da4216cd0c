import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tile_utils.group_norm import affine, measure, pool


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


def test_a_large_mean_does_not_drown_the_variance():
    x = torch.randn(1, 4, 64, 8) + 1000.0
    moments = pool([measure(piece, 1) for piece in x.split(8, dim=2)])
    assert abs(moments.var.item() - x.double().var(correction=0).item()) < 1e-3
