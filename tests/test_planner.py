"""Regions on a canvas: who draws what, how it is laid together, and the noise of its own seed."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tile_methods.fuse import fuse
from tile_methods.inversion import renoise_mask
from tile_methods.noise import add_noise
from tile_methods.patch import MAIN_NETWORKS, MAIN_WORDS, Patch, cover_of, total_of
from tile_methods.planner import Layout, Planner, Region, WordSpot
from tile_utils.grid import make_grid
from tile_utils.surface import Surface, Window
from tile_utils.weights import feather_mask, gaussian_weights

W, H = 40, 24
TILES, FIRST = 1.0, 10.0


def layout_of(regions, method="MultiDiffusion", draw_background=False, networks=None):
    grid = make_grid(W, H, 16, 16, 4)
    return Layout(
        Surface(H, W), grid, method, 2, torch.device("cpu"), regions, draw_background, networks=networks or {}
    )


def at(x, y, w, h, words=1, foreground=False, feather=0.0):
    return Region(Window(y, x, h, w), words, foreground, feather)


def drawn(regions, method="MultiDiffusion", draw_background=False, seen=None, networks=None):
    """The canvas when tiles say TILES and region n says FIRST + n. [H, W]"""
    plan = Planner(layout_of(regions, method, draw_background, networks)).plan(0)

    def model(batch, x, sigma, cond):
        words = [patch.words for patch in batch.patches]
        if seen is not None:
            seen.append(words)
        values = torch.tensor([FIRST + n if n else TILES for n in words] * 2)
        return values.view(-1, 1, 1, 1).expand_as(x)

    x = torch.randn(2, 3, H, W)
    out = fuse(plan, model, x, torch.ones(2), {})
    assert torch.allclose(out, out[:1, :1])
    return out[0, 0]


@pytest.mark.parametrize("method", ["MultiDiffusion", "Mixture of Diffusers"])
def test_background_regions_have_their_place_and_the_rest_is_filled(method):
    out = drawn([at(4, 2, 10, 12), at(20, 6, 12, 9, 2)], method)
    expected = torch.full((H, W), TILES)
    expected[2:14, 4:14], expected[6:15, 20:32] = FIRST + 1, FIRST + 2
    assert torch.allclose(out, expected)


def test_background_regions_are_averaged_with_tiles_and_with_each_other():
    out = drawn([at(0, 0, W, H), at(20, 0, 20, H, 2)])
    assert torch.allclose(out[:, :20], torch.tensor(FIRST + 1))
    assert torch.allclose(out[:, 20:], torch.tensor(FIRST + 1.5))
    out = drawn([at(0, 0, 4, 4)], draw_background=True)
    assert out[0, 0] == pytest.approx((TILES + FIRST + 1) / 2)  # one tile and the region
    assert out[0, 5] == pytest.approx(TILES)


def test_gaussian_regions_weigh_by_the_gaussian_of_their_own_size():
    out = drawn([at(0, 0, 20, H), at(10, 0, 30, H, 2)], "Mixture of Diffusers")
    wa, wb = gaussian_weights(20, H)[:, 10:], gaussian_weights(30, H)[:, :10]
    expected = (wa * (FIRST + 1) + wb * (FIRST + 2)) / (wa + wb)
    assert torch.allclose(out[:, 10:20], expected)


def test_foreground_is_laid_over_by_its_feather():
    out = drawn([at(8, 4, 16, 12, foreground=True, feather=0.5)])
    mask = feather_mask(16, 12, 0.5)
    expected = torch.full((H, W), TILES)
    expected[4:16, 8:24] = TILES * (1 - mask) + (FIRST + 1) * mask
    assert torch.allclose(out, expected)


def test_overlapping_foregrounds_are_averaged_with_their_masks():
    out = drawn([at(0, 0, 20, H, 1, True), at(10, 0, 20, H, 2, True)])
    assert torch.allclose(out[:, 12:18], torch.tensor(FIRST + 1.5))
    assert torch.allclose(out[:, :10], torch.tensor(FIRST + 1))
    assert torch.allclose(out[:, 30:], torch.tensor(TILES))


@given(st.integers(0, 23), st.integers(0, 10), st.floats(0.3, 1))
def test_overlapping_feathers_leave_no_hard_edge(x, y, feather):
    """Σ m·o / Σ m laid over with 1 − Π(1 − m): where one region's feather ends, nothing jumps."""
    first, second = at(2, 2, 16, 14, 1, True, feather), at(x, y, 16, 14, 2, True, feather)
    out = drawn([first, second])
    masks = []
    for region in (first, second):
        masks.append(torch.zeros(H, W))
        window = region.window
        masks[-1][window.y : window.y + window.h, window.x : window.x + window.w] = feather_mask(
            16, 14, feather
        )
    total = sum(masks)
    laid = (masks[0] * (FIRST + 1) + masks[1] * (FIRST + 2)) / total.clamp(min=1e-9)
    cover = 1 - (1 - masks[0]) * (1 - masks[1])
    assert torch.allclose(out, TILES * (1 - cover) + laid * cover, atol=1e-4)
    # at the edge of either, where its mask is 0, the canvas is that without it
    alone = [drawn([first]), drawn([second])]
    for without, mask, other in ((alone[1], masks[0], masks[1]), (alone[0], masks[1], masks[0])):
        edge = (mask == 0) & (other >= 0)
        assert torch.allclose(out[edge], without[edge], atol=1e-4)


