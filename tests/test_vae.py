"""Tiled VAE against the untiled forward: both layouts, odd sizes, every precision; and how it is stopped."""

import pytest
import torch
from torch import nn

from tests.vae_networks import diffusers_vae, input_for, network
from tile_methods.vae import layers, tiled_vae
from tile_methods.vae.recognise import recognise
from tile_methods.vae.run import Interrupted, run


def counted(**options):
    """Options of `run` that count the bands."""
    seen = []
    return {**options, "progress": lambda done, total: seen.append((done, total))}, seen


def test_seamless_pictures_are_tiled(caplog):
    """The host's 'Tiling' lets convolutions see the opposite border."""
    vae = diffusers_vae()
    for layer in vae.modules():
        if isinstance(layer, nn.Conv2d):
            layer.padding_mode = "circular"
    z = input_for("Decoder", 24, 40)
    expected = vae.decode(z).sample
    with tiled_vae(vae, tile_size=16):
        assert (vae.decode(z).sample - expected).abs().max() <= 1e-4
    assert "runs as a whole" not in caplog.text


@pytest.mark.parametrize("layout", ["ldm", "diffusers"])
@pytest.mark.parametrize("kind", ["Decoder", "Encoder"])
@pytest.mark.parametrize("size", [(64, 64), (65, 97), (200, 40), (40, 333)])
def test_exact_equals_untiled(layout, kind, size):
    net, x = network(layout, kind), input_for(kind, *size)
    options, seen = counted(tile_size=16 if kind == "Decoder" else 128)
    expected = net(x)
    out = run(net, x, **options)
    assert out.shape == expected.shape
    assert (out - expected).abs().max() <= 1e-4
    assert seen[-1][0] == seen[-1][1] > 3 * len(recognise(net).tasks)
    assert expected.std() > 0.01


@pytest.mark.parametrize("kind", ["Decoder", "Encoder"])
@pytest.mark.parametrize("tile_size", [1, 7, 24, 4096])
def test_any_tile_size_and_batch_is_exact(kind, tile_size):
    net, x = network("ldm", kind), torch.cat([input_for(kind, 13, 22), input_for(kind, 13, 22, seed=3)])
    scale = 1 if kind == "Decoder" else 8
    assert (run(net, x, tile_size=tile_size * scale, storage="host") - net(x)).abs().max() <= 1e-4


def test_exact_at_the_real_width():
    vae = diffusers_vae((128, 256, 512, 512), 2, groups=32)
    z, x = torch.randn(1, 4, 17, 12), torch.randn(1, 3, 136, 96)
    assert (run(vae.decoder, z, tile_size=4) - vae.decoder(z)).abs().max() <= 1e-4
    assert (run(vae.encoder, x, tile_size=32) - vae.encoder(x)).abs().max() <= 1e-4


@pytest.mark.parametrize("mode", ["exact", "fast"])
@pytest.mark.parametrize("size", [(1, 1), (1, 70), (70, 1), (2, 3), (3, 41)])
@pytest.mark.parametrize("kind", ["Decoder", "Encoder"])
def test_thin_pictures(kind, size, mode):
    net, x = network("ldm", kind), input_for(kind, *size)
    out, expected = run(net, x, tile_size=2 if kind == "Decoder" else 16, mode=mode), net(x)
    assert (out - expected).abs().max() <= (1e-4 if mode == "exact" else 0.5 * expected.std().item())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", ["Decoder", "Encoder"])
def test_low_precision_is_as_good_as_untiled(kind, dtype):
    net, x = network("ldm", kind), input_for(kind, 33, 40)
    expected = net(x)
    net.to(dtype)
    whole = (net(x.to(dtype)).float() - expected).square().mean().sqrt()
    tiled = (run(net, x, tile_size=12).float() - expected).square().mean().sqrt()
    assert tiled <= 1.1 * whole
    assert whole > 0


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_half_precision_that_overflows_is_redone(mode, caplog):
    caplog.set_level("WARNING", "Tiled VAE")
    net, x = network("ldm", "Decoder"), input_for("Decoder", 24, 40)
    for part in (net.up[1].upsample.conv, net.up[2].upsample.conv):
        part.weight *= 3e5
    expected = net(x)
    net.half()
    assert not net(x.half()).isfinite().all()
    out = run(net, x, tile_size=12, mode=mode)
    assert out.isfinite().all()
    if mode == "exact":
        assert (out.float() - expected).abs().max() <= 0.05 * expected.abs().max()
    assert len(caplog.records) == 1


FAST = {"mode": "fast"}
COLOR_FIX = {"mode": "fast", "color_fix": True}


