"""How much memory Tiled VAE takes, plans for and finds, and what it does where that is not enough."""

import gc
import weakref
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from tests import ldm_vae
from tests.memory_meter import measured
from tests.two_devices import SECOND, TwoDevices
from tests.vae_networks import input_for, network
from tile_methods.ranks import ALONE
from tile_methods.vae import memory, tiled_vae
from tile_methods.vae import run as vae_run
from tile_methods.vae.exact import ExactWorker
from tile_methods.vae.fast import Sample, run_tiles
from tile_methods.vae.job import Job, plan_stages, stage_needs
from tile_methods.vae.layers import Guard
from tile_methods.vae.memory import OutOfMemory, Pinned, free_memory, is_out_of_memory
from tile_methods.vae.plan import needed
from tile_methods.vae.plan_fast import sampled_need, stage_tiles
from tile_methods.vae.program import shapes_of
from tile_methods.vae.recognise import recognise
from tile_methods.vae.run import Interrupted, run, smaller_storage
from tile_methods.vae.spans import band_bounds
from tile_methods.vae.stages import Sampled, stages_of
from tile_methods.vae.storage import DeviceStore, FeatureMap, HostStore

CPU = torch.device("cpu")


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


def wide_as_sd(kind):
    """Stable Diffusion's ratio of widths, an input of 64x48 latent pixels, and small bands."""
    torch.manual_seed(1)
    net = getattr(ldm_vae, kind)((16, 32, 64, 64)).eval().requires_grad_(False)
    x = torch.randn(1, 4, 64, 48) if kind == "Decoder" else torch.randn(1, 3, 512, 384)
    return net, x, 16 * 512 * 384 // 32


@pytest.mark.parametrize("kind", ["Decoder", "Encoder"])
def test_what_waits_is_no_more_than_the_largest_feature_map(kind):
    """Of the whole network: the decoder's second width at full size."""
    net, x, band_values = wide_as_sd(kind)
    store = CountingStore()
    out = ExactWorker(store, band_values, lambda: None, Guard()).whole(recognise(net).tasks, x, CPU)
    assert (out - net(x)).abs().max() <= 1e-4
    assert store.most <= 1.1 * 32 * 512 * 384 * 4
    assert store.most >= (0.9 if kind == "Decoder" else 0.5) * 32 * 512 * 384 * 4


@pytest.mark.parametrize("bands", [4, 32])
@pytest.mark.parametrize("kind", ["Decoder", "Encoder"])
def test_the_plan_knows_what_is_used(kind, bands):
    """Within 15 %, work included: every tensor that is made is counted."""
    net, x, _ = wide_as_sd(kind)
    tasks, band_values = recognise(net).tasks, 16 * 512 * 384 // bands
    worker = ExactWorker(DeviceStore(), band_values, lambda: None, Guard())
    _, most = measured(lambda: worker.run(tasks, x))
    need = needed(tasks, x.shape, x.dtype, band_values)
    assert 0.85 * most <= need.together <= 1.15 * most
    assert need.together > need.waiting + band_values * 4  # bands at work count


@pytest.mark.parametrize("kind", ["Decoder", "Encoder"])
def test_attention_is_planned_for(kind):
    """With a high latent and narrow large maps it is what takes most."""
    torch.manual_seed(1)
    net = getattr(ldm_vae, kind)((8, 256)).eval().requires_grad_(False)
    x = torch.randn(1, 4, 64, 64) if kind == "Decoder" else torch.randn(1, 3, 128, 128)
    tasks = recognise(net).tasks
    _, most = measured(lambda: ExactWorker(DeviceStore(), 2**14, lambda: None, Guard()).run(tasks, x))
    assert 0.85 * most <= needed(tasks, x.shape, x.dtype, 2**14).together <= 1.15 * most


def noted_plans(monkeypatch):
    """A list that is given every plan from now on."""
    plans, plan_stages = [], vae_run.plan_stages
    monkeypatch.setattr(vae_run, "plan_stages", lambda *args: plans.append(plan_stages(*args)) or plans[-1])
    return plans