def test_what_opaque_foreground_hides_is_not_computed():
    seen = []
    drawn([at(0, 0, W, H, 1, True), at(4, 4, 8, 8, 2)], seen=seen)
    assert seen == [[1]]
    seen = []
    drawn([at(0, 0, 28, H, 1, True)], draw_background=True, seen=seen)
    assert sum(words.count(0) for words in seen) == 2  # the last of three columns


def test_patches_of_one_size_and_the_same_networks_share_a_batch():
    seen = []
    regions = [at(position, 0, 8, 8, n) for n, position in ((1, 0), (2, 10), (3, 20))]
    drawn([*regions, at(0, 12, 9, 9, 4)], seen=seen, networks={1: "a", 2: "b", 3: "a", 4: "a"})
    assert [words for words in seen if 0 not in words] == [[1, 3], [4], [2]]


def test_a_region_of_a_tiles_size_is_drawn_together_with_tiles():
    seen = []
    drawn([at(0, 0, 16, 16, 1)], draw_background=True, seen=seen)
    assert seen == [[0, 0], [0, 0], [0, 0], [1]] or [0, 1] in seen


def test_a_step_begins_with_the_networks_in_use():
    regions = [at(0, 0, 8, 8, 1), at(10, 0, 8, 8, 2)]
    plan = Planner(layout_of(regions, networks={1: "a", 2: "b"})).plan(0)
    assert [batch.networks for batch in plan.starting_with("b")][0] == "b"
    assert {batch.networks for batch in plan.batches} == {MAIN_NETWORKS, "a", "b"}
    assert set(plan.starting_with("b")) == set(plan.batches)
    assert plan.starting_with("none of these") == list(plan.batches)


@pytest.mark.parametrize("method", ["MultiDiffusion", "Mixture of Diffusers"])
def test_a_region_with_a_tiles_window_and_words_is_that_tile(method):
    """To the bit: regions in the places of all tiles, told the main prompt, give the tiles' picture."""
    weights = torch.randn(3, 3, 3, 3, generator=torch.Generator().manual_seed(1))

    def model(batch, x, sigma, cond):
        return torch.nn.functional.conv2d(x, weights, padding=1)

    layout = layout_of((), method, True)
    x = torch.randn(2, 3, H, W)
    regions = [Region(window, 0) for window in layout.grid.windows]
    tiles, own = (
        fuse(
            Planner(layout_of(these, method, draw_background=not these)).plan(0), model, x, torch.ones(2), {}
        )
        for these in ((), regions)
    )
    assert torch.equal(tiles, own)


def test_the_feather_grows_with_the_square_of_the_distance():
    mask = feather_mask(20, 10, 0.8)
    assert mask[5, 0] == 0
    assert mask[5, :6].tolist() == pytest.approx([0, 1 / 16, 4 / 16, 9 / 16, 1, 1])
    assert torch.equal(mask, mask.flip(0))
    assert torch.equal(mask, mask.flip(1))
    assert (feather_mask(20, 10, 0.0) == 1).all()