@pytest.mark.parametrize(
    ("kind", "options"),
    [("Decoder", {}), ("Decoder", FAST), ("Encoder", {}), ("Encoder", FAST), ("Encoder", COLOR_FIX)],
)
@pytest.mark.parametrize("overflowing", ["upper", "lower"])
def test_bands_of_both_types_meet(kind, options, overflowing):
    """Half of the picture overflows; attention, and what fast tiles read, need all of it in one tensor."""
    net, x = network("ldm", kind), input_for(kind, 24, 24)
    half = x[..., : x.shape[-2] // 2, :] if overflowing == "upper" else x[..., x.shape[-2] // 2 :, :]
    x *= 1e-3
    half *= 1e3
    net.conv_in.weight *= 2e5
    expected = net(x)
    net.half()
    tile_size = 4 if options else 2  # so small that the latent's size is several bands too
    out = run(net, x, tile_size=tile_size if kind == "Decoder" else tile_size * 8, **options)
    assert out.dtype == torch.float16
    assert (out.float() - expected).square().mean().sqrt() <= (0.3 if options else 0.02) * expected.std()


def test_only_the_run_that_overflowed_says_so(caplog):
    calm, x = network("diffusers", "Decoder"), input_for("Decoder", 24, 24)
    wild = network("ldm", "Decoder")
    wild.conv_in.weight *= 1e6
    wild.half()
    inside = []

    def progress(done, total):
        if done == 1:
            inside.append(run(wild, x, tile_size=12))

    run(calm, x, tile_size=12, progress=progress)
    assert len(inside) == 1
    assert len(caplog.records) == 1


@pytest.mark.parametrize("kind", ["Decoder", "Encoder"])
def test_seamless_convolutions_wrap_around(kind):
    net = network("ldm", kind)
    for module in net.modules():
        if isinstance(module, nn.Conv2d) and module.padding != (0, 0):
            module.padding_mode = "circular"
    x = torch.randn(1, 4, 24, 20) if kind == "Decoder" else torch.randn(1, 3, 192, 160)
    tile = 8 if kind == "Decoder" else 64
    assert (run(net, x, tile_size=tile) - net(x)).abs().max() <= 1e-4


def test_color_fix_is_nearer_than_fast():
    net, x = network("diffusers", "Encoder"), input_for("Encoder", 72, 88)
    expected = net(x)
    errors = [
        (run(net, x, tile_size=192, mode="fast", color_fix=fix) - expected).square().mean()
        for fix in (False, True)
    ]
    assert errors[1] < errors[0]


@pytest.mark.parametrize(
    ("kind", "options"),
    [("Decoder", {}), ("Decoder", FAST), ("Encoder", {}), ("Encoder", FAST), ("Encoder", COLOR_FIX)],
)
@pytest.mark.parametrize("images", [1, 2])
def test_the_total_of_the_progress_is_known_from_the_start_and_reached(kind, options, images):
    net, x = network("diffusers", kind), input_for(kind, 40, 56).repeat(images, 1, 1, 1)
    options, seen = counted(tile_size=16 if kind == "Decoder" else 128, **options)
    run(net, x, **options)
    assert len({total for _, total in seen}) == 1
    assert [done for done, _ in seen] == list(range(1, seen[0][1] + 1))


def test_a_batch_is_worked_off_in_as_many_bands_as_one_picture():
    net, x = network("diffusers", "Decoder"), input_for("Decoder", 40, 40)
    one, two = counted(tile_size=16), counted(tile_size=16)
    run(net, x, **one[0])
    run(net, x.repeat(2, 1, 1, 1), **two[0])
    assert one[1] == two[1]


def test_attention_counts_its_slices_and_stops_between_them(monkeypatch):
    net, x = network("ldm", "Decoder"), input_for("Decoder", 16, 20)
    expected, (options, whole) = net(x), counted(tile_size=64)
    run(net, x, **options)
    monkeypatch.setattr(layers, "SCORES", 320 * 32)  # a slice is 32 of the 320 queries
    options, seen = counted(tile_size=64)
    assert (run(net, x, **options) - expected).abs().max() <= 1e-4
    assert seen[-1] == (whole[-1][0] + 9, whole[-1][0] + 9)
    asked = []
    with pytest.raises(Interrupted):
        run(net, x, tile_size=64, interrupted=lambda: asked.append(1) or len(asked) == 7)
    assert len(asked) == 7  # conv_in, two of the block, four of the ten slices


@pytest.mark.parametrize(
    ("images", "heads", "pixels", "slices"),
    [(1, 1, 8192, 1), (1, 1, 16384, 4), (2, 1, 16384, 8), (1, 4, 16384, 16), (1, 1, 196608, 577)],
)
def test_attention_never_holds_more_scores_than_it_may(images, heads, pixels, slices):
    parts = layers.query_slices(images, heads, pixels)
    assert len(parts) == slices
    assert [start for start, _ in parts] == [0, *(stop for _, stop in parts[:-1])]
    assert parts[-1][1] == pixels
    assert max(stop - start for start, stop in parts) * images * heads * pixels <= 2**26


@pytest.mark.parametrize(("mode", "asked_for"), [("exact", 5), ("fast", 5), ("fast", 70)])
def test_interruption_stops_within_one_band(mode, asked_for):
    net, x = network("diffusers", "Decoder"), input_for("Decoder", 32, 32)
    asked = []

    def interrupted():
        asked.append(1)
        return len(asked) == asked_for

    with pytest.raises(Interrupted):
        run(net, x, tile_size=8, mode=mode, interrupted=interrupted)
    assert len(asked) == asked_for
