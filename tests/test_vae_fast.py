"""Fast Tiled VAE: tiles, and the statistics that are sampled for them."""

import pytest
import torch
from torch import nn

from tests.vae_networks import diffusers_vae, input_for, network
from tile_methods.vae import fast, layers
from tile_methods.vae.program import Convolve
from tile_methods.vae.recognise import recognise
from tile_methods.vae.run import Interrupted, run
from tile_methods.vae.stages import Exact, Sampled, stages_of
from tile_utils.group_norm import Moments, affine


def sampled_stage(net, shape, tile):
    return next(one for one in stages_of(recognise(net), shape, tile, "fast") if isinstance(one, Sampled))


def true_norms(net, x, tasks):
    """(what the first of the tasks is given, GroupNorm of each) as the network's own forward has them."""
    given = {}

    def note(module, args):
        given[module] = args[0].clone()

    handles = [module.register_forward_pre_hook(note) for module in net.modules()]
    out = net(x)
    for handle in handles:
        handle.remove()
    norms = []
    for norm in (task.norm for task in tasks):
        if norm is None:
            norms.append(None)
            continue
        values = given[norm].reshape(x.shape[0], norm.num_groups, -1)
        var, mean = torch.var_mean(values, -1, correction=0)
        norms.append(affine(norm, Moments(values.shape[-1], mean.double(), var.double())))
    first = tasks[0].holders[-1] if tasks[0].resize else tasks[0].conv
    return given[first], norms, out


@pytest.mark.parametrize("seamless", [False, True])
@pytest.mark.parametrize("side", [5, 24, 70])
def test_tiles_with_the_true_statistics_have_no_seams(side, seamless):
    """What is left of fast mode's error is the estimate: every tile reads all that its pixels look at."""
    net, x = diffusers_vae().decoder, input_for("Decoder", 18, 23)
    for module in net.modules():
        if seamless and isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
            module.padding_mode = "circular"
    tasks = sampled_stage(net, x.shape, 4).tasks
    given, norms, expected = true_norms(net, x, tasks)
    tiles, done = fast.tiles_of(tasks, *given.shape[-2:], side), []
    out = fast.run_tiles(tiles, norms, given, x.device, lambda: done.append(1), layers.Guard())
    assert out.shape == expected.shape
    assert (out - expected).abs().max() <= 1e-4
    assert len(done) == -(-36 // side) * -(-46 // side) * len(tasks)


def test_tiles_of_an_encoder_with_the_true_statistics_have_no_seams():
    net, x = diffusers_vae().encoder, input_for("Encoder", 18, 23)
    tasks = sampled_stage(net, x.shape, 32).tasks
    given, norms, _ = true_norms(net, x, tasks)
    seen = []
    handle = net.down_blocks[1].downsamplers[0].register_forward_hook(lambda m, args, out: seen.append(out))
    net(x)
    handle.remove()
    tiles = fast.tiles_of(tasks, *given.shape[-2:], 40)
    out = fast.run_tiles(tiles, norms, given, x.device, lambda: None, layers.Guard())
    assert (out - seen[0]).abs().max() <= 1e-4


def test_a_tile_reads_no_more_than_it_needs():
    """Two same, one doubling, one same task: what a tile of 8 in the result looks at shrinks on the way."""
    conv = nn.Conv2d(1, 1, 3, padding=1)
    tasks = [Convolve(conv), Convolve(conv), Convolve(conv, resize=1), Convolve(conv)]
    tile = fast.tile_at(tasks, fast.Window(16, 16, 8, 8), 40, 40)
    assert [(read.start, read.stop) for read in tile.rows] == [(5, 15), (6, 14), (7, 13), (15, 25)]


def test_calibrated_weights_by_hand():
    """Crops described by 0, 1, 2 and 3, mean 1.5; the whole by 2: ridge regression closes 3 / 3.1 of the gap."""
    sampled = torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch.float64).view(1, 4, 1)
    weights = fast.calibrated_weights(sampled, torch.tensor([[2.0]], dtype=torch.float64))
    expected = [0.25 + step * 0.3 / 3.1 for step in (-1.5, -0.5, 0.5, 1.5)]
    assert torch.allclose(weights, torch.tensor([expected], dtype=torch.float64), atol=1e-6)
    assert abs((weights @ sampled[0]).item() - (1.5 + 0.5 * 3 / 3.1)) < 1e-6