@pytest.mark.parametrize("ratio", [0.9, 1.0])
def test_the_feather_of_an_odd_side(ratio):
    """Half of 7 is 3, of which 0.9 are 2 whole pixels."""
    row = {0.9: [0, 1 / 4, 1, 1, 1, 1 / 4, 0], 1.0: [0, 1 / 9, 4 / 9, 1, 4 / 9, 1 / 9, 0]}[ratio]
    assert feather_mask(7, 40, ratio)[20].tolist() == pytest.approx(row)
    assert feather_mask(40, 7, ratio)[:, 20].tolist() == pytest.approx(row)


def test_places_tell_patches_apart_and_stay():
    regions = [at(10 * (n - 1), 0, 8, 8, n, n > 2) for n in (1, 2, 3, 4)]

    def places():
        plan = Planner(layout_of(regions, draw_background=True)).plan(0)
        return [patch.place for batch in plan.batches for patch in batch.patches]

    assert len(set(places())) == len(places()) == len(layout_of(()).grid) + 4
    assert places() == places()


def test_a_layer_without_weight_is_divided_by_one():
    """So that what nothing is drawn of stays 0 and no NaN."""
    patches = [Patch(Window(0, 0, 1, 2), torch.tensor([[0.5, 0.0]]), "it")]
    assert total_of(patches, Surface(1, 3), torch.device("cpu")).tolist() == [[0.5, 1, 1]]
    assert cover_of(patches, Surface(1, 3), torch.device("cpu")).tolist() == [[0.5, 0, 0]]


@pytest.mark.parametrize("method", ["MultiDiffusion", "Mixture of Diffusers"])
def test_all_is_made_on_the_canvas_own_device(method):
    """Whatever the default device is: on `meta` nothing could be computed."""
    layout = layout_of([at(0, 0, W, H, 1), at(8, 4, 16, 12, 2, True, 0.5), at(0, 0, 8, 8, 3, True)], method)
    x, sigma = torch.randn(1, 1, H, W), torch.ones(1)
    with torch.device("meta"):
        fused = fuse(Planner(layout).plan(0), lambda batch, x, sigma, cond: x, x, sigma, {})
        mask = renoise_mask(x[:, [0, 0, 0]], 9, 1.0, (3, 5))
    assert torch.allclose(fused, x, atol=1e-5)
    assert mask.device == x.device


def test_overlapping_noises_keep_the_variance():
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(4, 300, 300, generator=generator)
    before = noise.clone()
    windows = [Window(0, 0, 200, 200), Window(100, 100, 180, 180), Window(120, 50, 150, 150)]
    own = [torch.randn(4, window.h, window.w, generator=generator) for window in windows]
    add_noise(noise, windows, own, Surface(300, 300))
    assert abs(noise[:, 120:200, 100:200].var().item() - 1) < 0.02  # three of them
    assert abs(noise.var().item() - 1) < 0.02
    assert torch.equal(noise[:, 290:], before[:, 290:])


def test_shifted_tiles_count_where_they_would_have_lain():
    """Step 0 shifts by half a stride: a tile at −15 is moved inside, and counts in the 25 pixels that it would have."""
    grid = make_grid(100, 16, 40, 16, 10)
    layout = Layout(Surface(16, 100), grid, "MultiDiffusion", 8, torch.device("cpu"), shift=True)
    (batch,) = Planner(layout).plan(0).batches
    assert [(patch.window.y, patch.window.x) for patch in batch.patches] == [
        (0, 0),
        (0, 15),
        (0, 45),
        (0, 60),
    ]
    assert [patch.place for patch in batch.patches] == [("tile", number) for number in range(4)]
    counted = [patch.weights for patch in batch.patches]
    assert all(
        (weights == weights[:1]).all() and set(weights.unique().tolist()) <= {0, 1} for weights in counted
    )
    assert [weights[0].nonzero().flatten()[[0, -1]].tolist() for weights in counted] == [
        [0, 24],
        [0, 39],
        [0, 39],
        [15, 39],
    ]
    (batch,) = Planner(replace(layout, multiple=4)).plan(0).batches
    assert [patch.window.x for patch in batch.patches] == [0, 12, 44, 60]


def shape(h, w):
    """A blob of a shape: no row and no column of it is empty."""
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, h), torch.linspace(-1, 1, w), indexing="ij")
    return rows**2 + columns**2 <= 1


