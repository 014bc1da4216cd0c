"""Canvases whose edges are joined: circles of tiles, regions across a join, and pictures that roll with their noise."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from tile_methods.fuse import fuse
from tile_methods.noise import add_noise
from tile_methods.planner import Layout, Planner, Region
from tile_utils.grid import make_axis, make_grid, region_window
from tile_utils.surface import OPT_F, Surface, Window, add
from tile_utils.weights import feather_mask, gaussian_weights

AROUND = (True, True)
METHODS = ["MultiDiffusion", "Mixture of Diffusers"]


@given(st.integers(17, 300), st.integers(16, 64), st.integers(0, 60))
def test_tiles_on_a_circle_are_evenly_spaced_and_no_more_than_needed(length, tile, overlap):
    axis = make_axis(length, tile, overlap, wraps=True)
    starts = [axis.start(i) for i in range(axis.count)]
    if length <= tile:
        assert starts == [0]
        return
    gaps = [b - a for a, b in zip(starts, [*starts[1:], length])]
    assert max(gaps) - min(gaps) <= 1
    assert max(gaps) <= tile - axis.overlap
    assert (axis.count - 1) * (tile - axis.overlap) < length  # one less would not reach around


@given(st.integers(9, 150), st.integers(8, 32), st.integers(0, 60), st.floats(0, 1, exclude_max=True),
       st.integers(1, 2))  # fmt: skip
def test_shifted_tiles_on_a_circle_all_count_whole(half, tile, overlap, phase, multiple):
    length = half * multiple
    axis = make_axis(length, tile * multiple, overlap // multiple * multiple, wraps=True)
    spans, counted = axis.shifted(phase, multiple), torch.zeros(1, length)
    assert len(spans) == axis.count == axis.shifted_count
    for span in spans:
        assert (span.moved, span.start % multiple) == (0, 0)
        add(counted, 1, Window(0, span.start, 1, axis.tile), Surface(1, length, AROUND))
    assert (counted > 0).all()


def test_literal_circles():
    assert [w.x for w in make_grid(64, 16, 32, 32, 16, (False, True)).windows] == [0, 16, 32, 48]
    assert [w.x for w in make_grid(64, 16, 32, 32, 16).windows] == [0, 16, 32]
    assert make_grid(64, 64, 32, 32, 16, AROUND).shifted == 16
    assert make_grid(64, 64, 32, 32, 16).shifted == 16  # three of them, and one more at the ends
    assert [span.start for span in make_axis(64, 32, 16, True).shifted(0.5)] == [8, 24, 40, 56]


@pytest.mark.parametrize(
    ("box", "window"),
    [
        ((0.75, 0.5, 0.5, 0.75), Window(12, 30, 18, 20)),
        ((0.25, 0.5, 1.0, 0.25), Window(12, 10, 6, 40)),
        ((1.0, 1.0, 0.5, 0.5), Window(24, 40, 12, 20)),
        ((0.5, 0.5, 0.0, 0.5), None),
    ],
)
def test_a_region_goes_on_where_edges_are_joined(box, window):
    assert region_window(*box, Surface(24, 40, AROUND)) == window


@pytest.mark.parametrize(
    ("wraps", "window"), [((True, False), Window(18, 30, 12, 10)), ((False, True), Window(18, 30, 6, 20))]
)
def test_a_region_ends_at_the_edge_that_is_not_joined(wraps, window):
    assert region_window(0.75, 0.75, 0.5, 0.5, Surface(24, 40, wraps)) == window


def test_what_goes_all_around_has_no_edges():
    around = Surface(8, 20, (False, True))
    assert around.closed(Window(2, 5, 3, 20)) == (False, True)
    assert around.closed(Window(0, 0, 8, 19)) == (False, False)
    assert Surface(8, 20).closed(Window(0, 0, 8, 20)) == (False, False)
    assert torch.equal(gaussian_weights(20, 8, closed=(False, True)), gaussian_weights(1, 8).expand(8, 20))
    mask = feather_mask(20, 8, 1.0, closed=(False, True))
    assert torch.equal(mask, (torch.tensor([0, 1, 2, 3, 3, 2, 1, 0]) / 4).square()[:, None].expand(8, 20))
    mask = feather_mask(20, 8, 1.0, closed=(True, False))
    assert torch.equal(mask, (torch.tensor([*range(10), *range(9, -1, -1)]) / 10).square().expand(8, 20))
    assert (feather_mask(20, 8, 1.0, closed=AROUND) == 1).all()
    nowhere = torch.device("meta")
    assert gaussian_weights(20, 8, nowhere, closed=(False, True)).device == nowhere
    assert feather_mask(20, 8, 1.0, nowhere, closed=(False, True)).device == nowhere


def pointwise(batch, x, sigma, cond):
    words = torch.tensor([patch.words for patch in batch.patches] * (len(x) // len(batch.patches)))
    return x.tanh() + words.view(-1, 1, 1, 1) + F.avg_pool2d(cond["hint"], OPT_F)


def convolutional(surface):
    """Sees its neighbours: zeros beyond a window's edges, but around where the window goes all around."""
    kernel = torch.randn(3, 3, 5, 5, generator=torch.Generator().manual_seed(3)) / 5

    def model(batch, x, sigma, cond):
        for axis, closed in zip((-2, -1), surface.closed(batch.windows[0])):
            pad = (0, 0, 2, 2) if axis == -2 else (2, 2, 0, 0)
            x = F.pad(x, pad, mode="circular" if closed else "constant")
        words = torch.tensor([patch.words for patch in batch.patches] * (len(x) // len(batch.patches)))
        return F.conv2d(x, kernel).tanh() + words.view(-1, 1, 1, 1) + F.avg_pool2d(cond["hint"], OPT_F)

    return model


SIZE = 40, 56
REGIONS = [
    Region(Window(4, 44, 12, 24), 1),
    Region(Window(30, 20, 20, 17), 2, foreground=True, feather=0.6),
    Region(Window(22, 0, 6, 56), 3, foreground=True, feather=1.0),
]


def moved(regions, by, surface):
    return [
        Region(
            Window((r.window.y + by[0]) % surface.height, (r.window.x + by[1]) % surface.width, r.window.h, r.window.w),
            r.words, r.foreground, r.feather,
        )
        for r in regions
    ]  # fmt: skip


def picture(make_model, by, method, tile, background, shift=False, steps=2):
    """What is drawn of noise, hints and regions that are rolled `by` (down, across); the last one's own noise too."""
    surface = Surface(*SIZE, AROUND)
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(2, 3, *SIZE, generator=generator).roll(by, (-2, -1))
    hint = torch.randn(1, 3, *(side * OPT_F for side in SIZE), generator=generator)
    hint = hint.roll([shift * OPT_F for shift in by], (-2, -1))
    regions = moved(REGIONS, by, surface)
    own = [torch.randn(3, r.window.h, r.window.w, generator=generator) for r in regions]
    for row in x:
        add_noise(row, [region.window for region in regions], own, surface)
    grid = make_grid(SIZE[1], SIZE[0], tile[1], tile[0], 8, AROUND)
    layout = Layout(surface, grid, method, 3, torch.device("cpu"), regions, background, shift)
    planner, model = Planner(layout), make_model(surface)
    for step in range(steps):
        x = fuse(planner.plan(step), model, x, torch.ones(2), {"hint": hint})
    return x


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("make_model", [lambda surface: pointwise, convolutional])
@pytest.mark.parametrize(
    ("tile", "by"),
    [
        ((18, 22), (10, 14)),  # strides of 10 and 14
        ((18, 22), (-30, 42)),
        ((18, 64), (20, 5)),  # one tile goes all around across: any k
        ((64, 64), (3, 5)),
    ],
)
def test_rolling_noise_hints_and_regions_rolls_the_picture(make_model, method, background, tile, by):
    still = picture(make_model, (0, 0), method, tile, background)
    rolled = picture(make_model, by, method, tile, background)
    assert torch.allclose(rolled, still.roll(by, (-2, -1)), atol=1e-5)
    assert not torch.allclose(rolled, still, atol=1e-2)


@pytest.mark.parametrize("method", METHODS)
def test_a_pointwise_model_rolls_with_shifted_tiles_by_any_k(method):
    still = picture(lambda _: pointwise, (0, 0), method, (18, 22), True, shift=True)
    rolled = picture(lambda _: pointwise, (7, 3), method, (18, 22), True, shift=True)
    # only where a region is averaged with tiles do these count by where they lie
    alone = torch.ones(SIZE, dtype=torch.bool)
    alone[4:16, 44:], alone[4:16, :12] = False, False
    assert torch.allclose(rolled.roll((-7, -3), (-2, -1))[..., alone], still[..., alone], atol=1e-5)


@pytest.mark.parametrize("closed", [(True, False), (False, True), (True, True)])
def test_a_shapes_feather_goes_round_with_the_shape(closed):
    """A disk in a box as large as a canvas that is closed: rolled over the join, it fades as it did."""
    rows, columns = torch.meshgrid(torch.arange(24), torch.arange(24), indexing="ij")
    disk = (rows - 12) ** 2 + (columns - 12) ** 2 <= 64
    axes = [axis for axis in (0, 1) if closed[axis]]
    faded = feather_mask(24, 24, 0.5, closed=closed, shape=disk)
    rolled = feather_mask(24, 24, 0.5, closed=closed, shape=disk.roll([12] * len(axes), axes))
    assert 0 < faded[12, 6] < 1
    assert torch.equal(rolled, faded.roll([12] * len(axes), axes))


@pytest.mark.parametrize("axis", [0, 1])
def test_a_shape_that_ends_at_a_join_fades_there(axis):
    """A band of six, up to the edge that is joined to the opposite one, where nothing of it is."""
    band = torch.zeros(20, 20, dtype=torch.bool)
    band.narrow(axis, 0, 6).fill_(True)
    faded = feather_mask(20, 20, 1.0, closed=(True, True), shape=band)
    wanted = torch.tensor([0.0, 1.0, 2.0, 2.0, 1.0, 0.0, *[0.0] * 14])
    assert torch.equal(faded, (wanted / 3).square().unsqueeze(1 - axis).expand(20, 20))
