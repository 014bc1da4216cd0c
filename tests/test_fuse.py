import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tile_methods.fuse import Prediction, fuse
from tile_methods.planner import Layout, Planner
from tile_utils.conditions import condition_of, picked_rows, scale_on
from tile_utils.grid import make_grid
from tile_utils.surface import Surface, Window, add, read
from tile_utils.weights import WEIGHTINGS

METHODS = sorted(WEIGHTINGS)


def planned(x, method, tile=(24, 16), overlap=8, batch=3):
    grid = make_grid(x.shape[-1], x.shape[-2], *tile, overlap)
    assert len(grid) > 1
    return Planner(Layout(Surface(*x.shape[-2:]), grid, method, batch, x.device)).plan(0)


def moved(x, method, step, tile=(24, 16), overlap=8, batch=3):
    grid = make_grid(x.shape[-1], x.shape[-2], *tile, overlap)
    return Planner(Layout(Surface(*x.shape[-2:]), grid, method, batch, x.device, shift=True)).plan(step)


def tiled(x, method, denoise, sigma, cond, **sizes):
    return fuse(planned(x, method, **sizes), lambda batch, *args: denoise(*args), x, sigma, cond)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=25, deadline=None)
@given(st.integers(33, 90), st.integers(33, 70), st.integers(0, 12), st.integers(1, 8))
def test_a_pointwise_denoiser_comes_back_as_if_untiled(method, width, height, overlap, batch):
    x = torch.randn(2, 4, height, width, generator=torch.Generator().manual_seed(width))
    sigma = torch.tensor([0.5, 2.0])

    def denoise(tiles, sigma, cond):
        return torch.tanh(tiles) * sigma[:, None, None, None] + cond["gain"][:, None, None, None]

    cond = {"gain": torch.tensor([1.0, -3.0])}
    fused = tiled(x, method, denoise, sigma, cond, overlap=overlap, batch=batch)
    assert (fused - denoise(x, sigma, cond)).abs().max() < 1e-5


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

    fused = tiled(x, method, denoise, sigma, cond)
    assert (fused - denoise(x, sigma, cond)).abs().max() < 1e-4


def test_the_average_counts_every_tile_once_or_by_the_gaussian():
    x = torch.zeros(1, 1, 16, 24)
    for method in METHODS:
        values = iter([torch.zeros(1, 1, 16, 16), torch.ones(1, 1, 16, 16)])
        fused = tiled(
            x, method, lambda *_, values=values: next(values), torch.ones(1), {}, tile=(16, 16), batch=1
        )
        fused = fused[0, 0, 0]
        weight = WEIGHTINGS[method](16, 16)[0]
        overlap = weight[:8] / (weight[:8] + weight[8:])
        assert torch.allclose(fused, torch.cat([torch.zeros(8), overlap, torch.ones(8)]), atol=1e-6)


def test_rows_of_a_skipped_uncond_in_the_condition_are_dropped():
    x = torch.randn(1, 4, 32, 48)
    seen = []

    def denoise(tiles, sigma, cond):
        seen.append((tiles.shape[0], cond["c_concat"][0].shape[0]))
        return tiles

    tiled(x, METHODS[0], denoise, torch.ones(1), {"c_concat": [torch.zeros(2, 5, 1, 1)]})
    assert seen
    assert all(rows == cond_rows for rows, cond_rows in seen)


def test_the_condition_of_the_caller_is_never_changed():
    x, cond = torch.randn(1, 4, 32, 48), {"c_crossattn": [torch.ones(1, 77, 8)]}

    def denoise(tiles, sigma, cond):
        cond["c_crossattn"][0] *= 2
        cond["extra"] = 1
        return tiles

    tiled(x, METHODS[0], denoise, torch.ones(1), cond)
    assert list(cond) == ["c_crossattn"]
    assert (cond["c_crossattn"][0] == 1).all()


def test_half_precision_is_averaged_in_float32_and_returned_in_half():
    x = torch.randn(1, 4, 33, 65).half()
    fused = tiled(x, "Mixture of Diffusers", lambda tiles, *_: tiles, torch.ones(1), {})
    assert fused.dtype == torch.float16
    assert (fused - x).abs().max() < 2e-3


def test_conditions_of_sdxl_are_cut_where_spatial_and_repeated_elsewhere():
    windows, surface = [Window(0, 0, 4, 4), Window(0, 2, 4, 4)], Surface(4, 6)
    cond = {
        "c_crossattn": [torch.randn(2, 77, 8)],
        "crossattn": torch.randn(2, 77, 8),
        "vector": torch.randn(2, 12),
        "c_concat": [torch.arange(24.0).view(1, 1, 4, 6).expand(2, 5, 4, 6)],
        "hint": torch.randn(2, 3, 32, 48),
        "transformer_options": {"flag": True},
    }
    cut = condition_of(cond, windows, surface, rows=2)
    assert torch.equal(cut["vector"], cond["vector"].repeat_interleave(2, 0))
    assert torch.equal(cut["crossattn"], cond["crossattn"].repeat_interleave(2, 0))
    assert torch.equal(cut["c_crossattn"][0], cond["c_crossattn"][0].repeat_interleave(2, 0))
    assert torch.equal(cut["c_concat"][0][1::2], cond["c_concat"][0][..., 2:6])
    assert torch.equal(cut["hint"][1::2], cond["hint"][..., 16:48])
    assert cut["transformer_options"] == {"flag": True}


