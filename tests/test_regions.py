"""Regions on a canvas: who draws what, how it is laid together, and the noise of its own seed."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tile_methods.regions import Region, RegionFuser, add_noise
from tile_utils.geometry import Box, make_grid, region_box
from tile_utils.weights import feather_mask, gaussian_weights

W, H = 40, 24
TILES, FIRST = 1.0, 10.0


def drawn(regions, method="MultiDiffusion", draw_background=False, seen=None):
    """The canvas when tiles say TILES and region i says FIRST + i. [H, W]"""
    grid = make_grid(W, H, 16, 16, 4)
    fuser = RegionFuser(grid, regions, method, 2, torch.device("cpu"), draw_background)

    def denoise(x, sigma, cond):
        if seen is not None:
            seen.append(("tiles", len(x)))
        return torch.full_like(x, TILES)

    def denoise_regions(indices, x, sigma, cond):
        if seen is not None:
            seen.append(("regions", list(indices)))
        values = torch.tensor([FIRST + i for i in indices]).repeat_interleave(len(x) // len(indices))
        return values.view(-1, 1, 1, 1).expand_as(x)

    x = torch.randn(2, 3, H, W)
    out = fuser.fuse(denoise, denoise_regions, x, torch.ones(2), {})
    assert (out == out[:1, :1]).all()
    return out[0, 0]


@pytest.mark.parametrize("method", ["MultiDiffusion", "Mixture of Diffusers"])
def test_background_regions_have_their_place_and_the_rest_is_filled(method):
    out = drawn([Region(Box(4, 2, 10, 12)), Region(Box(20, 6, 12, 9))], method)
    expected = torch.full((H, W), TILES)
    expected[2:14, 4:14], expected[6:15, 20:32] = FIRST, FIRST + 1
    assert torch.allclose(out, expected)


def test_background_regions_are_averaged_with_tiles_and_with_each_other():
    out = drawn([Region(Box(0, 0, W, H)), Region(Box(20, 0, 20, H))], draw_background=False)
    assert torch.allclose(out[:, :20], torch.tensor(FIRST))
    assert torch.allclose(out[:, 20:], torch.tensor(FIRST + 0.5))
    seen = []
    out = drawn([Region(Box(0, 0, 4, 4))], draw_background=True, seen=seen)
    assert out[0, 0] == pytest.approx((TILES + FIRST) / 2)  # one tile and the region
    assert out[0, 5] == pytest.approx(TILES)


def test_gaussian_regions_weigh_by_the_gaussian_of_their_own_size():
    a, b = Box(0, 0, 20, H), Box(10, 0, 30, H)
    out = drawn([Region(a), Region(b)], "Mixture of Diffusers")
    wa, wb = gaussian_weights(20, H)[:, 10:], gaussian_weights(30, H)[:, :10]
    expected = (wa * FIRST + wb * (FIRST + 1)) / (wa + wb)
    assert torch.allclose(out[:, 10:20], expected)


def test_foreground_is_laid_over_by_its_feather():
    box = Box(8, 4, 16, 12)
    out = drawn([Region(box, foreground=True, feather=0.5)])
    mask = feather_mask(16, 12, 0.5)
    expected = torch.full((H, W), TILES)
    expected[box.slices] = TILES * (1 - mask) + FIRST * mask
    assert torch.allclose(out, expected)


def test_overlapping_foregrounds_are_averaged_with_their_masks():
    out = drawn([Region(Box(0, 0, 20, H), True, 0.0), Region(Box(10, 0, 20, H), True, 0.0)])
    assert torch.allclose(out[:, 12:18], torch.tensor(FIRST + 0.5))
    assert torch.allclose(out[:, :10], torch.tensor(FIRST))
    assert torch.allclose(out[:, 30:], torch.tensor(TILES))


def test_what_opaque_foreground_hides_is_not_computed():
    seen = []
    drawn([Region(Box(0, 0, W, H), True, 0.0), Region(Box(4, 4, 8, 8))], seen=seen)
    assert seen == [("regions", [0])]
    seen = []
    drawn([Region(Box(0, 0, 28, H), True, 0.0)], draw_background=True, seen=seen)
    assert [kind for kind, _ in seen].count("tiles") == 1  # two tiles, the last of three columns


def test_regions_of_one_size_and_key_share_a_batch():
    seen = []
    boxes = [Box(x, 0, 8, 8) for x in (0, 10, 20)]
    regions = [Region(box, key=key) for box, key in zip(boxes, ("a", "b", "a"))]
    drawn([*regions, Region(Box(0, 12, 9, 9), key="a")], seen=seen)
    assert [indices for kind, indices in seen if kind == "regions"] == [[0, 2], [3], [1]]


fractions = st.floats(0, 1)


@given(fractions, fractions, fractions, fractions, st.integers(1, 300), st.integers(1, 300))
def test_a_region_lies_inside_the_canvas_or_is_ignored(x, y, w, h, width, height):
    box = region_box(x, y, w, h, width, height)
    if box is None:
        assert x == 1 or y == 1 or w == 0 or h == 0
        return
    assert 0 <= box.x < box.x + box.w <= width
    assert 0 <= box.y < box.y + box.h <= height
    assert box.x == int(x * width)


@given(fractions, fractions, fractions, fractions, st.integers(1, 150), st.integers(1, 150))
def test_a_region_of_a_model_with_patches_has_whole_ones(x, y, w, h, width, height):
    """SD3 cuts the latent into patches of 2x2."""
    box = region_box(x, y, w, h, 2 * width, 2 * height, multiple=2)
    if box is None:
        assert x == 1 or y == 1 or w == 0 or h == 0
        return
    assert {side % 2 for side in (box.x, box.y, box.w, box.h)} == {0}
    assert box.x + box.w <= 2 * width
    assert box.y + box.h <= 2 * height
    assert 0 <= int(x * 2 * width) - box.x <= 1


def test_the_feather_grows_with_the_square_of_the_distance():
    mask = feather_mask(20, 10, 0.8)
    assert mask[5, 0] == 0
    assert mask[5, :6].tolist() == pytest.approx([0, 1 / 16, 4 / 16, 9 / 16, 1, 1])
    assert torch.equal(mask, mask.flip(0))
    assert torch.equal(mask, mask.flip(1))
    assert (feather_mask(20, 10, 0.0) == 1).all()


def test_overlapping_noises_keep_the_variance():
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(4, 300, 300, generator=generator)
    before = noise.clone()
    boxes = [Box(0, 0, 200, 200), Box(100, 100, 180, 180), Box(50, 120, 150, 150)]
    add_noise(noise, boxes, [torch.randn(4, b.h, b.w, generator=generator) for b in boxes])
    assert abs(noise[:, 120:200, 100:200].var().item() - 1) < 0.02  # three of them
    assert abs(noise.var().item() - 1) < 0.02
    assert torch.equal(noise[:, 290:], before[:, 290:])
