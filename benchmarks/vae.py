"""Tiled VAE beside its peers: time, memory and error of decoding a latent and of encoding a picture.

.venv/bin/python benchmarks/vae.py [--only demo|sd] [--action decode] [--side 96] [--tile 64]
    [--ways exact fast] [--rounds 3] [--device cuda] [--free 300]     (from the repository's root)

For two VAEs: the demo's, on a real picture (PSNR is meaningful), and one of Stable Diffusion 1.x's size (width 128,
random weights; time and memory are). All ways run in turns in one process, and on the CPU it is the processor's time
that counts, so the ratios hold on a noisy machine;
memory is taken in a process of its own for each: the peak of resident memory while it works above what was there
before, or on CUDA what was allocated. glibc is told to give back what is freed, of which it else keeps more or less by
chance. Beside it stands what our plan reckoned with; `--free` has the machine say that it has so many MiB.

- untiled: the network's own forward.
- exact, fast, color fix: ours.
- enable_tiling: diffusers' overlapping tiles, blended; every tile has statistics of its own.
- padded tiles: tiles with 11 latent pixels around that are cut away; statistics of their own.
- shrunk statistics: our fast mode with the statistics of the decoded latent, shrunk by nearest neighbour to one tile
  and standardised again.

PSNR is over -1 ... 1 for pictures, over the range of the untiled result for latents.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from miniwebui.checkpoint_layout import load_checkpoint  # noqa: E402
from painted_world.painter import paint, random_scene  # noqa: E402
from tile_methods.vae import layers  # noqa: E402
from tile_methods.vae import run as tiled  # noqa: E402
from tile_methods.vae.job import stage_needs  # noqa: E402
from tile_methods.vae.program import Attend  # noqa: E402
from tile_methods.vae.recognise import recognise  # noqa: E402
from tile_methods.vae.spans import reading  # noqa: E402
from tile_utils.group_norm import Affine, affine, measure, pool  # noqa: E402

DEMO = ROOT / "miniwebui/models/Stable-diffusion/demo.safetensors"
PAD = 11
TILE = 32
"""Latent pixels, for all ways."""


def mosaic(rows: int, cols: int) -> Tensor:
    """Painted scenes side by side. [1, 3, 256 rows, 256 cols], -1 ... 1"""
    rng = np.random.default_rng(9)
    scenes = [[paint(random_scene(rng), rng) for _ in range(cols)] for _ in range(rows)]
    picture = torch.from_numpy(np.vstack([np.hstack(row) for row in scenes]))
    return picture.permute(2, 0, 1)[None].float() / 127.5 - 1


class Subject(NamedTuple):
    """A VAE, and what it decodes and encodes."""

    vae: AutoencoderKL
    latent: Tensor
    picture: Tensor


@torch.no_grad()
def demo() -> Subject:
    """The demo's VAE, a picture of 1024x768 and its latent."""
    vae, picture = load_checkpoint(DEMO).vae, mosaic(3, 4)
    return Subject(vae, vae.encode(picture).latent_dist.mode(), picture)


SIDE = 48
"""Latent pixels of what the VAE of Stable Diffusion's size is given."""
FREE: int | None = None


def sd() -> Subject:
    """A VAE of Stable Diffusion 1.x's layout and size."""
    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        norm_num_groups=32,
    )
    return Subject(vae.eval(), torch.randn(1, 4, SIDE, SIDE), torch.randn(1, 3, 8 * SIDE, 8 * SIDE))


def decoding(mode: str) -> Callable[[AutoencoderKL, Tensor], Tensor]:
    return lambda vae, z: tiled.run(vae.decoder, vae.post_quant_conv(z), tile_size=TILE, mode=mode)


def encoding(**options: Any) -> Callable[[AutoencoderKL, Tensor], Tensor]:
    return lambda vae, x: mean_of(vae.quant_conv(tiled.run(vae.encoder, x, tile_size=TILE * 8, **options)))


def mean_of(code: Tensor) -> Tensor:
    """The latent in what an encoder gives: means beside variances."""
    return code.chunk(2, 1)[0]


def untiled(vae: AutoencoderKL, z: Tensor) -> Tensor:
    return vae.decode(z).sample


def encoded(vae: AutoencoderKL, x: Tensor) -> Tensor:
    return vae.encode(x).latent_dist.mode()


