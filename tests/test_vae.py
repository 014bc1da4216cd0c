"""Tiled VAE against the untiled forward: both layouts, odd sizes, every precision; and how it fails."""

import contextlib
import re
import weakref

import pytest
import torch
from diffusers import AutoencoderKL
from torch import nn

from tests import ldm_vae
from tile_methods import vae_executor, vae_fast, vae_layers
from tile_methods.vae_context import tiled_vae
from tile_methods.vae_exact import ExactWorker
from tile_methods.vae_executor import Interrupted, run
from tile_methods.vae_program import UP, UnsupportedNetwork, compile_network
from tile_methods.vae_storage import DeviceStore
from tile_utils.group_norm import affine, measure, pool


def diffusers_vae(widths=(32, 32, 64, 64), layers=1, groups=8):
    torch.manual_seed(1)
    vae = AutoencoderKL(
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        layers_per_block=layers,
        latent_channels=4,
        norm_num_groups=groups,
    )
    return vae.eval().requires_grad_(False)


def network(layout, kind):
    torch.manual_seed(1)
    if layout == "ldm":
        return getattr(ldm_vae, kind)().eval().requires_grad_(False)
    return getattr(diffusers_vae(), kind.lower())


def input_for(kind, height, width, seed=2):
    """A latent of that size, or a picture 8 times as large and not a multiple of 8."""
    generator = torch.Generator().manual_seed(seed)
    if kind == "Decoder":
        return torch.randn(1, 4, height, width, generator=generator)
    return torch.randn(1, 3, height * 8 + 3, width * 8 + 5, generator=generator)


def counted(**options):
    """Options of `run` that count the bands."""
    seen = []
    return {**options, "progress": lambda done, total: seen.append((done, total))}, seen


@pytest.mark.parametrize("layout", ["ldm", "diffusers"])
def test_seamless_pictures_are_decoded_as_a_whole(caplog):
    """The host's 'Tiling' lets convolutions see the opposite border."""
    vae = diffusers_vae()
    for layer in vae.modules():
        if isinstance(layer, nn.Conv2d):
            layer.padding_mode = "circular"
    z = input_for("Decoder", 24, 40)
    expected = vae.decode(z).sample
    with tiled_vae(vae, tile_size=16):
        assert torch.equal(vae.decode(z).sample, expected)
    assert "it runs as a whole" in caplog.text


@pytest.mark.parametrize("kind", ["Decoder", "Encoder"])
def test_levels_without_attention(kind):
    """SD3's levels do not even have an empty list of it."""
    net, x = network("ldm", kind), input_for(kind, 40, 24)
    for level in getattr(net, "up", None) or net.down:
        del level.attn
    out = run(net, x, tile_size=16 if kind == "Decoder" else 128)
    assert (out - net(x)).abs().max() <= 1e-4


@pytest.mark.parametrize("kind", ["Decoder", "Encoder"])
@pytest.mark.parametrize("size", [(64, 64), (65, 97), (200, 40), (40, 333)])
def test_exact_equals_untiled(layout, kind, size):
    net, x = network(layout, kind), input_for(kind, *size)
    options, seen = counted(tile_size=16 if kind == "Decoder" else 128)
    expected = net(x)
    out = run(net, x, **options)
    assert out.shape == expected.shape
    assert (out - expected).abs().max() <= 1e-4
    assert seen[-1][0] == seen[-1][1] > 3 * len(compile_network(net))
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


@pytest.mark.parametrize("kind", ["Decoder", "Encoder"])
def test_seamless_convolutions_wrap_around(kind):
    net = network("ldm", kind)
    for module in net.modules():
        if isinstance(module, nn.Conv2d) and module.padding != (0, 0):
            module.padding_mode = "circular"
    x = torch.randn(1, 4, 24, 20) if kind == "Decoder" else torch.randn(1, 3, 192, 160)
    tile = 8 if kind == "Decoder" else 64
    assert (run(net, x, tile_size=tile) - net(x)).abs().max() <= 1e-4


@pytest.mark.parametrize("kind", ["Decoder", "Encoder"])
def test_a_fast_tile_with_the_true_statistics_has_no_seam(kind):
    """What is left of the error is the estimate: padding covers all that a pixel looks at."""
    tasks = compile_network(network("diffusers", kind))
    ends = [i for i, t in enumerate(tasks) if getattr(t, "resize", 0)]
    tasks = tasks[ends[0] :] if kind == "Decoder" else tasks[: ends[-1] + 1]
    assert kind == "Encoder" or tasks[0].resize == UP
    x = torch.randn(1, tasks[0].conv.in_channels, 73, 90)
    norms, aside, whole = [], None, x
    for task in tasks:
        norm = affine(task.norm, pool([measure(whole, task.norm.num_groups)])) if task.norm else None
        norms.append(norm)
        aside = vae_layers.shortcut(task, whole) if task.opens else aside
        whole = vae_layers.whole(task, whole, aside if task.closes else None, norm)
    tiles = []
    out = vae_fast.run_tiles(tasks, norms, x, 24, x.device, lambda: tiles.append(1))
    assert out.shape == whole.shape
    assert (out - whole).abs().max() <= 1e-4
    assert len(tiles) == 4 * 4


@pytest.mark.parametrize("kind", ["Decoder", "Encoder"])
def test_fast_is_near(kind):
    net, x = network("diffusers", kind), input_for(kind, 72, 88)
    expected = net(x)
    out = run(net, x, tile_size=24 if kind == "Decoder" else 192, mode="fast")
    assert out.shape == expected.shape
    assert (out - expected).square().mean().sqrt() <= 0.1 * expected.std()