@pytest.mark.parametrize(
    ("kind", "tile", "options"),
    [
        ("Decoder", 40, {}),  # the tiles take most
        ("Decoder", 12, {}),  # what waits, and the crops
        ("Encoder", 256, {}),
        ("Encoder", 256, {"color_fix": True}),
    ],
)
def test_the_plan_of_fast_mode_knows_what_is_used(monkeypatch, kind, tile, options):
    """Within 15 %: the exact stage, the crops, the tiles, and what goes from one to the other."""
    (net, x, _), plans = wide_as_sd(kind), noted_plans(monkeypatch)
    _, most = measured(lambda: run(net, x, tile_size=tile, mode="fast", **options))
    assert 0.85 * most <= max(stage_needs(plans[0], x.dtype)) <= 1.15 * most


@pytest.mark.parametrize(
    ("kind", "side"), [("Decoder", 24), ("Decoder", 200), ("Encoder", 24), ("Encoder", 400)]
)
def test_crops_and_tiles_are_planned_for(kind, side):
    """Each alone: with small tiles the crops take most, with large ones the tiles."""
    net, x, _ = wide_as_sd(kind)
    stage = next(one for one in stages_of(recognise(net), x.shape, 16, "fast") if isinstance(one, Sampled))
    stage = replace(stage, side=side)
    given = torch.randn(stage.shape)
    sample = Sample(stage.tasks, *stage.shape[-2:], stage.side)
    norms, crops = measured(lambda: sample.norms(given, lambda: None, Guard()))
    _, tiles = measured(lambda: run_tiles(stage_tiles(stage), norms, given, CPU, lambda: None, Guard()))
    assert 0.85 * max(crops, tiles) <= sampled_need(stage, x.dtype) <= 1.15 * max(crops, tiles)
    assert (crops > tiles) == (side == 24)


def fast_job():
    net, x, _ = wide_as_sd("Decoder")
    return Job(recognise(net), x, "fast", False, "auto", print, ALONE, 1)


def most_needed(plan):
    return max(stage_needs(plan, torch.float32))


def test_where_memory_is_short_fast_mode_takes_smaller_tiles(monkeypatch):
    job = fast_job()
    half = plan_stages(job, 20, "fast")
    assert most_needed(half) < most_needed(plan_stages(job, 40, "fast"))
    Machine(monkeypatch, most_needed(half))
    plan = plan_stages(job, 40, "fast")
    assert (plan.stages, plan.band_values) == (half.stages, half.band_values)


def test_where_nothing_fits_fast_mode_takes_what_needs_least(monkeypatch):
    job = fast_job()
    others = [most_needed(plan_stages(job, tile, "fast")) for tile in (40, 20, 16)]
    Machine(monkeypatch, 0)
    plan = plan_stages(job, 40, "fast")
    assert most_needed(plan) <= min(others)
    assert all(plan.stores)


def test_tiles_in_fast_mode_take_less_than_exact():
    net, x, _ = wide_as_sd("Decoder")
    used = {
        mode: measured(lambda mode=mode: run(net, x, tile_size=16, mode=mode))[1]
        for mode in ("exact", "fast")
    }
    assert used["fast"] < 0.7 * used["exact"]


class Machine:
    """A machine that says how much memory it has; `asked` is what was wanted of it."""

    def __init__(self, monkeypatch, free):
        self.asked = []
        monkeypatch.setattr(memory, "fits", lambda size, device: self.asked.append(size) or size <= free)


@pytest.mark.parametrize("storage", ["auto", "host"])
def test_what_fits_nowhere_is_done_fast_and_said(monkeypatch, storage):
    net, x, told = network("diffusers", "Decoder"), input_for("Decoder", 40, 40), []
    Machine(monkeypatch, 0)
    assert run(net, x, tile_size=16, storage=storage, tell=told.append).shape == (1, 3, 320, 320)
    assert told == ["The picture is too large for exact mode in this machine's memory; fast mode does it."]