def with_enable_tiling(
    call: Callable[[AutoencoderKL, Tensor], Tensor],
) -> Callable[[AutoencoderKL, Tensor], Tensor]:
    def tiled(vae: AutoencoderKL, x: Tensor) -> Tensor:
        vae.enable_tiling()
        vae.tile_latent_min_size, vae.tile_sample_min_size = TILE, TILE * 8
        out = call(vae, x)
        vae.disable_tiling()
        return out

    return tiled


def padded_tiles(vae: AutoencoderKL, z: Tensor) -> Tensor:
    height, width = z.shape[-2:]
    out = torch.empty(1, 3, height * 8, width * 8, device=z.device)
    for y in range(0, height, TILE):
        for x in range(0, width, TILE):
            top, left = max(0, y - PAD), max(0, x - PAD)
            tile = vae.decode(z[..., top : y + TILE + PAD, left : x + TILE + PAD]).sample
            rows, cols = min(TILE, height - y) * 8, min(TILE, width - x) * 8
            above, before = (y - top) * 8, (x - left) * 8
            out[..., y * 8 : y * 8 + rows, x * 8 : x * 8 + cols] = tile[
                ..., above : above + rows, before : before + cols
            ]
    return out


def norms_of_shrunk(vae: AutoencoderKL, z: Tensor) -> dict[int, Affine]:
    """GroupNorm of every task (by the norm's id) when a shrunk latent of the same mean and spread is decoded."""
    scale = TILE / max(z.shape[-2:])
    small = F.interpolate(z, scale_factor=scale, mode="nearest-exact")
    dims = (2, 3)
    small = (small - small.mean(dims, True)) / small.std(dims, keepdim=True)
    x, aside, norms = small * z.std(dims, keepdim=True) + z.mean(dims, True), None, {}
    guard = layers.Guard()
    for task in recognise(vae.decoder).tasks:
        norm = None
        if task.norm is not None:
            norm = norms[id(task.norm)] = affine(task.norm, pool([measure(x, task.norm.num_groups)]))
        if isinstance(task, Attend):
            x = layers.attend(task, x, norm, guard, lambda: None)
            continue
        aside = layers.shortcut(task, x, guard) if task.opens else aside
        size = [2 * side if task.resize else side for side in x.shape[-2:]]
        read = [reading(task.resize, 0, made, given) for made, given in zip(size, x.shape[-2:])]
        active = layers.gather(task, [x], norm, *read)
        added = [aside] if task.closes else []
        x = layers.convolve(layers.Kernel(task), active, *read, size, added, guard)
    return norms


def shrunk_statistics(vae: AutoencoderKL, z: Tensor) -> Tensor:
    z = vae.post_quant_conv(z)
    norms = norms_of_shrunk(vae, z)
    sampled = tiled.Sample.norms
    tiled.Sample.norms = lambda sample, *_: [norms.get(id(task.norm)) for task in sample.tasks]
    try:
        return tiled.run(vae.decoder, z, tile_size=TILE, mode="fast")
    finally:
        tiled.Sample.norms = sampled


WAYS: dict[str, dict[str, Callable[[AutoencoderKL, Tensor], Tensor]]] = {
    "decode": {
        "untiled": untiled,
        "exact": decoding("exact"),
        "fast": decoding("fast"),
        "enable_tiling": with_enable_tiling(untiled),
        "padded tiles": padded_tiles,
        "shrunk statistics": shrunk_statistics,
    },
    "encode": {
        "untiled": encoded,
        "exact": encoding(),
        "fast": encoding(mode="fast"),
        "fast, color fix": encoding(mode="fast", color_fix=True),
        "enable_tiling": with_enable_tiling(encoded),
    },
}
WARM_UP = {"decode": 8, "encode": 64}
"""Side of the corner that is worked off first."""


def given(kind: str, action: str, device: str) -> tuple[AutoencoderKL, Tensor]:
    """The VAE, and what is decoded or encoded."""
    subject = MAKERS[kind]()
    return subject.vae.to(device), (subject.latent if action == "decode" else subject.picture).to(device)