def test_crops_that_are_like_the_whole_count_more():
    """A picture of which a tenth is bright: unweighted crops that caught too much of it tint the result."""
    torch.manual_seed(3)
    sampled = torch.randn(2, 40, 6, dtype=torch.float64)
    wanted = sampled.mean(1) + 0.3
    weights = fast.calibrated_weights(sampled, wanted)
    assert torch.allclose(weights.sum(1), torch.ones(2, dtype=torch.float64))
    assert weights.min() >= 0
    left = (weights[:, None] @ sampled)[:, 0] - wanted
    assert left.norm() < 0.2 * (sampled.mean(1) - wanted).norm()


@pytest.mark.parametrize("size", [(1, 3000), (3000, 1), (700, 700), (100, 3000), (30, 20), (1, 1)])
@pytest.mark.parametrize("unit", [1, 4])
def test_the_sample_is_no_larger_than_promised_and_inside(size, unit):
    height, width = (side * unit for side in size)
    boxes = fast.sample_boxes(height, width, unit)
    assert 1 <= len(boxes) <= fast.MOST_CROPS
    assert all(
        box.x >= 0 and box.x + box.w <= width and box.y >= 0 and box.y + box.h <= height for box in boxes
    )
    assert all(not value % unit for box in boxes for value in (box.x, box.y, box.w, box.h))


def test_every_crop_of_the_sample_has_a_place_of_its_own_in_both_directions():
    """If those of a row stood at one height, all of them would see a horizon, or none."""
    boxes = fast.sample_boxes(700, 700)
    assert len({box.y for box in boxes}) > 100
    assert len({box.x for box in boxes}) > 100


def test_the_sample_reaches_the_edges_and_is_worked_off_in_parts_of_a_tile():
    tasks = sampled_stage(diffusers_vae().decoder, (1, 4, 200, 200), 24).tasks
    sample = fast.Sample(tasks, 400, 400, 48)
    crops = [tile for batch in sample.batches for _, tile in batch]
    assert len(crops) == len(fast.sample_boxes(400, 400)) > 100
    margin = 12
    for batch in sample.batches:
        rows, columns = batch[0][1].rows[0], batch[0][1].columns[0]
        area = (rows.stop - rows.start) * (columns.stop - columns.start)
        assert len(batch) == 1 or len(batch) * area <= (48 + 2 * margin) ** 2
        assert len({tile.shape for _, tile in batch}) == 1
    assert max(len(batch) for batch in sample.batches) > 1
    small = fast.Sample(tasks, 40, 40, 48)
    assert any(tile.rows[0].before for batch in small.batches for _, tile in batch)


@pytest.mark.parametrize("kind", ["Decoder", "Encoder"])
def test_fast_is_near(kind):
    net, x = network("diffusers", kind), input_for(kind, 72, 88)
    expected = net(x)
    out = run(net, x, tile_size=24 if kind == "Decoder" else 192, mode="fast")
    assert out.shape == expected.shape
    assert (out - expected).square().mean().sqrt() <= 0.05 * expected.std()


def test_one_tile_needs_no_estimate():
    net, x = network("diffusers", "Decoder"), input_for("Decoder", 20, 24)
    assert stages_of(recognise(net), x.shape, 24, "fast") == [Exact(recognise(net).tasks, x.shape)]
    assert (run(net, x, tile_size=24, mode="fast") - net(x)).abs().max() <= 1e-4


def test_interruption_of_the_sample():
    net, x = network("diffusers", "Decoder"), input_for("Decoder", 60, 60)
    asked = []
    with pytest.raises(Interrupted):
        run(net, x, tile_size=24, mode="fast", interrupted=lambda: asked.append(1) or len(asked) == 60)
    assert len(asked) == 60
