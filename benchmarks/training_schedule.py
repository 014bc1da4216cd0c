"""Which rate, schedule and weights train the demo's UNet best on a small budget?

.venv/bin/python benchmarks/training_schedule.py --start FILE [--steps 160]     (from the repository's root)

Needs the cached latents, which `.venv/bin/python -m painted_world.training --only vae unet --steps unet=1` leaves.
Every variant begins with FILE's weights, sees the same batches, noises and timesteps, and is then measured on others,
the same for all: mean squared error of the foretold picture (latents of unit variance), by the amount of noise. AdamW
throughout.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from painted_world import denoiser, loop  # noqa: E402
from painted_world.denoiser import MIN_SNR, SHARES, Batches, UnetJob, alphas_cumprod  # noqa: E402
from painted_world.loop import Settings, averaged_weights, train  # noqa: E402

WORK = ROOT / "painted_world/work"
HALVES = 2
"""Batches are half of the training's: one process does it here, where two share a step there."""
BANDS = ((0, 250), (250, 500), (500, 750), (750, 1000))
"""Timesteps of one column of the table."""


@dataclass(frozen=True)
class Variant:
    name: str
    rate: float = 7e-4
    last_share: float = loop.LAST_SHARE
    weight: Callable[[Tensor], Tensor] = denoiser.snr_weight


VARIANTS = (
    Variant("cosine, 7e-4"),
    Variant("cosine, 1.5e-3", 1.5e-3),
    Variant("cosine, 3e-3", 3e-3),
    Variant("constant, 7e-4", last_share=1.0),
    Variant("constant, 1.5e-3", 1.5e-3, last_share=1.0),
    Variant("cosine, 7e-4, min-SNR alone", weight=lambda snr: snr.clamp(max=MIN_SNR) / snr),
    Variant("cosine, 7e-4, no weights", weight=torch.ones_like),
)


class _Started(UnetJob):
    """The job reads the cached latents; its state is saved elsewhere."""

    def __init__(self, settings: Settings, workers: int) -> None:
        super().__init__(replace(settings, work=WORK), HALVES)


@torch.no_grad()
def picture_errors(networks: nn.ModuleDict, batches: Batches, count: int) -> list[float]:
    """Mean squared error of the foretold picture in each of BANDS."""
    alphas, errors = alphas_cumprod(), []
    for band in BANDS:
        generator, of_band = torch.Generator().manual_seed(10_000_000), []
        for _ in range(count):
            batch = batches.draw(generator)
            x0, tokens = batch.latents, batch.tokens
            t = torch.randint(*band, (len(x0),), generator=generator)
            alpha, noise = alphas[t].view(-1, 1, 1, 1), torch.randn(x0.shape, generator=generator)
            context = networks["text_encoder"](tokens).last_hidden_state
            noisy = alpha.sqrt() * x0 + (1 - alpha).sqrt() * noise
            foretold = (
                noisy - (1 - alpha).sqrt() * networks["unet"](noisy, t, context).sample
            ) / alpha.sqrt()
            of_band.append((foretold - x0).square().mean())
        errors.append(float(torch.stack(of_band).mean()))
    return errors


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--start", type=Path, required=True, help="checkpoint to begin with")
    options = parser.parse_args()
    torch.set_num_threads(1)
    batches = Batches(WORK, HALVES, SHARES)
    print(f"{'timesteps':28}" + "".join(f"{f'{low}-{high}':>10}" for low, high in BANDS))
    for variant in VARIANTS:
        with (
            tempfile.TemporaryDirectory() as folder,
            patch.object(loop, "LAST_SHARE", variant.last_share),
            patch.object(denoiser, "snr_weight", variant.weight),
        ):
            settings = Settings("unet", Path(folder), 2, options.steps, variant.rate, "cpu", 1, options.start)
            train(_Started, settings)
            networks = _Started(settings, HALVES).networks
            networks.load_state_dict(averaged_weights(settings))
        errors = picture_errors(networks, batches, 24)
        print(f"{variant.name:28}" + "".join(f"{error:10.4f}" for error in errors), flush=True)


if __name__ == "__main__":
    main()
