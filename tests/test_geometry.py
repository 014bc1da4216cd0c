import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tile_utils.geometry import MIN_STRIDE, Box, make_grid, split_evenly
from tile_utils.weights import gaussian_weights, uniform_weights

sizes = st.integers(1, 300)


@given(sizes, sizes, st.integers(1, 128), st.integers(1, 128), st.integers(0, 256))
def test_tiles_cover_the_canvas_and_stay_inside(width, height, tile_w, tile_h, overlap):
    grid = make_grid(width, height, tile_w, tile_h, overlap)
    covered = torch.zeros(height, width, dtype=torch.bool)
    for box in grid.boxes:
        assert (box.w, box.h) == (min(tile_w, width), min(tile_h, height))
        assert 0 <= box.x <= width - box.w
        assert 0 <= box.y <= height - box.h
        covered[box.slices] = True
    assert covered.all()
    assert len(grid.boxes) == grid.cols * grid.rows


def test_literal_grid():
    grid = make_grid(256, 32, 32, 32, 16)
    assert (grid.cols, grid.rows) == (15, 1)
    assert [box.x for box in grid.boxes] == list(range(0, 225, 16))


@given(st.integers(33, 300), st.integers(16, 32), st.integers(0, 256))
def test_neighbours_overlap_by_what_was_asked_for(width, tile, overlap):
    grid = make_grid(width, tile, tile, tile, overlap)
    assert grid.overlap == min(overlap, tile - MIN_STRIDE)
    starts = [box.x for box in grid.boxes]
    assert all(b - a <= tile - grid.overlap for a, b in zip(starts, starts[1:]))


def test_a_size_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="canvas 0x32"):
        make_grid(0, 32, 32, 32, 16)


@given(st.integers(1, 60), st.integers(1, 8))
def test_batches_are_as_few_and_as_even_as_possible(count, batch_size):
    boxes = [Box(i, 0, 1, 1) for i in range(count)]
    batches = split_evenly(boxes, batch_size)
    assert [box for batch in batches for box in batch] == boxes
    assert max(map(len, batches)) <= batch_size
    assert len(batches) == -(-count // batch_size)


def test_gaussian_weights_follow_the_paper_on_each_axis():
    weights = gaussian_weights(24, 40)
    assert weights.shape == (40, 24)
    assert torch.allclose(weights, weights.flip(0).flip(1))
    expected = torch.exp(torch.tensor(-((3 - 11.5) ** 2) / (2 * 0.01 * 24**2) - 0.5**2 / (2 * 0.01 * 40**2)))
    assert abs(weights[20, 3] - expected) < 1e-6
    assert weights.min() > 0
    assert (uniform_weights(3, 2) == torch.ones(2, 3)).all()
