"""What tiling costs.

.venv/bin/python benchmarks/denoise_overhead.py [--checkpoint FILE] [--rounds 15]     (from the repository's root)
.venv/bin/python benchmarks/denoise_overhead.py --work          (only what is counted)

Counted: the UNet's work for a canvas of 64 times a tile's area, in latent pixels that it denoises in a step over
those of the canvas: half a tile of overlap, shifted tiles, and an upscale tile by tile as scripts do it that draw
each tile by an img2img of its own (32 pixels of padding on each side, sides rounded up to 64 pixels); then with a
second pass for its seams, over tiles centred on every inner border, and with a third over their crossings.

Timed: a tiled denoiser call, without and with four regions, over the bare UNet calls on the same batches; a step over
a canvas of 8x8 tiles, shifted, over one with half a tile of overlap; then a whole picture beside `diffusers`'
StableDiffusionPanoramaPipeline on the same weights, tiles, batches, sampler and steps. All are timed in turns in one
run; the median of the ratios counts, since machines are noisy.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from miniwebui import render, webui  # noqa: E402
from miniwebui.checkpoint_layout import load_checkpoint  # noqa: E402
from miniwebui.clip_tokenizer import clip_tokenizer  # noqa: E402
from tile_methods.fuse import fuse  # noqa: E402
from tile_methods.planner import Layout, Planner, Region  # noqa: E402
from tile_utils.grid import make_grid  # noqa: E402
from tile_utils.surface import Surface, Window  # noqa: E402
from tile_utils.weights import WEIGHTINGS  # noqa: E402

CANVAS_W, CANVAS_H, TILE, OVERLAP, BATCH, ROWS = 256, 32, 32, 16, 4, 2
REGIONS = (
    Region(Window(0, 0, CANVAS_H, 64), 1),
    Region(Window(0, 64, CANVAS_H, 64), 2),
    Region(Window(4, 140, 24, 24), 3, foreground=True, feather=0.2),
    Region(Window(4, 200, 24, 24), 4, foreground=True, feather=0.2),
)
PADDING = 4
"""Of a tile that is drawn alone, on each side, in latent pixels; sides are multiples of twice as many."""
PROMPT, STEPS = "city skyline, night", 6
DEMO = ROOT / "miniwebui/models/Stable-diffusion/demo.safetensors"


def planned_work(tile: int, overlap: int, shift: bool, steps: int = 8) -> float:
    """What a step denoises over the canvas of 8x8 tiles; the mean of some steps."""
    side = 8 * tile
    grid, device = make_grid(side, side, tile, tile, overlap), torch.device("cpu")
    planner = Planner(Layout(Surface(side, side), grid, "MultiDiffusion", BATCH, device, shift=shift))
    batches = [batch for step in range(steps) for batch in planner.plan(step).batches]
    seen = sum(patch.window.h * patch.window.w for batch in batches for patch in batch.patches)
    return seen / steps / side**2


def count_work() -> None:
    for tile in (32, 64, 96):
        padded = -(-(tile + 2 * PADDING) // PADDING // 2) * PADDING * 2
        by_tile = (padded / tile) ** 2
        half = planned_work(tile, tile // 2, False)
        print(
            f"tile {tile}: half a tile of overlap {half:.2f} times the canvas; tile by tile {by_tile:.2f}, with a pass "
            f"over borders {by_tile * (64 + 2 * 8 * 7) / 64:.2f}, and over crossings {by_tile * 15**2 / 64:.2f}"
        )
        for overlap in dict.fromkeys((4, tile // 8)):
            ours = planned_work(tile, overlap, True)
            print(
                f"  shifted, overlap {overlap}: {ours:.2f}; over half a tile of overlap {ours / half:.3f}, "
                f"over tile by tile {ours / by_tile:.3f}"
            )


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def tiled_call(
    checkpoint: Path, height: int, width: int
) -> tuple[Callable[..., object], Callable[..., object]]:
    """`run(plan, denoise)`, a tiled call on a canvas of this size, and `denoise`, the bare network's."""
    unet = load_checkpoint(checkpoint).unet
    context = torch.randn(ROWS, 77, unet.config.cross_attention_dim)
    x, sigma = torch.randn(ROWS, 4, height, width), torch.full((ROWS,), 500.0)
    cond = {"c_crossattn": [context], "c_concat": [torch.zeros(ROWS, 5, 1, 1)]}
    texts = torch.randn(1 + len(REGIONS), ROWS, *context.shape[1:])

    def denoise(x, sigma, cond):
        return unet(x, sigma, cond["c_crossattn"][0]).sample

    def run(plan, denoise):
        def model(batch, x, sigma, cond):
            own = torch.stack([texts[patch.words] for patch in batch.patches], 1).flatten(0, 1)
            return denoise(x, sigma, {**cond, "c_crossattn": [own]})

        fuse(plan, model, x, sigma, cond)

    return run, denoise


