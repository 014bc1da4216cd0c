"""Two ranks beside two bare processes, and beside one: time of the denoiser, time and memory of the exact VAE.

.venv/bin/python benchmarks/ranks.py [--only denoise|vae|decode|encode] [--ranks 2] [--rounds 5]
    [--steps 2] [--sides 160 168] [--narrow]
    (from the root; it wants a core for each rank)

- denoise: the demo's UNet on 12 tiles of a canvas of 104x80 latent pixels, at guidance (two rows). In every round one
  process draws the step alone; then each draws its share of the tiles and knows nothing of the others ("bare"); then
  they do so as ranks of a gloo group. A time is that of the last one to end. Rounds are medians.
- vae: the demo's VAE, exact, tile 64. Each way in processes of its own: wall time, processor time, and the peak of
  resident memory while it works above what was there before, of the rank that has most. `--sides` in latent pixels.
  glibc is told to give back what is freed; otherwise it keeps up to 30 MiB of it, more or less by chance. `--narrow`:
  a VAE of random weights, 8 channels wide and without attention, for large sides.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from diffusers import AutoencoderKL
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from miniwebui.checkpoint_layout import load_checkpoint  # noqa: E402
from tile_methods.fuse import fuse  # noqa: E402
from tile_methods.planner import Layout, Planner  # noqa: E402
from tile_methods.ranks import ALONE, Ranks  # noqa: E402
from tile_methods.vae.run import run  # noqa: E402
from tile_utils.grid import make_grid  # noqa: E402
from tile_utils.surface import Surface  # noqa: E402

DEMO = ROOT / "miniwebui/models/Stable-diffusion/demo.safetensors"
CANVAS = Surface(80, 104)
TILE, OVERLAP, BATCH = 32, 8, 2
VAE_TILE = 64
ACTIONS = ("decode", "encode")


def share_of(layout: Layout, rank: int, size: int) -> Planner:
    """The plans of one of so many ranks that exchange nothing."""
    nobody = Ranks()
    nobody.rank, nobody.size = rank, size
    return Planner(layout, nobody)


@torch.no_grad()
def denoise(rank: int, group: Any, steps: int, rounds: int) -> list[dict[str, tuple[float, float]]]:
    """(wall, processor) seconds of each way in each round; of "one" only the first rank has any."""
    unet = load_checkpoint(DEMO).unet
    grid = make_grid(CANVAS.width, CANVAS.height, TILE, TILE, OVERLAP)
    layout = Layout(CANVAS, grid, "MultiDiffusion", BATCH, torch.device("cpu"))
    x = torch.randn(2, 4, CANVAS.height, CANVAS.width, generator=torch.Generator().manual_seed(1))
    words = torch.randn(2, 77, unet.config.cross_attention_dim, generator=torch.Generator().manual_seed(2))
    ranks = Ranks(group)

    def model(batch: Any, x: Tensor, sigma: Tensor, told: Any) -> Tensor:
        return unet(x, sigma, encoder_hidden_states=told["words"]).sample

    def draw(planner: Planner, ranks: Ranks) -> None:
        for _ in range(steps):
            fuse(planner.plan(0), model, x, torch.full((2,), 500.0), {"words": words}, ranks=ranks)

    ways = {
        "one": (lambda: draw(Planner(layout), ALONE)) if rank == 0 else (lambda: None),
        "bare": lambda: draw(share_of(layout, rank, ranks.size), ALONE),
        "ranks": lambda: draw(Planner(layout, ranks), ranks),
    }
    draw(Planner(layout, ranks), ranks)
    return [{way: timed(work, group) for way, work in ways.items()} for _ in range(rounds)]


def timed(work: Callable[[], None], group: Any) -> tuple[float, float]:
    """(wall, processor) seconds from when all are ready."""
    dist.barrier(group)
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


def resident(field: str) -> int:
    """KiB of memory of this process, now (VmRSS) or at most (VmHWM). Linux tells."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def narrow_vae() -> AutoencoderKL:
    torch.manual_seed(1)
    return AutoencoderKL(
        block_out_channels=(8,) * 4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=2,
        layers_per_block=1,
        mid_block_add_attention=False,
    ).eval()