@pytest.mark.parametrize("tile", [12, 47])
def test_little_memory_is_enough_for_what_it_was_planned_for(monkeypatch, tile):
    """A machine with as much as the plan wants does it exactly; one with less hands over, and uses less.

    With a tile nearly as large as the picture, the bands at work take as much as what waits.
    """
    net, x, told = network("diffusers", "Decoder"), input_for("Decoder", 48, 48), []
    all_of_it = Machine(monkeypatch, 2**60)
    run(net, x, tile_size=tile, tell=told.append)
    wanted = all_of_it.asked[0]
    for free, sentences in ((wanted, 0), (wanted - 1, 1)):
        monkeypatch.undo()
        Machine(monkeypatch, free)
        _, most = measured(lambda: run(net, x, tile_size=tile, tell=told.append))
        assert len(told) == sentences
        assert most <= 1.15 * free


def test_the_fast_encoder_plans_for_the_small_maps_that_are_exact(monkeypatch):
    net, x = network("diffusers", "Encoder"), input_for("Encoder", 80, 80)
    machine = Machine(monkeypatch, 2**60)
    run(net, x, tile_size=128, mode="fast")
    exact = 8 * (x.shape[-2] // 4) * (x.shape[-1] // 4) * 64 * 4
    assert machine.asked[0] <= exact


def told_by_linux(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "PINNED", memory.Pinned())  # whatever other tests have left in torch's
    monkeypatch.setattr(memory, "psutil", None)
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    (tmp_path / "meminfo").write_text("MemTotal: 99 kB\nMemFree:  10 kB\nMemAvailable:   70 kB\n")


def test_free_memory_counts_what_the_system_can_take_from_its_caches(monkeypatch, tmp_path):
    told_by_linux(monkeypatch, tmp_path)
    assert free_memory(CPU) == 70 * 1024
    (tmp_path / "meminfo").unlink()
    pages = {"SC_AVPHYS_PAGES": 3, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(memory.os, "sysconf", pages.get)
    assert free_memory(CPU) == 3 * 4096


def test_psutil_is_asked_first_as_windows_and_macs_have_nothing_else(monkeypatch, tmp_path):
    told_by_linux(monkeypatch, tmp_path)
    available = SimpleNamespace(virtual_memory=lambda: SimpleNamespace(available=12345))
    monkeypatch.setattr(memory, "psutil", available)
    assert free_memory(CPU) == 12345


@pytest.mark.parametrize("version", [0, 1])
def test_a_container_has_no_more_than_its_limit(monkeypatch, tmp_path, version):
    told_by_linux(monkeypatch, tmp_path)
    limit, used, stat, cache = memory.CGROUP_FILES[version]
    for name, text in ((limit, "50000"), (used, "40000"), (stat, f"anon 1\n{cache} 6000\n")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert free_memory(CPU) == 16000
    (tmp_path / limit).write_text("max\n")
    assert free_memory(CPU) == 70 * 1024


def test_pinned_memory_is_counted_as_torch_hands_it_out():
    assert [Pinned.block_size(size) for size in (1, 4096, 4097)] == [1, 4096, 8192]


def test_pinned_memory_that_torch_keeps_is_ours_to_use_again():
    """Else the second picture of a batch would find less than the first, and leave exact mode."""
    pinned = Pinned()
    first = torch.zeros(1025)
    pinned.hold(first)
    assert pinned.unused == 0
    del first
    gc.collect()
    assert pinned.unused == 8192
    second = torch.zeros(1000)
    pinned.hold(second)
    assert pinned.unused == 8192 - 4096


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("MPS backend out of memory (MPS allocated: 5.05 GB, other allocations: 2.29 GB)"),
        RuntimeError("Could not allocate tensor with 4294967296 bytes. There is not enough GPU video memory"),
        RuntimeError("XPU out of memory. Tried to allocate 4.00 GiB"),
        RuntimeError("Native API failed. Native API returns: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes."),
        MemoryError(),
    ],
)  # fmt: skip
def test_out_of_memory_has_many_names(error):
    assert is_out_of_memory(error)
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))