def compare_calls(checkpoint: Path, rounds: int) -> None:
    """Tiled denoiser calls, without and with regions, and the bare calls of the same batches."""
    run, denoise = tiled_call(checkpoint, CANVAS_H, CANVAS_W)
    grid, device = make_grid(CANVAS_W, CANVAS_H, TILE, TILE, OVERLAP), torch.device("cpu")
    for method in WEIGHTINGS:
        for label, regions in ((method, ()), (f"{method}, {len(REGIONS)} regions", REGIONS)):
            layout = Layout(Surface(CANVAS_H, CANVAS_W), grid, method, BATCH, device, regions)
            compare_call(label, functools.partial(run, Planner(layout).plan(0)), denoise, rounds)


def compare_shifted(checkpoint: Path, rounds: int) -> None:
    """A step over the canvas of 8x8 tiles: shifted, and with half a tile of overlap."""
    side, device = 8 * TILE, torch.device("cpu")
    run, denoise = tiled_call(checkpoint, side, side)

    def step(overlap: int, shift: bool) -> Callable[[], object]:
        grid = make_grid(side, side, TILE, TILE, overlap)
        layout = Layout(Surface(side, side), grid, "MultiDiffusion", BATCH, device, shift=shift)
        return functools.partial(run, Planner(layout).plan(1), denoise)

    half, shifted = step(OVERLAP, False), step(4, True)
    shifted()  # warm up
    times = [(seconds(half), seconds(shifted)) for _ in range(rounds)]
    ratio = statistics.median(time / half_time for half_time, time in times)
    print(
        f"tile {TILE}, a step over {side}x{side}: shifted / half a tile of overlap = {ratio:.3f}", flush=True
    )


def compare_call(label: str, run: Callable[..., object], denoise: Callable[..., object], rounds: int) -> None:
    """One way to fuse, `run(denoise)`, beside the calls that it makes."""
    calls = []

    def noted(*call):
        calls.append(call)
        return denoise(*call)

    def bare():
        for call in calls:
            denoise(*call)

    run(noted), bare()  # warm up
    times = [(seconds(bare), seconds(lambda: run(denoise))) for _ in range(rounds)]
    ratio = statistics.median(time / bare_time for bare_time, time in times)
    print(f"{label}: {len(calls)} batches, tiled / bare = {ratio:.3f}", flush=True)


def panorama_pipeline(checkpoint: Path) -> Callable[[], object]:
    """A picture of the canvas by `diffusers`, with views of our tiles' size and stride."""
    from diffusers import DDIMScheduler, StableDiffusionPanoramaPipeline

    parts = load_checkpoint(checkpoint)
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
    )
    pipeline = StableDiffusionPanoramaPipeline(
        parts.vae, parts.text_encoder, clip_tokenizer(), parts.unet, scheduler, None, None, None, False
    )
    pipeline.set_progress_bar_config(disable=True)
    views = functools.partial(pipeline.get_views, window_size=TILE, stride=TILE - OVERLAP)
    pipeline.get_views = lambda height, width, circular_padding=False: views(
        height, width, circular_padding=circular_padding
    )
    size = {"height": CANVAS_H * 8, "width": CANVAS_W * 8}
    return lambda: pipeline(
        PROMPT, num_inference_steps=STEPS, guidance_scale=4.0, view_batch_size=BATCH, **size
    )


def our_picture() -> Callable[[], object]:
    """The same by the mini WebUI and the extension."""
    settings = {"enabled": True, "method": "MultiDiffusion", "tile_width": TILE, "tile_height": TILE}
    settings |= {"overlap": OVERLAP, "tile_batch_size": BATCH}
    arguments = ["--prompt", PROMPT, "--width", str(CANVAS_W * 8), "--height", str(CANVAS_H * 8)]
    arguments += ["--sampler", "DDIM", "--steps", str(STEPS), "--seed", "1"]
    return lambda: render.draw_once(*arguments, "--script", "Tiled Diffusion", json.dumps(settings))


def compare_pictures(checkpoint: Path, rounds: int) -> None:
    theirs, ours = panorama_pipeline(checkpoint), our_picture()
    theirs(), ours()  # warm up
    times = [(seconds(theirs), seconds(ours)) for _ in range(rounds)]
    ratio = statistics.median(our_time / their_time for their_time, our_time in times)
    print(
        f"{CANVAS_W * 8}x{CANVAS_H * 8}, {STEPS} steps: ours / StableDiffusionPanoramaPipeline = {ratio:.3f}"
    )


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, default=DEMO)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--work", action="store_true")
    options = parser.parse_args()
    count_work()
    if options.work:
        return
    webui.initialize(str(options.checkpoint))
    few = max(3, options.rounds // 5)
    compare_calls(options.checkpoint, options.rounds)
    compare_shifted(options.checkpoint, few)
    compare_pictures(options.checkpoint, few)


if __name__ == "__main__":
    main()
