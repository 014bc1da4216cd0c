"""Tiled VAE beside its peers: time, memory and error of decoding one latent.

.venv/bin/python benchmarks/vae.py [--only demo|sd] [--rounds 3] [--device cuda]     (from the repository's root)

For two VAEs: the demo's, on the latent of a real picture (PSNR is meaningful), and one of Stable Diffusion 1.x's size
(width 128, random weights; time and memory are). All ways run in turns in one process, so the ratios hold on a noisy
machine; memory is taken in a process of its own for each: the peak of resident memory above what was there before, or
on CUDA what was allocated.

- untiled: the network's own forward.
- exact, fast: ours.
- enable_tiling: diffusers' overlapping tiles, blended; every tile has statistics of its own.
- padded tiles: tiles with 11 latent pixels around that are cut away; statistics of their own.
- shrunk statistics: our fast mode with the statistics of the decoded latent, shrunk by nearest neighbour to one tile
  and standardised again.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from miniwebui.checkpoint_layout import load_checkpoint  # noqa: E402
from miniwebui.training.painter import paint, random_scene  # noqa: E402
from tile_methods import vae_executor, vae_layers  # noqa: E402
from tile_methods.vae_program import compile_network  # noqa: E402
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


@torch.no_grad()
def demo() -> tuple[AutoencoderKL, Tensor]:
    """The demo's VAE and the latent of a picture of 1024x768."""
    vae = load_checkpoint(DEMO).vae
    return vae, vae.encode(mosaic(3, 4)).latent_dist.mode()


@torch.no_grad()
def sd() -> tuple[AutoencoderKL, Tensor]:
    """A VAE of Stable Diffusion 1.x's layout and size, and a latent of 384x384 pixels."""
    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        norm_num_groups=32,
    )
    return vae.eval(), torch.randn(1, 4, 48, 48)


def ours(mode: str) -> Callable[[AutoencoderKL, Tensor], Tensor]:
    return lambda vae, z: vae_executor.run(vae.decoder, vae.post_quant_conv(z), tile_size=TILE, mode=mode)


def untiled(vae: AutoencoderKL, z: Tensor) -> Tensor:
    return vae.decode(z).sample


def enable_tiling(vae: AutoencoderKL, z: Tensor) -> Tensor:
    vae.enable_tiling()
    vae.tile_latent_min_size, vae.tile_sample_min_size = TILE, TILE * 8
    out = vae.decode(z).sample
    vae.disable_tiling()
    return out


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
    for task in compile_network(vae.decoder):
        norm = None
        if task.norm is not None:
            norm = norms[id(task.norm)] = affine(task.norm, pool([measure(x, task.norm.num_groups)]))
        if not hasattr(task, "conv"):
            x = vae_layers.attend(task, x, norm)
            continue
        aside = vae_layers.shortcut(task, x) if task.opens else aside
        x = vae_layers.whole(task, x, aside if task.closes else None, norm)
    return norms


def shrunk_statistics(vae: AutoencoderKL, z: Tensor) -> Tensor:
    z = vae.post_quant_conv(z)
    norms = norms_of_shrunk(vae, z)
    sampled = vae_executor.estimate
    vae_executor.estimate = lambda tasks, x: [norms.get(id(task.norm)) for task in tasks]
    try:
        return vae_executor.run(vae.decoder, z, tile_size=TILE, mode="fast")
    finally:
        vae_executor.estimate = sampled


WAYS: dict[str, Callable[[AutoencoderKL, Tensor], Tensor]] = {
    "untiled": untiled,
    "exact": ours("exact"),
    "fast": ours("fast"),
    "enable_tiling": enable_tiling,
    "padded tiles": padded_tiles,
    "shrunk statistics": shrunk_statistics,
}


@torch.no_grad()
def peak_memory(kind: str, way: str, device: str, answer: multiprocessing.Queue) -> None:
    """In a process of its own: MiB that one decoding takes."""
    vae, z = (part.to(device) for part in MAKERS[kind]())
    WAYS["untiled"](vae, z[..., :8, :8])
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        WAYS[way](vae, z)
        answer.put((torch.cuda.max_memory_allocated() - before) / 2**20)
        return
    before = resident("VmRSS")
    WAYS[way](vae, z)
    answer.put((resident("VmHWM") - before) / 1024)


def resident(field: str) -> int:
    """KiB of memory of this process, now (VmRSS) or at most (VmHWM). Linux tells."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


MAKERS = {"demo": demo, "sd": sd}


def measured_memory(kind: str, way: str, device: str) -> float:
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    process = context.Process(target=peak_memory, args=(kind, way, device, answer))
    process.start()
    value = answer.get()
    process.join()
    return value


@torch.no_grad()
def compare(kind: str, rounds: int, device: str) -> None:
    vae, z = (part.to(device) for part in MAKERS[kind]())
    for run in WAYS.values():
        run(vae, z[..., :8, :8])  # warm up
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    results = {}
    for _ in range(rounds):
        for way, run in WAYS.items():
            start = time.perf_counter()
            results[way] = run(vae, z).clamp(-1, 1).cpu()
            times[way].append(time.perf_counter() - start)
    reference = results["untiled"]
    print(f"\n{kind}: latent {z.shape[-1]}x{z.shape[-2]}, tile {TILE}, {device}, {rounds} rounds")
    print(f"{'':18} {'time':>6} {'memory':>9} {'max error':>10} {'mean error':>11} {'PSNR':>6}")
    for way in WAYS:
        ratio = statistics.median(a / b for a, b in zip(times[way], times["untiled"]))
        error = (results[way] - reference).abs()
        psnr = -10 * float((error / 2).square().mean().clamp_min(1e-20).log10())
        memory = measured_memory(kind, way, device)
        print(
            f"{way:18} {ratio:6.2f} {memory:5.0f} MiB {error.max():10.2e} {error.mean():11.2e} {psnr:6.1f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=sorted(MAKERS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    for kind in [options.only] if options.only else MAKERS:
        compare(kind, options.rounds, options.device)


if __name__ == "__main__":
    main()