@torch.no_grad()
def vae(
    rank: int, group: Any, action: str, sides: tuple[int, int], narrow: bool
) -> tuple[float, float, float]:
    """(wall seconds, processor seconds, MiB)"""
    whole = (narrow_vae() if narrow else load_checkpoint(DEMO).vae).requires_grad_(False)
    net, scale, channels = (whole.decoder, 1, 4) if action == "decode" else (whole.encoder, 8, 3)
    ranks, generator = Ranks(group), torch.Generator().manual_seed(1)
    run(net, torch.randn(1, channels, 24 * scale, 24 * scale), tile_size=12 * scale)  # what is made once
    x = torch.randn(1, channels, *(side * scale for side in sides), generator=generator)
    if group is not None:
        dist.barrier(group)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the set-up
    before, wall, processor = resident("VmRSS"), time.perf_counter(), time.process_time()
    run(net, x, tile_size=VAE_TILE * scale, ranks=ranks)
    return time.perf_counter() - wall, time.process_time() - processor, (resident("VmHWM") - before) / 1024


def _rank(
    rank: int, size: int, path: str, answers: Any, work: Callable[..., Any], given: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    group = None
    if size > 1:
        store = dist.FileStore(path, size)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=timedelta(minutes=5))
        group = dist.group.WORLD
    answers.put((rank, work(rank, group, *given)))
    if size > 1:
        dist.barrier()


def of_all(size: int, work: Callable[..., Any], *given: Any) -> list[Any]:
    """What `work(rank, group, *given)` gives in each of so many processes."""
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(2**20))
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        processes = [
            context.Process(target=_rank, args=(rank, size, f"{folder}/store", answers, work, given))
            for rank in range(size)
        ]
        for process in processes:
            process.start()
        told = dict(answers.get() for _ in processes)
        for process in processes:
            process.join()
    return [told[rank] for rank in range(size)]


def tell_denoise(size: int, steps: int, rounds: int) -> None:
    by_rank = of_all(size, denoise, steps, rounds)
    tiles = len(make_grid(CANVAS.width, CANVAS.height, TILE, TILE, OVERLAP))
    print(f"denoise, {tiles} tiles over {size} processes: time of a step")
    seconds: dict[str, list[tuple[float, float]]] = {}
    for way in ("one", "bare", "ranks"):
        rows = [[one[number][way] for one in by_rank] for number in range(rounds)]
        seconds[way] = [tuple(max(each) / steps for each in zip(*row)) for row in rows]  # type: ignore[misc]
        wall, processor = (statistics.median(each) for each in zip(*seconds[way]))
        print(f"{way:6} wall {wall:6.2f} s  processor of the busiest {processor:6.2f} s", flush=True)
    for number, clock in enumerate(("wall", "processor")):
        speed = {
            way: statistics.median(
                one[number] / each[number] for one, each in zip(seconds["one"], seconds[way])
            )
            for way in ("bare", "ranks")
        }
        ratio = statistics.median(a[number] / b[number] for a, b in zip(seconds["bare"], seconds["ranks"]))
        print(
            f"{clock}: {speed['bare']:.2f} times as fast bare, {speed['ranks']:.2f} as ranks; {ratio:.3f} of bare"
        )


def tell_vae(size: int, sides: tuple[int, int], actions: Sequence[str], narrow: bool) -> None:
    for action in actions:
        print(f"vae, {action} {sides[1] * 8}x{sides[0] * 8} (latent {sides[1]}x{sides[0]})")
        found = {}
        for count in (1, size):
            each = of_all(count, vae, action, sides, narrow)
            found[count] = [max(one) for one in zip(*each)]
            wall, processor, memory = found[count]
            print(
                f"{count}: wall {wall:6.2f} s  processor {processor:6.2f} s  memory {memory:5.0f} MiB",
                flush=True,
            )
        print("ratios: " + "  ".join(f"{b / a:.3f}" for a, b in zip(found[1], found[size])))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=["denoise", "vae", *ACTIONS])
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--sides", type=int, nargs=2, default=(160, 168))
    parser.add_argument("--narrow", action="store_true")
    arguments = parser.parse_args()
    if arguments.only in (None, "denoise"):
        tell_denoise(arguments.ranks, arguments.steps, arguments.rounds)
    actions = [action for action in ACTIONS if arguments.only in (None, "vae", action)]
    tell_vae(arguments.ranks, tuple(arguments.sides), actions, arguments.narrow)


if __name__ == "__main__":
    main()
