"""Panoramas through `diffusers`: ours beside its StableDiffusionPanoramaPipeline, on the same weights.

.venv/bin/python benchmarks/pipelines.py [--seeds 4] [--steps 12] [--sheet FILE]     (from the repository's root)

All ways draw 1024x256 with the demo checkpoint from the same noise, sampler (DDIM) and steps, in tiles of 32x32 latent
pixels, in batches of 4. For each: the processor's time of a picture, over that of diffusers' pipeline at the same
overlap; the steps between columns at tile borders, over those at other borders of latent pixels and over those at all
other columns (see `benchmarks/seams.py`). Then what tiling itself costs: the time of the denoiser's calls with the hook
around, over that of the network's own calls within them.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPanoramaPipeline, StableDiffusionPipeline

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.seams import HEIGHT, PROMPTS, TILE, WIDTH, seam_ratios  # noqa: E402
from examples.tiled_vae import demo_pipeline  # noqa: E402
from tile_diffusers import tiled_diffusion  # noqa: E402
from tools.contact_sheet import contact_sheet  # noqa: E402

BATCH = 4


def panorama(pipe: StableDiffusionPipeline, overlap: int) -> Callable[..., Any]:
    """diffusers' pipeline with views of our tiles' size and stride."""
    theirs = StableDiffusionPanoramaPipeline(**pipe.components, requires_safety_checker=False)
    theirs.set_progress_bar_config(disable=True)
    views = functools.partial(theirs.get_views, window_size=TILE, stride=TILE - overlap)
    theirs.get_views = lambda height, width, circular_padding=False: views(
        height, width, circular_padding=circular_padding
    )
    return functools.partial(theirs, view_batch_size=BATCH)


def ours(pipe: StableDiffusionPipeline, overlap: int, **options: Any) -> Callable[..., Any]:
    def draw(*args: Any, **kwargs: Any) -> Any:
        with tiled_diffusion(pipe, tile=8 * TILE, overlap=8 * overlap, batch_size=BATCH, **options):
            return pipe(*args, **kwargs)

    return draw


def ways(pipe: StableDiffusionPipeline) -> dict[str, tuple[int, Callable[..., Any]]]:
    """(overlap in latent pixels, what draws)"""
    return {
        "Panorama pipeline, overlap 16": (16, panorama(pipe, 16)),
        "MultiDiffusion, overlap 16": (16, ours(pipe, 16, method="MultiDiffusion")),
        "Mixture of Diffusers, overlap 16": (16, ours(pipe, 16)),
        "Mixture, overlap 4, shifting": (4, ours(pipe, 4, shift=True)),
    }


@contextmanager
def own_time(unet: torch.nn.Module) -> Iterator[dict[str, float]]:
    """Processor seconds of the denoiser's calls ("around"), and of the network's own within them ("network")."""
    spent, kind, began = {"around": 0.0, "network": 0.0}, type(unet), []
    forward = kind.forward

    def timed(self: Any, *args: Any, **kwargs: Any) -> Any:
        start = time.process_time()
        out = forward(self, *args, **kwargs)
        spent["network"] += time.process_time() - start
        return out

    def ended(*_: Any) -> None:
        spent["around"] += time.process_time() - began.pop()

    kind.forward = functools.wraps(forward)(timed)
    handles = [
        unet.register_forward_pre_hook(lambda *_: began.append(time.process_time())),
        unet.register_forward_hook(ended),
    ]
    try:
        yield spent
    finally:
        kind.forward = forward
        for handle in handles:
            handle.remove()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--sheet", type=Path, help="where all pictures are put together")
    arguments = parser.parse_args()
    pipe = demo_pipeline()
    pipe.set_progress_bar_config(disable=True)
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways(pipe)}
    rows, cost = [], []
    pipe(PROMPTS[0], width=WIDTH, height=HEIGHT, num_inference_steps=1)  # warm up
    for seed in range(arguments.seeds):
        pictures = []
        for name, (overlap, draw) in ways(pipe).items():
            with own_time(pipe.unet) as spent:
                start = time.process_time()
                picture = draw(
                    PROMPTS[seed % len(PROMPTS)],
                    width=WIDTH,
                    height=HEIGHT,
                    num_inference_steps=arguments.steps,
                    guidance_scale=4.0,
                    generator=torch.Generator().manual_seed(seed + 1),
                ).images[0]
                took = time.process_time() - start
            if "Panorama" not in name:
                cost.append(spent["around"] / spent["network"])
            pictures.append(picture)
            found[name].append((took, *seam_ratios(np.asarray(picture), overlap)))
        rows.append(pictures)
    base = [took for took, *_ in found["Panorama pipeline, overlap 16"]]
    print(f"{'':33} {'time':>6} {'latent':>7} {'all':>6}")
    for name, each in found.items():
        ratio = statistics.median(took / first for (took, *_), first in zip(each, base))
        like, other = np.mean([seams for _, *seams in each], axis=0)
        print(f"{name:33} {ratio:6.3f} {like:7.3f} {other:6.3f}")
    print(f"denoiser's calls, tiled / the network's own: {statistics.median(cost):.3f}")
    if arguments.sheet:
        contact_sheet(rows, WIDTH * len(rows[0]) // 2).save(arguments.sheet, quality=88)


if __name__ == "__main__":
    main()