@torch.no_grad()
def peak_memory(
    kind: str,
    action: str,
    way: str,
    device: str,
    sizes: tuple[int, int, int | None],
    answer: multiprocessing.Queue,
) -> None:
    """In a process of its own: MiB that one decoding or encoding takes, and those that were planned for."""
    global SIDE, TILE
    SIDE, TILE, free = sizes
    vae, x = given(kind, action, device)
    planned = note_plans(free)
    WAYS[action]["untiled"](vae, x[..., : WARM_UP[action], : WARM_UP[action]])
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        WAYS[action][way](vae, x)
        answer.put(((torch.cuda.max_memory_allocated() - before) / 2**20, planned))
        return
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the set-up
    before = resident("VmRSS")
    WAYS[action][way](vae, x)
    answer.put(((resident("VmHWM") - before) / 1024, planned))


def note_plans(free: int | None) -> list[float]:
    """A list that is given the MiB of every plan from now on; `free`: MiB that the machine says it has."""
    planned, plan_stages = [], tiled.plan_stages

    def noted(job: Any, *arguments: Any) -> Any:
        plan = plan_stages(job, *arguments)
        planned.append(max(stage_needs(plan, job.x.dtype)) / 2**20)
        return plan

    tiled.plan_stages = noted
    if free is not None:
        tiled.memory.free_memory = lambda device: free * 2**20
    return planned


def resident(field: str) -> int:
    """KiB of memory of this process, now (VmRSS) or at most (VmHWM). Linux tells."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


MAKERS = {"demo": demo, "sd": sd}


def measured_memory(kind: str, action: str, way: str, device: str) -> tuple[float, list[float]]:
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "1000000"
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    process = context.Process(
        target=peak_memory, args=(kind, action, way, device, (SIDE, TILE, FREE), answer)
    )
    process.start()
    value = answer.get()
    process.join()
    return value


@torch.no_grad()
def compare(kind: str, action: str, rounds: int, device: str, only: list[str] | None) -> None:
    (vae, x), ways = given(kind, action, device), WAYS[action]
    ways = {way: ways[way] for way in ways if way in ("untiled", *(only or ways))}
    clock = time.process_time if device == "cpu" else time.perf_counter
    for run in ways.values():
        run(vae, x[..., : WARM_UP[action], : WARM_UP[action]])
    times: dict[str, list[float]] = {way: [] for way in ways}
    results = {}
    for _ in range(rounds):
        for way, run in ways.items():
            start = clock()
            results[way] = run(vae, x).cpu()
            times[way].append(clock() - start)
    if action == "decode":
        results = {way: result.clamp(-1, 1) for way, result in results.items()}
    reference = results["untiled"]
    span = 2.0 if action == "decode" else float(reference.max() - reference.min())
    print(f"\n{kind}, {action}: {x.shape[-1]}x{x.shape[-2]}, tile {TILE} (latent), {device}, {rounds} rounds")
    print(
        f"{'':18} {'time':>6} {'memory':>9} {'planned':>9} {'max error':>10} {'mean error':>11} {'PSNR':>6}"
    )
    for way in ways:
        ratio = statistics.median(a / b for a, b in zip(times[way], times["untiled"]))
        error = (results[way] - reference).abs()
        psnr = -10 * float((error / span).square().mean().clamp_min(1e-20).log10())
        memory, planned = measured_memory(kind, action, way, device)
        plan = f"{planned[-1]:5.0f} MiB" if planned else ""
        print(
            f"{way:18} {ratio:6.2f} {memory:5.0f} MiB {plan:>9} {error.max():10.2e} {error.mean():11.2e} {psnr:6.1f}",
            flush=True,
        )


def main() -> None:
    global SIDE, TILE, FREE
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=sorted(MAKERS))
    parser.add_argument("--action", choices=sorted(WAYS))
    parser.add_argument("--ways", nargs="+", help="only these, beside untiled")
    parser.add_argument("--side", type=int, default=SIDE, help="latent pixels, of `sd`")
    parser.add_argument("--tile", type=int, default=TILE, help="latent pixels")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--free", type=int, help="MiB that the machine says it has")
    options = parser.parse_args()
    SIDE, TILE, FREE = options.side, options.tile, options.free
    for kind in [options.only] if options.only else MAKERS:
        for action in [options.action] if options.action else WAYS:
            compare(kind, action, options.rounds, options.device, options.ways)


if __name__ == "__main__":
    main()
