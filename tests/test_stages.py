"""The plan of a picture that is composed first: sizes, noise levels, schedules that are entered late."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tile_methods import stages as s
from tile_methods.stages import Size, Stage, compose


def test_literal_plans():
    assert compose(Size(64, 64), 32, 0.5) == s.Composition(Size(32, 32), (Stage(Size(64, 64), 1.3),))
    assert compose(Size(128, 128), 32, 0.5) == s.Composition(
        Size(32, 32), (Stage(Size(64, 64), 1.3), Stage(Size(128, 128), 0.8))
    )
    wide = compose(Size(64, 128), 32, 0.5)
    assert wide.first == Size(24, 44)
    assert [stage.size for stage in wide.stages] == [Size(40, 76), Size(64, 128)]
    assert compose(Size(256, 256), 128, 0.5).first == Size(128, 128)


@pytest.mark.parametrize(("strength", "first", "later"), [(0, 0.65, 0.4), (0.5, 1.3, 0.8), (1, 2.6, 1.6)])
def test_strength_is_an_octave_of_noise_either_way(strength, first, later):
    sigmas = [stage.sigma for stage in compose(Size(256, 256), 32, strength).stages]
    assert sigmas == pytest.approx([first, later, later])


def test_a_stage_that_adds_less_than_an_octave_starts_from_less_noise():
    """64x128 is drawn at 24x44 first: twice 0.77 of an octave. 41x41 at 32x32: 0.36 of one."""
    sigmas = [stage.sigma for stage in compose(Size(64, 128), 32, 0.5).stages]
    assert sigmas == pytest.approx([1.3 * 0.770, 0.8 * 0.770], rel=1e-3)
    (only,) = compose(Size(41, 41), 32, 0.5).stages
    assert only.sigma == pytest.approx(1.3 * 0.358, rel=1e-2)


def page(height, width, overlap, shift=False):
    return s.Tiles(height, width, overlap, shift)


@pytest.mark.parametrize(
    ("canvas", "given", "wanted"),
    [
        (Size(64, 128), page(32, 32, 16), page(24, 44, 12)),
        (Size(128, 64), page(32, 32, 4, True), page(44, 24, 3, True)),
        (Size(128, 256), page(96, 96, 48), page(64, 136, 32)),
        (Size(64, 128), page(96, 96, 48), page(64, 128, 32)),  # no larger than the canvas
        (Size(64, 640), page(32, 32, 16), page(16, 64, 8)),  # 4:1 at most
        (Size(128, 128), page(50, 50, 20), page(50, 50, 20)),  # has it already
        (Size(64, 128), page(24, 44, 20), page(24, 44, 20)),
        (Size(128, 128), page(16, 64, 8), page(32, 32, 16)),
    ],
)
def test_tiles_of_a_stage_have_the_canvas_aspect(canvas, given, wanted):
    assert s.tiles_of_stage(canvas, given) == wanted


@given(
    *([st.integers(32, 600)] * 2), *([st.integers(16, 128)] * 2), st.integers(0, 100), st.sampled_from([1, 2])
)
def test_tiles_of_a_stage_are_about_as_large_as_the_pages(height, width, tile_h, tile_w, share, multiple):
    own = page(tile_h, tile_w, share * (min(tile_h, tile_w) - 1) // 100, True)
    tiles = s.tiles_of_stage(Size(height, width), own, multiple)
    assert 0 <= tiles.overlap < min(tiles.tile_height, tiles.tile_width)
    assert tiles.shift_tiles
    if tiles != own:
        assert tiles.tile_height <= height
        assert tiles.tile_width <= width
        assert tiles.tile_height * tiles.tile_width <= 1.5 * tile_h * tile_w


@given(
    st.integers(4, 600), st.integers(4, 600), st.sampled_from([32, 64, 96, 128]), st.sampled_from([1, 2, 8])
)
def test_stages_grow_at_most_twice_up_to_the_canvas(height, width, side, multiple):
    plan = compose(Size(height, width), side, 0.5, multiple)
    sizes = [plan.first, *(stage.size for stage in plan.stages)]
    if not plan.stages:
        assert height * width <= 1.3 * side * side or min(height, width) <= 0.6 * side
        return
    assert sizes[-1] == Size(height, width)
    for before, after in zip(sizes, sizes[1:]):
        for small, large in ((before.height, after.height), (before.width, after.width)):
            assert small <= large <= 2.4 * small + multiple  # sides are rounded
    for size in sizes[:-1]:
        assert size.height % multiple == size.width % multiple == 0 or min(height, width) < 8


def test_a_ribbon_is_drawn_in_tiles_of_half_the_models_side():
    """1:20: a picture of one height of the model would have 14 rows."""
    plan = compose(Size(128, 2560), 64, 0.5)
    assert plan.first == Size(32, 640)
    assert s.tiles_of_first(plan.first, 64) == s.Tiles(32, 128, 16, False)
    assert len(plan.stages) == 2
    assert not compose(Size(32, 640), 64, 0.5).stages  # nothing to compose


def test_a_canvas_that_fits_the_model_has_no_stages():
    for canvas in (Size(32, 32), Size(16, 16), Size(4, 8)):
        assert not compose(canvas, 32, 0.5).stages


def test_a_schedule_is_entered_at_its_level():
    sigmas = torch.tensor([14.0, 3.0, 1.27, 1.0, 0.3, 0.0])
    assert s.cut(sigmas, 1.3).tolist() == pytest.approx([1.3, 1.0, 0.3, 0.0])
    assert s.cut(sigmas, 2.0).tolist() == pytest.approx([2.0, 1.27, 1.0, 0.3, 0.0])
    assert s.cut(sigmas[[0, 5]], 1.3).tolist() == pytest.approx([1.3, 0.0])


def test_about_half_of_the_steps_lie_below_the_first_stage():
    assert [s.steps_from(sigma, 20) for sigma in (14.6, 1.3, 0.8, 0.02)] == [20, 11, 9, 1]


def test_timesteps_are_entered_at_the_nearest():
    levels = torch.arange(1000) / 100  # timestep 130 has σ 1.3
    assert s.cut_timesteps(torch.tensor([1, 51, 128, 201]), levels, 1.3).tolist() == [1, 51, 130]
    assert s.cut_timesteps(torch.tensor([201, 401]), levels, 1.3).tolist() == [130]
