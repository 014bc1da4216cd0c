"""Train the demo UNet and its text encoder on cached latents, and write the checkpoint's three networks."""

from __future__ import annotations

import argparse
import copy
import math
import time

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from miniwebui.clip_tokenizer import clip_tokenizer
from miniwebui.training.autoencoder import NORM_GROUPS, WORK, make_vae, to_signed
from miniwebui.training.painter import MARGIN, caption, paint_with_margin, random_scene

SCALE_FACTOR = 0.18215
"""Stable Diffusion's constant: latents times this have unit variance."""
LATENT_NOISE = 0.02
BATCH, PEAK_RATE, MIN_SNR = 16, 1.5e-3, 5.0
DROPPED_CAPTIONS = 0.1


def make_unet() -> UNet2DConditionModel:
    """SD 1.x's layout with 32, 64 and 64 channels; attention at half and quarter of the latent's size."""
    return UNet2DConditionModel(
        sample_size=32,
        block_out_channels=(32, 64, 64),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=64,
        attention_head_dim=8,
        norm_num_groups=NORM_GROUPS,
    )


def make_text_encoder() -> CLIPTextModel:
    """CLIP's text transformer, two layers of width 64, with CLIP's whole vocabulary."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49408,
            hidden_size=64,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=77,
            bos_token_id=49406,
            eos_token_id=49407,
            pad_token_id=49407,
        )
    )


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
    into.bias[4:] = 2 * torch.log(LATENT_NOISE / std)


@torch.no_grad()
def encode_scenes(vae: AutoencoderKL, count: int, seed: int) -> tuple[Tensor, list[str]]:
    """Latent modes of random scenes [count, 4, 32, 32], and their captions.

    The VAE sees the scenes with a margin: latents at a picture's edge look different, and a UNet trained on them would
    draw that edge around every tile.
    """
    crop = MARGIN // 8
    rng = np.random.default_rng(seed)
    latents, captions = [], []
    while len(captions) < count:
        scenes = [random_scene(rng) for _ in range(8)]
        images = torch.from_numpy(np.stack([paint_with_margin(scene, rng) for scene in scenes]))
        encoded = vae.encode(to_signed(images.permute(0, 3, 1, 2))).latent_dist.mode()
        latents.append(encoded[..., crop:-crop, crop:-crop])
        captions += [caption(scene, rng) for scene in scenes]
    return torch.cat(latents), captions


def alphas_cumprod() -> Tensor:
    """Stable Diffusion's schedule: square roots of beta evenly spaced. [1000]"""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()


def tokenize(captions: list[str]) -> Tensor:
    """Token numbers, padded. [N, 77]"""
    tokenizer = clip_tokenizer()
    return tokenizer(captions, padding="max_length", max_length=77, return_tensors="pt").input_ids


def loss_of(
    unet: UNet2DConditionModel, text: CLIPTextModel, x0: Tensor, tokens: Tensor, alphas: Tensor
) -> Tensor:
    """Noise prediction loss with min-SNR weights (Hang et al., arXiv 2303.09556)."""
    t = torch.randint(1000, (len(x0),))
    alpha = alphas[t].view(-1, 1, 1, 1)
    noise = torch.randn_like(x0)
    distinct, index = tokens.unique(dim=0, return_inverse=True)
    context = text(distinct).last_hidden_state[index]
    predicted = unet(alpha.sqrt() * x0 + (1 - alpha).sqrt() * noise, t, context).sample
    snr = (alpha / (1 - alpha)).flatten()
    weight = snr.clamp(max=MIN_SNR) / snr
    return (weight * (predicted - noise).square().mean(dim=(1, 2, 3))).mean()


def save(vae: AutoencoderKL, unet: UNet2DConditionModel, text: CLIPTextModel) -> None:
    parts = {"vae": vae, "unet": unet, "text_encoder": text}
    torch.save({name: part.state_dict() for name, part in parts.items()}, WORK / "networks.pt")


def train(minutes: float, scenes: int, seed: int = 2, resume: bool = False) -> None:
    """Train for `minutes` on `scenes` cached scenes; what is saved is an average of the last weights."""
    torch.manual_seed(seed)
    start = time.time()
    vae, unet, text = make_vae().eval(), make_unet(), make_text_encoder()
    if resume:
        parts = torch.load(WORK / "networks.pt")
        for name, part in (("vae", vae), ("unet", unet), ("text_encoder", text)):
            part.load_state_dict(parts[name])
    else:
        vae.load_state_dict(torch.load(WORK / "vae.pt"))
        normalise_latents(vae, encode_scenes(vae, 128, seed + 1000)[0])
    latents, captions = encode_scenes(vae, scenes, seed)
    latents, tokens = latents * SCALE_FACTOR, tokenize(captions)
    empty, alphas = tokenize([""]), alphas_cumprod()
    print(f"{len(latents)} latents, std {latents.std():.3f}, after {time.time() - start:.0f} s", flush=True)
    average = copy.deepcopy((unet, text))
    parameters = [*unet.parameters(), *text.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=PEAK_RATE, betas=(0.9, 0.99), weight_decay=1e-3)
    step, saved, shown = 0, time.time(), 0.0
    while (done := (time.time() - start) / (60 * minutes)) < 1:
        picks = torch.randint(len(latents), (BATCH,))
        dropped = torch.rand(BATCH, 1) < DROPPED_CAPTIONS
        rate = PEAK_RATE * min(1, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        optimiser.param_groups[0]["lr"] = rate
        loss = loss_of(unet, text, latents[picks], torch.where(dropped, empty, tokens[picks]), alphas)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        step, shown = step + 1, 0.98 * shown + 0.02 * loss.item()
        decay = min(0.995, step / (step + 20))
        with torch.no_grad():
            for mean, value in zip((p for part in average for p in part.parameters()), parameters):
                mean.lerp_(value, 1 - decay)
        if time.time() - saved > 90:
            saved = time.time()
            save(vae, *average)
            print(f"step {step}, {saved - start:.0f} s, loss {shown / (1 - 0.98**step):.4f}", flush=True)
    save(vae, *average)
    print(f"step {step}, loss {shown / (1 - 0.98**step):.4f}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--scenes", type=int, default=3000)
    parser.add_argument("--resume", action="store_true", help="go on from the networks of the last run")
    options = parser.parse_args()
    train(options.minutes, options.scenes, resume=options.resume)