@pytest.mark.parametrize("method", ["MultiDiffusion", "Mixture of Diffusers"])
@pytest.mark.parametrize("foreground", [False, True])
def test_outside_of_its_mask_a_region_counts_nothing(method, foreground):
    mask = shape(13, 21)
    out = drawn([replace(at(6, 4, 21, 13, foreground=foreground), mask=mask)], method)
    outside = torch.ones(H, W, dtype=torch.bool)
    outside[4:17, 6:27] = ~mask
    assert torch.allclose(out[outside], torch.tensor(TILES))
    assert torch.allclose(out[~outside], torch.tensor(FIRST + 1))


@pytest.mark.parametrize("method", ["MultiDiffusion", "Mixture of Diffusers"])
@pytest.mark.parametrize("foreground", [False, True])
@pytest.mark.parametrize(("w", "h", "feather"), [(16, 12, 0.5), (17, 9, 1.0), (8, 8, 0.2)])
def test_a_full_mask_equals_the_box_to_the_bit(method, foreground, w, h, feather):
    box = at(5, 3, w, h, foreground=foreground, feather=feather)
    full = replace(box, mask=torch.ones(h, w, dtype=torch.bool))
    for more in ([], [at(10, 2, 20, 18, 2)]):
        assert torch.equal(drawn([box, *more], method), drawn([full, *more], method))


def test_a_shape_in_front_fades_along_its_outline():
    mask = shape(15, 15)
    faded = feather_mask(15, 15, 0.5, shape=mask)
    assert faded[~mask].max() == 0
    assert faded[7, 7] == 1
    assert faded[7, :8].diff().min() >= 0
    assert 0 < faded[7, 2] < 1
    assert torch.equal(feather_mask(15, 15, 0.0, shape=mask), mask.float())


def test_a_shape_fades_at_its_boxs_edges_too():
    """A frame, at most five pixels thick from its box to its hole: over half of that it fades."""
    frame = torch.ones(20, 20, dtype=torch.bool)
    frame[10, 10] = False
    faded = feather_mask(20, 20, 0.5, shape=frame)
    assert torch.equal(faded[:4, 10], torch.tensor([0, 0.25, 1, 1]))
    assert torch.equal(faded[0], torch.zeros(20))
    assert torch.equal(faded, faded.T)


