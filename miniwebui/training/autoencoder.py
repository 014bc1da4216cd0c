"""Train the demo VAE: the SD layout at width 32, on random crops of painted scenes."""

from __future__ import annotations

import argparse
import copy
import math
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor

from miniwebui.training.painter import paint, random_scene

WORK = Path(__file__).parent / "work"
PEAK_RATE = 1.5e-3
STAGES = ((0.0, 64, 12), (0.6, 128, 3), (0.9, 256, 1))
"""(from this part of the time on, crop side, batch): small crops vary more, whole pictures have the true statistics"""
NORM_GROUPS = 8
"""Groups of every GroupNorm. With the usual 32, a group of these narrow networks would be a single channel, and its
mean, which carries the picture's colour, would be normalised away: 16.1 dB instead of 21.1 after the same 80 s."""


def make_vae() -> AutoencoderKL:
    """The network of Stable Diffusion's VAE, narrow: f = 8, 4 latent channels."""
    vae = AutoencoderKL(
        block_out_channels=(32, 32, 64, 64),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=NORM_GROUPS,
        sample_size=256,
        scaling_factor=0.18215,
    )
    for module in vae.modules():  # residual blocks start as the identity: 0.5 dB more after 80 s
        if isinstance(module, ResnetBlock2D):
            torch.nn.init.zeros_(module.conv2.weight)
    return vae


def paint_set(count: int, seed: int) -> Tensor:
    """Random scenes. [count, 3, 256, 256], uint8"""
    rng = np.random.default_rng(seed)
    scenes = np.stack([paint(random_scene(rng), rng) for _ in range(count)])
    return torch.from_numpy(scenes).permute(0, 3, 1, 2).contiguous()


def to_signed(images: Tensor) -> Tensor:
    """uint8 to -1 ... 1."""
    return images.float() / 127.5 - 1


def random_crops(images: Tensor, side: int, count: int) -> Tensor:
    """Square crops at random places. [count, 3, side, side], -1 ... 1"""
    picks = torch.randint(len(images), (count,)).tolist()
    tops, lefts = torch.randint(images.shape[-1] - side + 1, (2, count)).tolist()
    return to_signed(
        torch.stack([images[i, :, y : y + side, x : x + side] for i, y, x in zip(picks, tops, lefts)])
    )


@torch.no_grad()
def psnr(vae: AutoencoderKL, images: Tensor) -> float:
    """Mean PSNR of the reconstructions over whole pictures, in dB (peak 255)."""
    values = []
    for image in images.split(4):
        x = to_signed(image)
        out = vae.decode(vae.encode(x).latent_dist.mode()).sample.clamp(-1, 1)
        mse = ((out - x) / 2).square().mean(dim=(1, 2, 3))
        values.append(-10 * mse.log10())
    return float(torch.cat(values).mean())


def train(minutes: float, seed: int = 1) -> AutoencoderKL:
    """Train for `minutes`; the learning rate follows the clock, the result is an average of the last weights."""
    torch.manual_seed(seed)
    images, held_out = paint_set(2500, seed), paint_set(24, seed + 1000)
    vae = make_vae()
    average = copy.deepcopy(vae).requires_grad_(False)
    optimiser = torch.optim.AdamW(vae.parameters(), lr=PEAK_RATE, betas=(0.9, 0.99), weight_decay=1e-4)
    start, step, saved = time.time(), 0, 0.0
    while (done := (time.time() - start) / (60 * minutes)) < 1:
        rate = PEAK_RATE * min(1, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        optimiser.param_groups[0]["lr"] = rate
        side, count = next((side, count) for start_at, side, count in reversed(STAGES) if done >= start_at)
        x = random_crops(images, side, count)
        posterior = vae.encode(x).latent_dist
        out = vae.decode(posterior.mean + 0.02 * torch.randn_like(posterior.mean)).sample
        loss = (out - x).square().mean() + 0.05 * (out - x).abs().mean()
        loss = loss + 1e-4 * posterior.mean.square().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimiser.step()
        step += 1
        decay = min(0.995, step / (step + 20))
        for mean, value in zip(average.parameters(), vae.parameters()):
            mean.lerp_(value.detach(), 1 - decay)
        if time.time() - saved > 150:
            saved = time.time()
            torch.save(average.state_dict(), WORK / "vae.pt")
            quality = psnr(average, held_out)
            print(f"step {step}, {saved - start:.0f} s, held out {quality:.2f} dB", flush=True)
    torch.save(average.state_dict(), WORK / "vae.pt")
    print(f"step {step}, held out {psnr(average, held_out):.2f} dB", flush=True)
    return average


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=16)
    WORK.mkdir(exist_ok=True)
    train(parser.parse_args().minutes)