def short_of_memory(monkeypatch, most, error):
    """No worker with larger bands than `most` gets what it wants."""
    worker_run = ExactWorker.run

    def limited(self, *args):
        if self.band_values > most:
            raise error
        return worker_run(self, *args)

    monkeypatch.setattr(ExactWorker, "run", limited)


@pytest.mark.parametrize(
    "error", [torch.cuda.OutOfMemoryError("no"), RuntimeError("CUDA error: out of memory")]
)
def test_out_of_memory_halves_the_tile_and_says_what_worked(monkeypatch, caplog, error):
    net, x = network("diffusers", "Decoder"), input_for("Decoder", 40, 40)
    monkeypatch.setattr("tile_methods.vae.trial.check", lambda *args: None)
    short_of_memory(monkeypatch, (16 * 8) ** 2 * 32, error)
    assert (run(net, x, tile_size=64) - net(x)).abs().max() <= 1e-4
    assert "Out of memory with tile size 64; 16 worked." in caplog.text


def test_out_of_memory_on_a_device_makes_room_there(monkeypatch):
    """What waits is kept in the host's memory when it is tried again."""
    net, x, stores = network("diffusers", "Decoder"), input_for("Decoder", 40, 40), []
    expected = net(x)
    monkeypatch.setattr("tile_methods.vae.trial.check", lambda *args: None)
    monkeypatch.setattr(memory, "fits", lambda size, device: True)
    short_of_memory(monkeypatch, (16 * 8) ** 2 * 32, RuntimeError("XPU out of memory"))
    worker_run = ExactWorker.run

    def noted(self, *args):
        stores.append(type(self.store))
        return worker_run(self, *args)

    monkeypatch.setattr(ExactWorker, "run", noted)
    with TwoDevices():
        out = run(net.to(SECOND), x.to(SECOND), tile_size=32)
        assert (out.cpu() - expected).abs().max() <= 1e-4
        net.to("cpu")
    assert stores == [DeviceStore, HostStore]


def test_out_of_memory_at_the_smallest_tile_is_a_sentence(monkeypatch):
    net, x = network("diffusers", "Decoder"), input_for("Decoder", 40, 40)
    monkeypatch.setattr("tile_methods.vae.trial.check", lambda *args: None)
    short_of_memory(monkeypatch, 0, RuntimeError("CUDA error: out of memory"))
    with pytest.raises(OutOfMemory, match="even with tile size 16, the smallest that is tried"):
        run(net, x, tile_size=64)
    with pytest.raises(torch.cuda.OutOfMemoryError), tiled_vae(SimpleNamespace(decoder=net, encoder=net), 32):
        net(x)


@pytest.mark.parametrize(
    ("storage", "mode", "device", "then"),
    [
        ("auto", "exact", "cuda", "host"),
        ("auto", "exact", "mps", "host"),
        ("auto", "exact", "cpu", "auto"),
        ("auto", "fast", "cuda", "auto"),
        ("device", "exact", "cuda", "device"),
        ("host", "exact", "cuda", "host"),
    ],
)
def test_after_out_of_memory_feature_maps_wait_in_the_hosts(storage, mode, device, then):
    assert smaller_storage(storage, mode, torch.device(device)) == then


@pytest.mark.parametrize(
    ("height", "width", "channels"), [(8192, 8192, 512), (16384, 16384, 256), (40000, 9000, 512)]
)
def test_no_band_has_more_values_than_32_bits_count(height, width, channels):
    bounds = band_bounds(height, width * channels, 2**40, images=2)
    assert max(b - a for a, b in zip(bounds, bounds[1:])) * width * channels * 2 <= 2**30


def test_bands_given_up_are_gone():
    store = CountingStore()
    feature_map = FeatureMap([0, 2, 4, 6], store)
    for index in range(3):
        feature_map.put(index, torch.zeros(1, 1, 2, 2))
    assert feature_map.take_whole(CPU).shape == (1, 1, 6, 2)
    assert not store.waiting


def test_shapes_of_odd_pictures():
    tasks = recognise(network("ldm", "Encoder")).tasks
    assert shapes_of(tasks, (1, 3, 67, 130))[-1] == (1, 8, 8, 16)


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
