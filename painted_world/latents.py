"""The canvases as the VAE sees them, with captions: encoded once, cached on disk."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from miniwebui.clip_tokenizer import clip_tokenizer
from painted_world import files
from painted_world.autoencoder import make_vae, to_signed
from painted_world.canvases import KINDS, read_canvases
from painted_world.painter import MARGIN

logger = logging.getLogger(__name__)

SCALE_FACTOR = 0.18215
"""Stable Diffusion's constant: latents times this have unit variance."""
POSTERIOR_NOISE = 0.02
CAPTIONS = 6
"""For each canvas; one of them is drawn at every step."""
EDGE = 20
"""Pixels between a thing's middle and the edge of what the UNet sees, at least."""


@torch.no_grad()
def normalise_latents(vae: AutoencoderKL, latents: Tensor) -> None:
    """Rescale the two 1x1 convolutions around the latent, so that it has mean 0 and std 1 / SCALE_FACTOR.

    Args:
        latents: what the VAE encodes now, [N, 4, h, w].
    """
    mean, std = latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3)) * SCALE_FACTOR
    into, out = vae.quant_conv, vae.post_quant_conv
    out.bias += out.weight[:, :, 0, 0] @ mean
    out.weight *= std[None, :, None, None]
    into.weight[:4] /= std[:, None, None, None]
    into.bias[:4] = (into.bias[:4] - mean) / std
    into.weight[4:] = 0
    into.bias[4:] = 2 * torch.log(POSTERIOR_NOISE / std)


@torch.no_grad()
def encode(vae: AutoencoderKL, image: Tensor) -> Tensor:
    """Mode of the latent of one picture [3, H, W], uint8. [4, H / 8, W / 8]"""
    x = to_signed(image)[None].to(vae.device, memory_format=torch.channels_last)
    return vae.encode(x).latent_dist.mode()[0].cpu()


def tokenize(captions: list[str]) -> Tensor:
    """Token numbers, padded. [N, 77]"""
    tokenizer = clip_tokenizer()
    return tokenizer(captions, padding="max_length", max_length=77, return_tensors="pt").input_ids


def _encode_shard(canvases: Path, vae_path: Path, out: Path, number: int, device: str) -> None:
    if device == "cpu":
        torch.set_num_threads(1)
    vae = make_vae()
    vae.load_state_dict(files.load(vae_path))
    vae = vae.eval().to(device, memory_format=torch.channels_last)
    rng = np.random.default_rng(number)
    crop = MARGIN // 8
    latents, windows, tokens = [], [], []
    for canvas in read_canvases([canvases]):
        latent = encode(vae, torch.from_numpy(canvas.image).permute(2, 0, 1))
        latents.append((latent * SCALE_FACTOR)[:, crop:-crop, crop:-crop].half())
        kind = KINDS[canvas.kind]
        last = (kind.width - kind.window) // 8
        columns = canvas.columns or (kind.width / 2,)
        first = max(0, int(np.ceil((max(columns) + EDGE - kind.window) / 8))) if canvas.columns else 0
        final = min(last, int((min(columns) - EDGE) // 8)) if canvas.columns else last
        first = min(first, last)
        windows.append((first, max(first, final)))
        tokens.append(tokenize([kind.said(canvas.scene, rng) for _ in range(CAPTIONS)]))
    parts = {"latents": torch.stack(latents), "windows": torch.tensor(windows), "tokens": torch.stack(tokens)}
    files.save(parts, out)


def encode_canvases(work: Path, vae: Path, device: str, processes: int) -> None:
    """Encode what is missing of the cache, or older than its canvases or the VAE.

    `vae`: file with the weights of a normalised VAE.
    """
    jobs = []
    for number, canvases in enumerate(sorted(work.glob("canvases-*.pkl"))):
        out = work / canvases.name.replace("canvases", "latents").replace(".pkl", ".pt")
        newest = max(canvases.stat().st_mtime, vae.stat().st_mtime)
        if not out.exists() or out.stat().st_mtime < newest:
            jobs.append((canvases, vae, out, number, device))
    logger.info("%d files of canvases to encode", len(jobs))
    context = torch.multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        for future in [pool.submit(_encode_shard, *job) for job in jobs]:
            future.result()


def read_latents(work: Path, names: Sequence[str]) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """For each kind of canvas: latents [N, 4, h, w] of unit variance, the first and last column where its window may
    begin [N, 2], tokens [N, CAPTIONS, 77]."""
    kinds = {}
    for kind in names:
        parts = [files.load(path) for path in sorted(work.glob(f"latents-{kind}-*.pt"))]
        if parts:
            latents, windows, tokens = (
                torch.cat([part[key] for part in parts]) for key in ("latents", "windows", "tokens")
            )
            kinds[kind] = (latents, windows, tokens)
    return kinds
