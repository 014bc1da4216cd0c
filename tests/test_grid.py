import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tile_utils.grid import (
    MIN_STRIDE,
    Span,
    batch_count,
    make_axis,
    make_grid,
    phases,
    region_window,
    split_evenly,
)
from tile_utils.surface import Surface, Window, add
from tile_utils.weights import gaussian_weights, uniform_weights

sizes = st.integers(1, 300)


@given(sizes, sizes, st.integers(1, 128), st.integers(1, 128), st.integers(0, 256))
def test_tiles_cover_the_canvas_and_stay_inside(width, height, tile_w, tile_h, overlap):
    grid = make_grid(width, height, tile_w, tile_h, overlap)
    covered = torch.zeros(height, width)
    windows = list(grid.windows)
    for window in windows:
        assert (window.w, window.h) == (min(tile_w, width), min(tile_h, height))
        add(covered, 1, window, Surface(height, width))
    assert (covered > 0).all()
    assert len(windows) == len(grid) == grid.across.count * grid.down.count
    assert grid.tile_area == windows[0].w * windows[0].h


def starts_of(axis):
    return [axis.start(i) for i in range(axis.count)]


def test_literal_grid():
    grid = make_grid(256, 32, 32, 32, 16)
    assert (grid.across.count, grid.down.count) == (15, 1)
    assert [window.x for window in grid.windows] == list(range(0, 225, 16))
    assert starts_of(make_axis(100, 32, 8)) == [0, 22, 45, 68]  # spread evenly, rounded down


def test_each_axis_clamps_the_overlap_by_its_own_tile():
    """5632x256 pixels, tiles of 96 with overlap 48: the canvas' height caps one side only."""
    grid = make_grid(704, 32, 96, 96, 48)
    assert (grid.across.overlap, grid.across.count) == (48, 14)
    assert (grid.down.tile, grid.down.overlap, grid.down.count) == (32, 28, 1)


@given(st.integers(33, 300), st.integers(16, 32), st.integers(0, 256))
def test_neighbours_overlap_by_what_was_asked_for(width, tile, overlap):
    axis = make_axis(width, tile, overlap)
    assert axis.overlap == min(overlap, tile - MIN_STRIDE)
    starts = starts_of(axis)
    assert starts[0] == 0
    assert starts[-1] == width - tile
    assert all(0 < b - a <= tile - axis.overlap for a, b in zip(starts, starts[1:]))


@given(st.integers(1, 3), st.integers(0, 300))
def test_a_tile_of_less_than_the_stride_has_no_overlap(tile, overlap):
    assert make_axis(50, tile, overlap).overlap == 0


def test_a_grid_is_counted_without_being_made():
    """Typing "1" as a tile's width once hung the server: every box of the grid was made, three times."""
    grid = make_grid(10**4, 10**5, 1, 1, 0)
    assert len(grid) == 10**9
    assert grid.down.start(grid.down.count - 1) == 10**5 - 1


@given(
    st.integers(17, 300),
    st.integers(16, 64),
    st.integers(0, 60),
    st.floats(0, 1, exclude_max=True),
    st.integers(1, 2),
)
def test_shifted_tiles_count_everywhere_and_as_many_as_ever(half, tile, overlap, phase, multiple):
    length = half * multiple
    axis = make_axis(length, tile * multiple, overlap)
    counted = torch.zeros(length)
    spans = axis.shifted(phase, multiple)
    for span in spans:
        wanted = span.start - span.moved
        assert 0 <= span.start <= length - axis.tile
        assert span.moved == 0 or span.start in (0, length - axis.tile)
        counted[max(0, wanted) : wanted + axis.tile] += 1
        assert span.start % multiple == 0
    assert (counted > 0).all()
    assert len(spans) == axis.shifted_count
    assert axis.count <= axis.shifted_count <= axis.count + 1


@given(st.integers(17, 300), st.integers(16, 64), st.integers(0, 60))
def test_shifted_borders_walk_a_quarter_of_a_tile_and_no_more_than_a_step(length, tile, overlap):
    axis = make_axis(length, tile, overlap)
    if axis.shifted_count == 1:
        return
    early, late = ([span.start - span.moved for span in axis.shifted(phase)] for phase in (0, 1 - 1e-9))
    walked = {b - a for a, b in zip(early, late)}
    stride = axis.tile - axis.overlap
    assert max(walked) <= stride
    assert min(walked) >= min(axis.tile / 4, stride / 2) - 1


def test_a_grid_that_is_shifted_by_nothing_reaches_the_end():
    """122 are 15 steps of 122 / 15, but 121.99999999999999 in floats."""
    axis = make_axis(174, 52, 43)
    assert axis.shifted(0.0)[-1] == Span(122, 0)


def test_literal_shifted_tiles():
    """A canvas of 100, tiles of 40, overlap 10: still at 0, 30 and 60; the same number moves over none, so one more."""
    spans = make_axis(100, 40, 10).shifted(0.5)
    assert [(span.start, span.moved) for span in spans] == [(0, 15), (15, 0), (45, 0), (60, -15)]
    # 96 of 32: with an overlap of 4 there is room for 20 pixels, so no tile more
    spans = make_axis(96, 32, 4).shifted(0.25)
    assert [(span.start, span.moved) for span in spans] == [(0, 15), (13, 0), (41, 0), (64, -5)]


