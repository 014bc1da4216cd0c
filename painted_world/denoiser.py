"""The demo UNet and its text encoder, trained on cached latents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from miniwebui.checkpoint_layout import load_checkpoint
from painted_world.autoencoder import NORM_GROUPS
from painted_world.canvases import KINDS
from painted_world.latents import read_latents, tokenize
from painted_world.loop import Settings

BATCH, MIN_SNR = 16, 5.0
SHARES = {"scene": 0.3, "things": 0.38, "tall": 0.2, "close": 0.12}
"""How often a batch is made of each kind of canvas. A batch of tall ones holds half as many: a step costs the same."""
DROPPED_CAPTIONS = 0.1
WORDS_BAND = (500, 900)
"""Half of the timesteps are drawn from here, where words decide which thing there is, where, and of which colour. With
less noise the latents show it, with more it is lost in them."""


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


def alphas_cumprod() -> Tensor:
    """Stable Diffusion's schedule: square roots of beta evenly spaced. [1000]"""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()


def snr_weight(snr: Tensor) -> Tensor:
    """Weight of the noise's squared error: min-SNR (Hang et al., arXiv 2303.09556) where there is little noise, and
    1 / sqrt(SNR) where there is much (Yu et al., arXiv 2310.08442): there a small error of the noise is a large one of
    the picture, and the composition is decided there. [B] -> [B]"""
    return snr.clamp(max=MIN_SNR) / snr * snr.rsqrt().clamp(min=1)


def loss_of(
    unet: nn.Module,
    text: nn.Module,
    x0: Tensor,
    tokens: Tensor,
    alphas: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Noise prediction loss, weighted by `snr_weight`.

    Args:
        x0: latents of unit variance [B, 4, h, w], on the networks' device.
        tokens: [B, 77]; alphas: [1000]; generator: on the CPU.
    """
    t = _draw_timesteps(len(x0), generator)
    alpha = alphas[t].view(-1, 1, 1, 1).to(x0.device)
    noise = torch.randn(x0.shape, generator=generator).to(x0)
    context = text(tokens.to(x0.device)).last_hidden_state
    noisy = (alpha.sqrt() * x0 + (1 - alpha).sqrt() * noise).contiguous(memory_format=torch.channels_last)
    predicted = unet(noisy, t.to(x0.device), context).sample
    weight = snr_weight((alpha / (1 - alpha)).flatten())
    return (weight * (predicted - noise).square().mean(dim=(1, 2, 3))).mean()


def _draw_timesteps(count: int, generator: torch.Generator) -> Tensor:
    anywhere = torch.randint(1000, (count,), generator=generator)
    in_band = torch.randint(*WORDS_BAND, (count,), generator=generator)
    return torch.where(torch.rand(count, generator=generator) < 0.5, in_band, anywhere)


@dataclass(frozen=True)
class Batch:
    """What the UNet sees at one step, and where it was cut out.

    Attributes:
        latents: of unit variance, [B, 4, h, w].
        tokens: of the captions, [B, 77]; some are empty.
        kind: of all its canvases.
        windows: number of the canvas, and first latent column, of each.
    """

    latents: Tensor
    tokens: Tensor
    kind: str
    windows: list[tuple[int, int]]


class Batches:
    """Random windows of the cached latents with one of their captions, of one kind of canvas a batch.

    `dropped`: how many of the captions are left out, 0 ... 1.
    """

    def __init__(
        self, work: Path, workers: int, shares: Mapping[str, float], dropped: float = DROPPED_CAPTIONS
    ) -> None:
        self._kinds, self._workers, self._shares = read_latents(work, list(shares)), workers, shares
        self._empty, self._dropped = tokenize([""])[0], dropped

    def draw(self, generator: torch.Generator) -> Batch:
        shares = torch.tensor([self._shares[kind] for kind in self._kinds])
        kind = list(self._kinds)[int(torch.multinomial(shares, 1, generator=generator))]
        latents, windows, tokens = self._kinds[kind]
        count = max(1, BATCH // self._workers * 32 // latents.shape[-2])
        width = KINDS[kind].window // 8
        picked, said, cut = [], [], []
        for index in torch.randint(len(latents), (count,), generator=generator).tolist():
            first, last = windows[index].tolist()
            left = int(torch.randint(first, last + 1, (), generator=generator))
            picked.append(latents[index, :, :, left : left + width].float())
            cut.append((index, left))
            number = int(torch.randint(tokens.shape[1], (), generator=generator))
            dropped = float(torch.rand((), generator=generator)) < self._dropped
            said.append(self._empty if dropped else tokens[index, number])
        return Batch(torch.stack(picked), torch.stack(said), kind, cut)


class UnetJob:
    def __init__(self, settings: Settings, workers: int) -> None:
        unet, text = make_unet(), make_text_encoder()
        if settings.start:
            parts = load_checkpoint(settings.start)
            unet.load_state_dict(parts.unet.state_dict())
            text.load_state_dict(parts.text_encoder.state_dict())
        networks = nn.ModuleDict({"unet": unet, "text_encoder": text})
        self.networks = networks.to(settings.device, memory_format=torch.channels_last)
        self._batches = Batches(settings.work, workers, SHARES)
        self._alphas, self._device = alphas_cumprod(), settings.device

    def loss(self, done: float, generator: torch.Generator) -> Tensor:
        batch = self._batches.draw(generator)
        unet, text = self.networks["unet"], self.networks["text_encoder"]
        return loss_of(unet, text, batch.latents.to(self._device), batch.tokens, self._alphas, generator)

    def report(self, average: nn.ModuleDict) -> str:
        return ""