def test_color_fix_is_nearer_than_fast():
    net, x = network("diffusers", "Encoder"), input_for("Encoder", 72, 88)
    expected = net(x)
    errors = [
        (run(net, x, tile_size=192, mode="fast", color_fix=fix) - expected).square().mean()
        for fix in (False, True)
    ]
    assert errors[1] < errors[0]


def test_interruption_stops_within_one_band():
    net, x = network("diffusers", "Decoder"), input_for("Decoder", 32, 32)
    asked = []

    def interrupted():
        asked.append(1)
        return len(asked) == 5

    with pytest.raises(Interrupted):
        run(net, x, tile_size=8, interrupted=interrupted)
    assert len(asked) == 5


def test_out_of_memory_halves_the_tile_and_says_what_worked(monkeypatch, caplog):
    net, x = network("diffusers", "Decoder"), input_for("Decoder", 40, 40)
    worker_run, most = vae_executor.ExactWorker.run, (16 * 8) ** 2 * 32

    def limited(self, *args):
        if self.band_values > most:
            raise torch.OutOfMemoryError("no memory for such a band")
        return worker_run(self, *args)

    monkeypatch.setattr(vae_executor.ExactWorker, "run", limited)
    assert (run(net, x, tile_size=64) - net(x)).abs().max() <= 1e-4
    assert "Out of memory with tile size 64; 16 worked." in caplog.text
    most = 0
    with pytest.raises(torch.OutOfMemoryError):
        run(net, x, tile_size=64)


def test_what_fits_nowhere_is_done_fast(monkeypatch, caplog):
    net, x = network("diffusers", "Decoder"), input_for("Decoder", 40, 40)
    monkeypatch.setattr(vae_executor, "fits", lambda size, device: False)
    assert run(net, x, tile_size=16).shape == (1, 3, 320, 320)
    assert "too large for exact mode" in caplog.text


def test_the_context_tiles_both_ways_and_leaves_nothing(caplog):
    caplog.set_level("DEBUG", "Tiled VAE")
    vae = diffusers_vae()
    x = torch.randn(1, 3, 256, 320)
    code = vae.encode(x).latent_dist.mean
    picture = vae.decode(code).sample
    with tiled_vae(vae, tile_size=16):
        assert "forward" in vars(vae.encoder)
        assert (vae.encode(x).latent_dist.mean - code).abs().max() <= 1e-4
        assert (vae.decode(code).sample - picture).abs().max() <= 1e-4
        assert vae.decode(code[..., :8, :8]).sample.shape[-1] == 64
        assert "8x8 is no more than one tile" in caplog.text
    with contextlib.suppress(KeyError), tiled_vae(vae, tile_size=16):
        raise KeyError
    assert "forward" not in vars(vae.encoder)
    assert "forward" not in vars(vae.decoder)


def test_an_unknown_network_runs_as_a_whole(caplog):
    vae = diffusers_vae()
    vae.decoder.conv_in = nn.Conv2d(4, 64, 5, padding=2)
    with pytest.raises(UnsupportedNetwork):
        compile_network(vae.decoder)
    z = torch.randn(1, 4, 20, 20)
    expected = vae.decode(z).sample
    with tiled_vae(vae, tile_size=16):
        assert torch.equal(vae.decode(z).sample, expected)
    assert "runs as a whole" in caplog.text


class CountingStore(DeviceStore):
    """Knows how many bytes wait: tensors that are kept and not yet given up."""

    def __init__(self):
        self.waiting = {}
        self.most = 0

    def keep(self, band):
        kept = band.clone()
        self.waiting[id(kept)] = kept.numel() * kept.element_size()
        weakref.finalize(kept, self.waiting.pop, id(kept))
        self.most = max(self.most, sum(self.waiting.values()))
        return kept


@pytest.mark.parametrize("kind", ["Decoder", "Encoder"])
def test_what_waits_is_no_more_than_the_largest_feature_map(kind):
    """Of the whole network with Stable Diffusion's ratio of widths: the decoder's second width at full size."""
    torch.manual_seed(1)
    net = getattr(ldm_vae, kind)((16, 32, 64, 64)).eval().requires_grad_(False)
    x = torch.randn(1, 4, 64, 48) if kind == "Decoder" else torch.randn(1, 3, 512, 384)
    store = CountingStore()
    worker = ExactWorker(store, band_values=16 * 512 * 384 // 32, tick=lambda: None)
    out = worker.run(compile_network(net), x).take_whole(x.device)
    assert (out - net(x)).abs().max() <= 1e-4
    assert store.most <= 1.1 * 32 * 512 * 384 * 4
    assert store.most >= 0.9 * 32 * 512 * 384 * 4


@pytest.mark.parametrize(
    ("x", "tile_size", "sentence"),
    [
        (torch.zeros(4, 9, 9), 8, "shape (4, 9, 9)"),
        (torch.zeros(1, 4, 0, 9), 8, "shape (1, 4, 0, 9)"),
        (torch.full((1, 4, 9, 9), torch.nan), 8, "holds NaN"),
        (torch.zeros(1, 4, 9, 9), 0, "tile size is 0"),
        (torch.zeros(1, 4, 9, 9), 7.5, "tile size is 7.5"),
    ],
)
def test_bad_input_is_told_in_one_sentence(x, tile_size, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        run(network("ldm", "Decoder"), x, tile_size=tile_size)
