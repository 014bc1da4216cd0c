"""Tiled VAE against the untiled forward: both layouts, odd sizes, every precision; and how it fails."""

import contextlib
import re
import weakref

import pytest
import torch
from diffusers import AutoencoderKL
from torch import nn

from tests import ldm_vae
from tile_methods.vae import fast as vae_fast
from tile_methods.vae import layers as vae_layers
from tile_methods.vae import run as vae_executor
from tile_methods.vae import storage as vae_storage
from tile_methods.vae import tiled_vae
from tile_methods.vae.exact import ExactWorker
from tile_methods.vae.program import UP, UnsupportedNetwork, compile_network
from tile_methods.vae.run import Interrupted, run
from tile_methods.vae.storage import DeviceStore, HostStore, free_memory
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


@pytest.mark.parametrize("kind", ["Decoder", "Encoder"])
def test_levels_without_attention(kind):
    """SD3's levels do not even have an empty list of it."""
    net, x = network("ldm", kind), input_for(kind, 40, 24)
    for level in getattr(net, "up", None) or net.down:
        del level.attn
    out = run(net, x, tile_size=16 if kind == "Decoder" else 128)
    assert (out - net(x)).abs().max() <= 1e-4


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


@pytest.mark.parametrize("kind", ["Decoder", "Encoder"])
def test_a_fast_tile_with_the_true_statistics_has_no_seam(kind):
    """What is left of the error is the estimate: padding covers all that a pixel looks at."""
    tasks = compile_network(network("diffusers", kind))
    ends = [i for i, t in enumerate(tasks) if getattr(t, "resize", 0)]
    tasks = tasks[ends[0] :] if kind == "Decoder" else tasks[: ends[-1] + 1]
    assert kind == "Encoder" or tasks[0].resize == UP
    x = torch.randn(1, tasks[0].conv.in_channels, 73, 90)
    norms, aside, whole, guard = [], None, x, vae_layers.Guard()
    for task in tasks:
        norm = affine(task.norm, pool([measure(whole, task.norm.num_groups)])) if task.norm else None
        norms.append(norm)
        aside = vae_layers.shortcut(task, whole, guard) if task.opens else aside
        whole = vae_layers.whole(task, whole, aside if task.closes else None, norm, guard)
    done = []
    out = vae_fast.run_tiles(tasks, norms, x, 24, x.device, lambda: done.append(1), guard)
    assert out.shape == whole.shape
    assert (out - whole).abs().max() <= 1e-4
    assert len(done) == 4 * 4 * len(tasks)


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


@pytest.mark.parametrize("size", [(1, 3000), (3000, 1), (700, 700), (100, 3000), (30, 20)])
def test_the_sample_is_no_larger_than_promised(size):
    assert 1 <= len(vae_fast.sample_boxes(*size, 7)) <= vae_fast.MOST_CROPS


def test_the_sample_is_worked_off_in_parts_of_a_tile(monkeypatch):
    net, x = network("diffusers", "Decoder"), input_for("Decoder", 200, 200)
    inner, seen, asked = vae_layers.inner, [], []

    def watched(task, crops, *args):
        seen.append(crops.shape)
        return inner(task, crops, *args)

    def interrupted():
        asked.append(len(seen))
        return len(seen) == 3

    monkeypatch.setattr(vae_layers, "inner", watched)
    with pytest.raises(Interrupted):
        run(net, x, tile_size=24, mode="fast", interrupted=interrupted)
    assert asked[-3:] == [1, 2, 3]
    first = seen[0]
    assert 1 < first[0] < vae_fast.MOST_CROPS
    margin = (first[-1] - vae_fast.CROP) // 2
    assert first[0] * first[-1] * first[-2] <= (2 * 24 + 2 * margin) ** 2  # upsampled once


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


def test_interruption_with_the_oldest_torch_of_the_host(monkeypatch):
    """torch 2.1 lacks `OutOfMemoryError`, and knows no autocast for a Mac's GPU or for DirectML."""
    net, x = network("diffusers", "Decoder"), input_for("Decoder", 32, 32)
    expected = net(x)

    def autocast(kind, **options):
        raise RuntimeError(f"User specified an unsupported autocast device_type '{kind}'")

    monkeypatch.delattr(torch, "OutOfMemoryError")
    monkeypatch.setattr(torch, "autocast", autocast)
    assert (run(net, x, tile_size=16) - expected).abs().max() <= 1e-4
    with pytest.raises(Interrupted):
        run(net, x, tile_size=16, interrupted=lambda: True)