def test_tiles_are_drawn_where_a_mask_leaves_room_and_noise_is_its_own_inside_only():
    mask = torch.zeros(H, W, dtype=torch.bool)
    mask[:, : W // 2] = True
    seen = []
    drawn([replace(at(0, 0, W, H), mask=mask)], seen=seen)
    assert 0 in [word for words in seen for word in words]
    seen.clear()
    drawn([at(0, 0, W, H)], seen=seen)
    assert 0 not in [word for words in seen for word in words]
    noise, own = torch.zeros(2, H, W), torch.ones(2, H, W)
    add_noise(noise, [Window(0, 0, H, W)], [own], Surface(H, W), [mask])
    assert torch.equal(noise[0], mask.float())
    noise = torch.zeros(2, H, W)
    whole = Window(0, 0, H, W)
    add_noise(noise, [whole, whole], [own, 3 * own], Surface(H, W), [mask, None])
    assert torch.allclose(noise[1], torch.where(mask, 4 / 2**0.5, 3.0))


def test_a_background_region_whose_shape_is_hidden_is_not_drawn():
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[:, :4] = True
    seen = []
    drawn([replace(at(0, 0, 8, 8), mask=mask), at(0, 0, 4, 8, 2, foreground=True)], seen=seen)
    assert sorted({word for words in seen for word in words}) == [0, 2]


@pytest.mark.parametrize("down", [False, True])
def test_a_tile_that_is_moved_inside_counts_as_where_it_was_wanted(down):
    """So that two tiles weigh alike in the middle of what they share, at the canvas' edge too."""
    grid = make_grid(16, 100, 16, 40, 10) if down else make_grid(100, 16, 40, 16, 10)
    surface = Surface(100, 16) if down else Surface(16, 100)
    layout = Layout(surface, grid, "Mixture of Diffusers", 8, torch.device("cpu"), shift=True)
    (batch,) = Planner(layout).plan(0).batches
    whole = gaussian_weights(40, 16)
    first, second, third, last = (patch.weights.T if down else patch.weights for patch in batch.patches)
    assert torch.equal(torch.stack([second, third]), torch.stack([whole, whole]))
    assert torch.equal(first, torch.cat([whole[:, 15:], torch.zeros(16, 15)], 1))
    assert torch.equal(last, torch.cat([torch.zeros(16, 15), whole[:, :25]], 1))


def four_tiles(**more):
    """The plan of a canvas of 16x16 in tiles of 8 that do not overlap."""
    layout = Layout(
        Surface(16, 16), make_grid(16, 16, 8, 8, 0), "MultiDiffusion", 8, torch.device("cpu"), **more
    )
    return Planner(layout).plan(0)


def places(plan):
    return [patch.place for batch in plan.batches for patch in batch.patches]


def pixel(y, x, h=16, w=16):
    mask = torch.zeros(h, w, dtype=torch.bool)
    mask[y, x] = True
    return mask


def test_one_pixel_that_is_needed_is_drawn_by_its_tile_and_counts_alone():
    plan = four_tiles(needed=pixel(1, 9))
    assert places(plan) == [("tile", 1)]
    (batch,) = plan.batches
    assert torch.equal(batch.patches[0].weights, pixel(1, 1, 8, 8).float())


@pytest.mark.parametrize("foreground", [False, True])
@pytest.mark.parametrize(("counts", "number"), [((2, 2), 1), ((2, 3), 0)])
def test_a_region_is_drawn_if_it_counts_in_a_pixel_that_is_needed(foreground, counts, number):
    """Its box holds that pixel in both cases."""
    region = replace(at(4, 4, 8, 8, foreground=foreground), mask=pixel(*counts, 8, 8))
    plan = four_tiles(regions=[region], needed=pixel(6, 6), draw_background=True)
    assert places(plan).count(("region", 1)) == number


def test_tiles_are_drawn_only_where_background_regions_leave_something():
    """One lies over the upper tiles, another over all but a column of the lower right one."""
    regions = [at(0, 0, 16, 8), at(0, 8, 15, 8, words=2)]
    plan = four_tiles(regions=regions, draw_background=False)
    assert sorted(places(plan)) == [("region", 1), ("region", 2), ("tile", 3)]
    assert len(places(four_tiles(regions=regions, draw_background=True))) == 6


@pytest.mark.parametrize(
    ("wraps", "words"),
    [((False, False), [2, 2, 2, 1]), ((True, False), [1, 2, 2, 1]), ((False, True), [2, 2, 2, 1])],
)
def test_the_nearest_place_down_the_canvas(wraps, words):
    """Tiles' middles at 4, 12, 20 and 28 of 32; words at 30 and at 12."""
    spots = [WordSpot(30, 4, 1), WordSpot(12, 4, 2)]
    grid = make_grid(8, 32, 8, 8, 0, wraps)
    layout = Layout(Surface(32, 8, wraps), grid, "MultiDiffusion", 8, torch.device("cpu"), spots=spots)
    (batch,) = Planner(layout).plan(0).batches
    assert [patch.words for patch in batch.patches] == words


@pytest.mark.parametrize("wraps", [(False, False), (True, True)])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((3, 3), (0, 5)),  # 18 < 25, though 6 > 5
        ((3, 3.5), (0, 5)),  # 21.25 < 25
        ((0, 4), (3, 3)),  # 16 < 18, though 64 > 54
        ((3, 0), (0, 3.5)),
    ],
)
def test_nearness_is_that_of_the_straight_line(first, second, wraps):
    """Down and across from the middle of the first tile, (4, 4): the first place is the nearer one."""
    spots = [WordSpot(4 + second[0], 4 + second[1], 2), WordSpot(4 + first[0], 4 + first[1], 1)]
    layout = Layout(
        Surface(32, 32, wraps),
        make_grid(32, 32, 8, 8, 0, wraps),
        "MultiDiffusion",
        16,
        torch.device("cpu"),
        spots=spots,
    )
    assert Planner(layout).plan(0).batches[0].patches[0].words == 1


def test_without_places_tiles_are_told_the_main_prompt():
    (batch,) = four_tiles().batches
    assert [patch.words for patch in batch.patches] == [MAIN_WORDS] * 4


def test_a_plan_is_one_object_while_nothing_changes():
    still, moving = (Planner(replace(layout_of([]), shift=shift)) for shift in (False, True))
    assert still.plan(0) is still.plan(3)
    assert moving.plan(3) is moving.plan(3)
    assert moving.plan(0) is not moving.plan(3)
