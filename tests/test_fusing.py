import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tile_methods.fusing import WEIGHTINGS, TileFuser
from tile_utils.conditioning import tile_conditioning
from tile_utils.geometry import Box, make_grid

METHODS = sorted(WEIGHTINGS)


def fuser_for(x, method, tile=(24, 16), overlap=8, batch=3):
    grid = make_grid(x.shape[-1], x.shape[-2], *tile, overlap)
    assert len(grid.boxes) > 1
    return TileFuser(grid, method, batch, x.device)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=25, deadline=None)
@given(st.integers(33, 90), st.integers(33, 70), st.integers(0, 12), st.integers(1, 8))
def test_a_pointwise_denoiser_comes_back_as_if_untiled(method, width, height, overlap, batch):
    x = torch.randn(2, 4, height, width, generator=torch.Generator().manual_seed(width))
    fuser = fuser_for(x, method, overlap=overlap, batch=batch)
    sigma = torch.tensor([0.5, 2.0])

    def denoise(tiles, sigma, cond):
        return torch.tanh(tiles) * sigma[:, None, None, None] + cond["gain"][:, None, None, None]

    cond = {"gain": torch.tensor([1.0, -3.0])}
    assert (fuser.fuse(denoise, x, sigma, cond) - denoise(x, sigma, cond)).abs().max() < 1e-5


@pytest.mark.parametrize("method", METHODS)
def test_rows_keep_their_own_sigma_and_spatial_condition(method):
    x = torch.randn(3, 4, 40, 56)
    hint, mask = torch.randn(3, 2, 320, 448), torch.randn(3, 5, 40, 56)
    cond = {"c_concat": [mask], "control": {"hint": hint}, "crossattn": torch.arange(3.0).view(3, 1, 1)}
    sigma = torch.tensor([1.0, 2.0, 3.0])

    def denoise(tiles, sigma, cond):
        pooled = torch.nn.functional.avg_pool2d(cond["control"]["hint"], 8)[:, :1]
        row = cond["crossattn"].view(-1, 1, 1, 1)
        return tiles + cond["c_concat"][0][:, :1] + pooled + row * sigma.view(-1, 1, 1, 1)

    fused = fuser_for(x, method).fuse(denoise, x, sigma, cond)
    assert (fused - denoise(x, sigma, cond)).abs().max() < 1e-4


def test_the_average_counts_every_tile_once_or_by_the_gaussian():
    x = torch.zeros(1, 1, 16, 24)
    for method in METHODS:
        grid = make_grid(24, 16, 16, 16, 8)
        fuser = TileFuser(grid, method, 1, x.device)
        values = iter([torch.zeros(1, 1, 16, 16), torch.ones(1, 1, 16, 16)])
        fused = fuser.fuse(lambda *_, values=values: next(values), x, torch.ones(1), {})[0, 0, 0]
        weight = WEIGHTINGS[method](16, 16)[0]
        overlap = weight[:8] / (weight[:8] + weight[8:])
        assert torch.allclose(fused, torch.cat([torch.zeros(8), overlap, torch.ones(8)]), atol=1e-6)


def test_rows_of_a_skipped_uncond_in_the_condition_are_dropped():
    x = torch.randn(1, 4, 32, 48)
    seen = []

    def denoise(tiles, sigma, cond):
        seen.append((tiles.shape[0], cond["c_concat"][0].shape[0]))
        return tiles

    fuser_for(x, METHODS[0]).fuse(denoise, x, torch.ones(1), {"c_concat": [torch.zeros(2, 5, 1, 1)]})
    assert seen
    assert all(rows == cond_rows for rows, cond_rows in seen)


def test_the_condition_of_the_caller_is_never_changed():
    x, cond = torch.randn(1, 4, 32, 48), {"c_crossattn": [torch.ones(1, 77, 8)]}

    def denoise(tiles, sigma, cond):
        cond["c_crossattn"][0] *= 2
        cond["extra"] = 1
        return tiles

    fuser_for(x, METHODS[0]).fuse(denoise, x, torch.ones(1), cond)
    assert list(cond) == ["c_crossattn"]
    assert (cond["c_crossattn"][0] == 1).all()


def test_half_precision_is_averaged_in_float32_and_returned_in_half():
    x = torch.randn(1, 4, 33, 65).half()
    fused = fuser_for(x, "Mixture of Diffusers").fuse(lambda tiles, *_: tiles, x, torch.ones(1), {})
    assert fused.dtype == torch.float16
    assert (fused - x).abs().max() < 2e-3


def test_conditions_of_sdxl_are_cut_where_spatial_and_repeated_elsewhere():
    boxes, canvas = [Box(0, 0, 4, 4), Box(2, 0, 4, 4)], (4, 6)
    cond = {
        "c_crossattn": [torch.randn(2, 77, 8)],
        "crossattn": torch.randn(2, 77, 8),
        "vector": torch.randn(2, 12),
        "c_concat": [torch.arange(24.0).view(1, 1, 4, 6).expand(2, 5, 4, 6)],
        "hint": torch.randn(2, 3, 32, 48),
        "transformer_options": {"flag": True},
    }
    cut = tile_conditioning(cond, boxes, canvas, rows=2)
    assert torch.equal(cut["vector"], cond["vector"].repeat(2, 1))
    assert torch.equal(cut["crossattn"], cond["crossattn"].repeat(2, 1, 1))
    assert torch.equal(cut["c_crossattn"][0], cond["c_crossattn"][0].repeat(2, 1, 1))
    assert torch.equal(cut["c_concat"][0][2:], cond["c_concat"][0][..., 2:6])
    assert torch.equal(cut["hint"][2:], cond["hint"][..., 16:48])
    assert cut["transformer_options"] == {"flag": True}


def test_conditions_of_one_row_or_no_row_serve_every_row():
    boxes, canvas, rows = [Box(0, 0, 4, 4), Box(2, 0, 4, 4)], (4, 6), 3
    cond = {
        "hint": torch.arange(24.0).view(1, 1, 4, 6),  # one picture for the whole batch
        "style": torch.randn(1, 9),
        "schedule": torch.arange(1000.0),  # no rows at all
        "c_concat": [torch.zeros(4, 5, 1, 1)],  # the rows of a skipped uncond too
    }
    cut = tile_conditioning(cond, boxes, canvas, rows)
    assert cut["hint"].shape == (6, 1, 4, 4)
    assert torch.equal(cut["hint"][3:], cond["hint"][..., 2:6].expand(3, 1, 4, 4))
    assert cut["style"] is cond["style"]
    assert cut["schedule"] is cond["schedule"]
    assert cut["c_concat"][0].shape == (6, 5, 1, 1)