def test_conditions_of_one_row_or_no_row_serve_every_row():
    windows, surface, rows = [Window(0, 0, 4, 4), Window(0, 2, 4, 4)], Surface(4, 6), 3
    cond = {
        "hint": torch.arange(24.0).view(1, 1, 4, 6),  # one picture for the whole batch
        "style": torch.randn(1, 9),
        "schedule": torch.arange(1000.0),  # no rows at all
        "c_concat": [torch.zeros(4, 5, 1, 1)],  # the rows of a skipped uncond too
    }
    cut = condition_of(cond, windows, surface, rows)
    assert cut["hint"].shape == (6, 1, 4, 4)
    assert torch.equal(cut["hint"][1::2], cond["hint"][..., 2:6].expand(3, 1, 4, 4))
    assert cut["style"] is cond["style"]
    assert cut["schedule"] is cond["schedule"]
    assert cut["c_concat"][0].shape == (6, 5, 1, 1)


@pytest.mark.parametrize(
    ("shape", "scale"),
    [
        ((2, 4, 4, 6), 1),
        ((2, 3, 32, 48), 8),
        ((2, 3, 5, 32, 48), 8),  # pictures in time
        ((2, 3, 4, 48), 0),  # as wide, but not as high
        ((2, 3, 32, 7), 0),
        ((2, 5, 1, 1), 0),
        ((2, 32, 48), 0),  # a text of 32 tokens
    ],
)
def test_what_is_spatial(shape, scale):
    assert scale_on(Surface(4, 6), torch.zeros(shape)) == scale


def test_batches_are_drawn_in_the_order_that_is_asked_for():
    x, drawn = torch.randn(1, 4, 40, 56), []
    plan = planned(x, METHODS[0])

    def model(batch, x, sigma, cond):
        drawn.append(batch)
        return x

    fuse(plan, model, x, torch.ones(1), {}, batches=plan.batches[::-1])
    assert drawn == plan.batches[::-1]


def test_some_rows_of_a_condition():
    cond = {"c_crossattn": [torch.arange(6.0).view(3, 1, 2)], "style": torch.ones(1, 9), "flag": "on"}
    picked = picked_rows(cond, [2, 0], rows=3)
    assert picked["c_crossattn"][0].tolist() == [[[4, 5]], [[0, 1]]]
    assert picked["style"] is cond["style"]
    assert picked["flag"] == "on"


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), st.sampled_from([(False, True), (True, False), (True, True)]))
def test_rolling_a_joined_canvas_rolls_what_is_read_and_added(down, across, wraps):
    """With weights that sum up to 1, `add` of `read` over all windows is the canvas, wherever they begin."""
    x = torch.randn(3, 40, 56, generator=torch.Generator().manual_seed(down * 61 + across))
    surface = Surface(40, 56, wraps)
    shift = (down * wraps[0], across * wraps[1])
    out, total = torch.zeros_like(x), torch.zeros(40, 56)
    for window in make_grid(56, 40, 24, 16, 8).windows:
        moved = Window(window.y + shift[0], window.x + shift[1], window.h, window.w)
        add(out, read(x, moved, surface), moved, surface)
        add(total, 1, moved, surface)
    assert total.min() >= 1
    assert torch.allclose(out / total, x, atol=1e-6)


@given(st.floats(0.01, 0.99), st.booleans())
def test_a_prediction_becomes_x0_and_back(alpha, says_eps):
    """eps of a timestep sampler's x, which is not scaled, and x0 itself."""
    x0, eps = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    a = torch.tensor([alpha, alpha / 2]).view(-1, 1, 1, 1)
    x, output = a.sqrt() * x0 + (1 - a).sqrt() * eps, eps if says_eps else x0
    how = Prediction(a.rsqrt(), -((1 - a) / a).sqrt()) if says_eps else Prediction(0 * a, 1 + 0 * a)
    assert torch.allclose(how.denoised(x, output), x0, atol=2e-4)
    changed = how.changed(x, output, lambda denoised: denoised + 1)
    assert torch.allclose(how.denoised(x, changed), x0 + 1, atol=2e-3)


@pytest.mark.parametrize("method", METHODS)
def test_the_plan_of_a_step_is_the_plan_of_the_same_step_again(method):
    planner = Planner(Layout(Surface(40, 56), make_grid(56, 40, 24, 16, 8), method, 3, torch.device("cpu")))
    assert planner.plan(3) is planner.plan(3)
    assert planner.plan(4) is planner.plan(3)  # nothing has changed


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=25, deadline=None)
@given(st.integers(25, 90), st.integers(17, 70), st.integers(0, 12), st.integers(1, 8), st.integers(0, 10**9))
def test_a_grid_that_moves_draws_a_pointwise_model_whole(method, width, height, overlap, batch, step):
    x = torch.randn(2, 4, height, width, generator=torch.Generator().manual_seed(width))
    plan = moved(x, method, step, overlap=overlap, batch=batch)
    fused = fuse(
        plan, lambda _, x, sigma, cond: torch.tanh(x) + cond["gain"], x, torch.ones(2), {"gain": 2.0}
    )
    assert (fused - torch.tanh(x) - 2).abs().max() < 1e-5
    assert len({(patch.window.h, patch.window.w) for each in plan.batches for patch in each.patches}) == 1


def test_a_grid_that_moves_moves_every_step_and_comes_back_to_the_same():
    layout = Layout(
        Surface(40, 56), make_grid(56, 40, 24, 16, 4), METHODS[0], 8, torch.device("cpu"), shift=True
    )
    planner = Planner(layout)
    places = [
        [patch.window for batch in planner.plan(step).batches for patch in batch.patches] for step in range(6)
    ]
    assert len({tuple(windows) for windows in places}) == 6
    assert len({len(windows) for windows in places}) == 1
    again = [patch.window for batch in Planner(layout).plan(3).batches for patch in batch.patches]
    assert again == places[3]
    assert planner.plan(7) is planner.plan(7)