def test_out_of_memory_halves_the_tile_and_says_what_worked(monkeypatch, caplog):
    net, x = network("diffusers", "Decoder"), input_for("Decoder", 40, 40)
    worker_run, most = vae_executor.ExactWorker.run, (16 * 8) ** 2 * 32

    def limited(self, *args):
        if self.band_values > most:
            raise vae_executor.OUT_OF_MEMORY("no memory for such a band")
        return worker_run(self, *args)

    monkeypatch.setattr(vae_executor.ExactWorker, "run", limited)
    assert (run(net, x, tile_size=64) - net(x)).abs().max() <= 1e-4
    assert "Out of memory with tile size 64; 16 worked." in caplog.text
    most = 0
    with pytest.raises(vae_executor.OUT_OF_MEMORY):
        run(net, x, tile_size=64)


@pytest.mark.parametrize("storage", ["auto", "host"])
def test_what_fits_nowhere_is_done_fast(monkeypatch, caplog, storage):
    net, x = network("diffusers", "Decoder"), input_for("Decoder", 40, 40)
    monkeypatch.setattr(vae_executor, "fits", lambda size, device: False)
    assert run(net, x, tile_size=16, storage=storage).shape == (1, 3, 320, 320)
    assert "too large for exact mode" in caplog.text


def test_the_fast_encoder_plans_for_the_small_maps_that_are_exact(monkeypatch):
    net, x = network("diffusers", "Encoder"), input_for("Encoder", 80, 80)
    planned = []
    monkeypatch.setattr(vae_executor, "fits", lambda size, device: planned.append(size) or True)
    run(net, x, tile_size=128, mode="fast")
    band = 128 * 128 * 32 * 4
    quarter = (x.shape[-2] // 4) * (x.shape[-1] // 4) * 64 * 4  # where the exact part begins
    assert planned[0] <= vae_executor.BANDS_AT_WORK * band + 2 * quarter


def test_free_memory_counts_what_the_system_can_take_from_its_caches(monkeypatch, tmp_path):
    told = tmp_path / "meminfo"
    told.write_text("MemTotal: 99 kB\nMemFree:  10 kB\nMemAvailable:   70 kB\n")
    monkeypatch.setattr(vae_storage, "MEMINFO", told)
    assert free_memory(torch.device("cpu")) == 70 * 1024
    told.unlink()
    pages = {"SC_AVPHYS_PAGES": 3, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(vae_storage.os, "sysconf", pages.get)
    assert free_memory(torch.device("cpu")) == 3 * 4096


def test_pinned_memory_is_counted_as_torch_hands_it_out():
    sizes = [HostStore.block_size(size, torch.device("cuda")) for size in (1, 4096, 4097)]
    assert sizes == [1, 4096, 8192]
    assert HostStore.block_size(4097, torch.device("mps")) == 4097


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


def test_what_tiles_know_nothing_of_is_left_to_the_network(monkeypatch, caplog):
    vae, given = diffusers_vae(), []
    monkeypatch.setattr(
        vae.decoder, "forward", lambda sample, latent_embeds=None: given.append(latent_embeds)
    )
    with tiled_vae(vae, tile_size=4):
        vae.decoder(torch.randn(1, 4, 8, 8), latent_embeds=torch.ones(1))
    assert given == [torch.ones(1)]
    assert "runs as a whole" in caplog.text


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
    worker = ExactWorker(store, band_values=16 * 512 * 384 // 32, tick=lambda: None, guard=vae_layers.Guard())
    out = worker.run(compile_network(net), x).take_whole(x.device)
    assert (out - net(x)).abs().max() <= 1e-4
    assert store.most <= 1.1 * 32 * 512 * 384 * 4
    assert store.most >= 0.9 * 32 * 512 * 384 * 4


class Transfers(HostStore):
    """Notes what is brought back from the host, and how many reads there are."""

    def __init__(self):
        super().__init__(torch.device("cpu"))
        self.brought = self.reads = 0

    def prefetch(self, kept, rows):
        self.reads += 1
        return super().prefetch(kept, rows)

    def _to_device(self, rows):
        self.brought += 1
        return super()._to_device(rows)


@pytest.mark.parametrize("kind", ["Decoder", "Encoder"])
def test_the_last_band_of_a_task_is_not_brought_back_for_the_next(kind):
    net, x = network("ldm", kind), input_for(kind, 32, 32)
    tasks, store = compile_network(net), Transfers()
    worker = ExactWorker(store, 64 * 64 * 32, tick=lambda: None, guard=vae_layers.Guard())
    assert (worker.run(tasks, x).take_whole(x.device) - net(x)).abs().max() <= 1e-4
    assert store.brought > 0
    assert store.reads - store.brought >= len(tasks)


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