def test_the_grids_of_steps_lie_far_apart():
    """Of ten steps in a row none repeats another's offset, down or across, within a twentieth."""
    for axis in (0, 1):
        offsets = sorted(phases(step)[axis] for step in range(10))
        gaps = [b - a for a, b in zip(offsets, [*offsets[1:], offsets[0] + 1])]
        assert min(gaps) > 0.05
        assert max(gaps) < 0.25


def test_a_size_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="a canvas of 0, tiles of 32"):
        make_grid(0, 32, 32, 32, 16)


@given(st.integers(1, 60), st.integers(1, 8))
def test_batches_are_as_few_and_as_even_as_possible(count, batch_size):
    items = list(range(count))
    batches = split_evenly(items, batch_size)
    assert [item for batch in batches for item in batch] == items
    assert max(map(len, batches)) <= batch_size
    assert len(batches) == -(-count // batch_size) == batch_count(count, batch_size)
    assert max(map(len, batches)) - min(map(len, batches)) <= 1


def test_ten_by_four():
    assert list(map(len, split_evenly(range(10), 4))) == [4, 3, 3]
    assert split_evenly([], 4) == []


fractions = st.floats(0, 1)


@given(fractions, fractions, fractions, fractions, st.integers(1, 300), st.integers(1, 300))
def test_a_region_lies_inside_the_canvas_or_is_ignored(x, y, w, h, width, height):
    window = region_window(x, y, w, h, Surface(height, width))
    if window is None:
        assert x == 1 or y == 1 or w == 0 or h == 0
        return
    assert 0 <= window.x < window.x + window.w <= width
    assert 0 <= window.y < window.y + window.h <= height
    assert window.x == int(x * width)


@given(fractions, fractions, fractions, fractions, st.integers(1, 150), st.integers(1, 150))
def test_a_region_of_a_model_with_patches_has_whole_ones(x, y, w, h, width, height):
    """SD3 cuts the latent into patches of 2x2."""
    window = region_window(x, y, w, h, Surface(2 * height, 2 * width), multiple=2)
    if window is None:
        assert x == 1 or y == 1 or w == 0 or h == 0
        return
    assert {side % 2 for side in (window.x, window.y, window.w, window.h)} == {0}
    assert window.x + window.w <= 2 * width
    assert window.y + window.h <= 2 * height
    assert 0 <= int(x * 2 * width) - window.x <= 1


@pytest.mark.parametrize(
    ("box", "multiple", "window"),
    [
        ((0.25, 0.5, 0.5, 0.25), 1, Window(12, 10, 6, 20)),
        ((0.26, 0.53, 0.51, 0.26), 1, Window(12, 10, 7, 21)),  # 10.4, 12.72, 20.4 and 6.24
        ((0.26, 0.53, 0.51, 0.26), 4, Window(12, 8, 8, 24)),
        ((0.5, 0.5, 1.0, 1.0), 1, Window(12, 20, 12, 20)),
        ((1.0, 0.0, 1.0, 1.0), 1, None),
        ((0.0, 1.0, 1.0, 1.0), 1, None),
        ((0.0, 0.0, 0.0, 1.0), 1, None),
        ((0.0, 0.0, 1.0, 0.0), 1, None),
    ],
)
def test_where_a_region_lies_on_a_canvas_of_40x24(box, multiple, window):
    assert region_window(*box, Surface(24, 40), multiple) == window


@pytest.mark.parametrize(
    ("box", "multiple", "window"),
    [
        ((0.25, 0.5, 0.5, 0.25), 1, Window(12, 10, 6, 20)),
        ((0.26, 0.53, 0.51, 0.26), 1, Window(12, 10, 7, 21)),  # ends at 18.96 and 30.8
        ((0.26, 0.53, 0.51, 0.26), 4, Window(12, 8, 8, 24)),
        ((0.26, 0.53, 0.5, 0.4), 1, Window(12, 10, 11, 21)),  # ends at 22.32 and 30.4, is 9.6 x 20
        ((0.7, 0.1, 0.1, 0.2), 1, Window(2, 28, 6, 4)),  # 0.7 + 0.1 is less than 0.8
        ((0.3, 0.0, 0.3, 1.0), 4, Window(0, 12, 24, 12)),
        ((0.1, 0.0, 0.2, 1.0), 4, Window(0, 4, 24, 8)),  # 12.000000000000002
    ],
)
def test_a_window_that_covers_all_of_a_region(box, multiple, window):
    assert region_window(*box, Surface(24, 40), multiple, covered=True) == window


def test_gaussian_weights_follow_the_paper_on_each_axis():
    weights = gaussian_weights(24, 40)
    assert weights.shape == (40, 24)
    assert torch.allclose(weights, weights.flip(0).flip(1))
    expected = torch.exp(torch.tensor(-((3 - 11.5) ** 2) / (2 * 0.01 * 24**2) - 0.5**2 / (2 * 0.01 * 40**2)))
    assert abs(weights[20, 3] - expected) < 1e-6
    assert weights.min() > 0
    assert (uniform_weights(3, 2) == torch.ones(2, 3)).all()


def test_literal_phases():
    """Half a stride at first, then the golden and the silver ratio on."""
    assert phases(0) == (0.5, 0.5)
    assert phases(1) == pytest.approx((0.5 + (5**0.5 - 1) / 2 - 1, 0.5 + 2**0.5 - 1))
    assert phases(3) == pytest.approx(((0.5 + 3 * (5**0.5 - 1) / 2) % 1, (0.5 + 3 * (2**0.5 - 1)) % 1))
