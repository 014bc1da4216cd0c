"""What ranks are asked to do in tests; each is given the group and returns what can be sent back."""

import os
import signal
import time

import torch
from torch import nn

from tests import ldm_vae
from tests.memory_meter import measured
from tile_methods.fuse import fuse
from tile_methods.planner import Layout, Planner, Region
from tile_methods.ranks import ALONE, Ranks
from tile_methods.vae import memory, run
from tile_utils.grid import make_grid
from tile_utils.surface import Surface, Window

CPU = torch.device("cpu")


def randn(*shape, seed=2):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rank_of(group):
    return Ranks(group).rank


# -- the denoiser


def planner_of(method="MultiDiffusion", shift=False, ranks=ALONE, batch=3):
    """A canvas of 40x56 with both kinds of regions."""
    grid = make_grid(56, 40, 24, 16, 8)
    regions = [Region(Window(3, 5, 20, 21), 1), Region(Window(10, 20, 16, 24), 2, True, 0.4)]
    layout = Layout(Surface(40, 56), grid, method, batch, CPU, regions, True, shift)
    return Planner(layout, ranks)


def smooth(batch, x, sigma, cond):
    """A model that sees neighbours, and each patch's words."""
    words = torch.tensor([float(patch.words) for patch in batch.patches]).repeat(len(x) // len(batch.patches))
    kernel = torch.ones(4, 1, 3, 3) / 9
    return (
        nn.functional.conv2d(x, kernel, padding=1, groups=4) * sigma[:, None, None, None]
        + words[:, None, None, None]
    )


def fused(group, method, shift):
    """(the prediction, how many patches were ours, in batches of how many)"""
    ranks, calls = Ranks(group), []

    def model(batch, *rest):
        calls.append(len(batch.patches))
        return smooth(batch, *rest)

    plan = planner_of(method, shift, ranks).plan(2)
    return fuse(plan, model, randn(2, 4, 40, 56), torch.tensor([0.5, 2.0]), {}, ranks=ranks), calls


def steps_until(group, what, seed=0):
    """Steps of which rank 1's second goes wrong; (steps done, seconds of the last one, what it ended with)."""
    ranks, done = Ranks(group), 0
    plan, x = planner_of(ranks=ranks).plan(0), randn(1, 4, 40, 56, seed=2 + seed * ranks.rank)

    def model(*given):
        if ranks.rank == 1 and done == 1:
            what()
        return smooth(*given)

    for _ in range(3):
        start = time.monotonic()
        try:
            fuse(plan, model, x, torch.ones(1), {}, ranks=ranks)
        except Exception as error:
            return done, time.monotonic() - start, f"{type(error).__name__}: {error}"
        done += 1
    return done, 0.0, ""


def nothing():
    pass


def raising():
    raise OSError("no such tile")


def dying():
    os.kill(os.getpid(), signal.SIGKILL)


def hanging():
    time.sleep(60)


def on_other_canvases(group):
    ranks = Ranks(group)
    x = randn(1, 4, 40, 56 if ranks.rank else 48)
    fuse(planner_of(ranks=ranks).plan(0), smooth, x, torch.ones(1), {}, ranks=ranks)


def exchanges(group):
    """What ranks have in common, of a few small things."""
    ranks = Ranks(group)
    own = torch.full((2, 1 + ranks.rank), float(ranks.rank))
    joined = ranks.joined(own.transpose(0, 1), 0)
    anyone = [ranks.any(ranks.rank == one) for one in (0, 1, 5)]
    return joined.tolist(), anyone, ranks.beside, [one.tolist() for one in ranks.summed([own.sum()])]


# -- the VAE


def vae_network(kind, circular=False, dtype=torch.float32):
    torch.manual_seed(1)
    net = getattr(ldm_vae, kind)().eval().requires_grad_(False)
    for layer in net.modules():
        if circular and isinstance(layer, nn.Conv2d):
            layer.padding_mode = "circular"
    return net.to(dtype)


def picture(kind, height, width):
    return randn(1, 4, height, width) if kind == "Decoder" else randn(1, 3, height * 8 + 3, width * 8 + 5)


def vae_whole(group, kind, size, circular, options):
    """What a network gives when ranks share it."""
    tile = 6 if kind == "Decoder" else 48
    return run.run(
        vae_network(kind, circular), picture(kind, *size), tile_size=tile, ranks=Ranks(group), **options
    )


def overflowing(kind):
    """A half precision network and what overflows it in its upper rows only; what it should give."""
    net, x = vae_network(kind), picture(kind, 24, 24)
    x *= 1e-3
    x[..., : x.shape[-2] // 2, :] *= 1e3
    net.conv_in.weight *= 2e5
    return net, x, net(x)


def vae_overflow(group, kind):
    net, x, _ = overflowing(kind)
    return run.run(net.half(), x, tile_size=2 if kind == "Decoder" else 16, ranks=Ranks(group))


def vae_out_of_memory(group):
    """Rank 1 has memory for small bands only; (the result, the tiles that were tried)."""
    ranks, tried, plan = Ranks(group), [], run.plan_stages

    def counting(job, tile, mode):
        tried.append(tile)
        if ranks.rank == 1 and tile > 20:
            raise RuntimeError(
                "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"
            )
        return plan(job, tile, mode)

    run.plan_stages = counting
    try:
        return run.run(vae_network("Decoder"), picture("Decoder", 40, 24), tile_size=64, ranks=ranks), tried
    finally:
        run.plan_stages = plan


def vae_short_of_memory(group):
    """Rank 1 has none; (the result, what was said)."""
    ranks, told, fits = Ranks(group), [], memory.fits
    memory.fits = lambda size, device: ranks.rank == 0
    try:
        x = picture("Decoder", 40, 40)
        return run.run(vae_network("Decoder"), x, tile_size=16, tell=told.append, ranks=ranks), told
    finally:
        memory.fits = fits


def vae_until(group, what):
    """Rank 1 goes wrong in the middle; (tasks done, seconds since, what it ended with)."""
    ranks, since = Ranks(group), [0, 0.0]

    def progress(done, total):
        since[:] = [done, time.monotonic()]
        if ranks.rank == 1 and done == total // 2:
            what()

    try:
        x = picture("Decoder", 40, 24)
        run.run(vae_network("Decoder"), x, tile_size=6, progress=progress, ranks=ranks)
    except Exception as error:
        return since[0], time.monotonic() - since[1], f"{type(error).__name__}: {error}"
    return since[0], 0.0, ""


def interrupting():
    raise run.Interrupted


def vae_memory(group, kind):
    """Bytes that exact work takes, at most, alone and as one of the ranks."""
    torch.manual_seed(1)
    net = getattr(ldm_vae, kind)((16, 32, 64, 64)).eval().requires_grad_(False)
    x, tile = picture(kind, 40, 36), 16 if kind == "Decoder" else 128

    def work(ranks):
        return run.run(net, x, tile_size=tile, ranks=ranks)

    work(Ranks(group))  # what is made once
    return [measured(lambda ranks=ranks: work(ranks))[1] for ranks in (ALONE, Ranks(group))]
