"""The demo VAE: the SD layout at width 32, trained on random crops of painted canvases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from miniwebui.checkpoint_layout import load_checkpoint
from painted_world import files
from painted_world.canvases import Canvas, read_canvases
from painted_world.loop import Settings
from painted_world.painter import MARGIN, paint, random_scene

STAGES = ((0.0, 64, 12), (0.6, 128, 4), (0.85, 256, 2))
"""(from this part of the steps on, crop side, batch): small crops vary more, whole pictures have the true statistics"""
DECODER_STAGES = ((0.0, 96, 8), (0.7, 256, 2))
"""The same for the decoder alone: a crop that holds a whole thing, then whole pictures"""
LATENT_NOISE = 0.04
"""Added while training, relative to the latent's spread: near latents shall mean near pictures."""
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


@torch.no_grad()
def psnr(vae: AutoencoderKL, images: Tensor) -> float:
    """Mean PSNR of the reconstructions over whole pictures, in dB (peak 255)."""
    values = []
    for image in images.split(4):
        x = to_signed(image).to(vae.device)
        out = vae.decode(vae.encode(x).latent_dist.mode()).sample.clamp(-1, 1)
        mse = ((out - x) / 2).square().mean(dim=(1, 2, 3))
        values.append(-10 * mse.log10())
    return float(torch.cat(values).mean())


def crops(images: list[Tensor], side: int, count: int, generator: torch.Generator) -> Tensor:
    """Square crops at random places of random canvases, half of them of what has most detail among eight.

    Skies and meadows fill most of the world; houses and windows would hardly be seen. [count, 3, side, side], uint8
    """
    picked = []
    for number in range(count):
        found = [_crop(images, side, generator) for _ in range(8 if number % 2 else 1)]
        picked.append(max(found, key=_detail))
    return torch.stack(picked)


def _crop(images: list[Tensor], side: int, generator: torch.Generator) -> Tensor:
    image = images[int(torch.randint(len(images), (), generator=generator))]
    top, left = (int(torch.randint(size - side + 1, (), generator=generator)) for size in image.shape[-2:])
    return image[:, top : top + side, left : left + side]


def _detail(crop: Tensor) -> float:
    """Mean step between pixels that are two apart."""
    few = crop[:, ::2, ::2].float()
    return float(few.diff(dim=1).abs().mean() + few.diff(dim=2).abs().mean())


def canvas_images(work: Path) -> list[Tensor]:
    """All cached canvases. Each [3, H, W], uint8"""
    paths = sorted(work.glob("canvases-*.pkl"))
    return [torch.from_numpy(canvas.image).permute(2, 0, 1) for canvas in read_canvases(paths)]


class _Reconstruction:
    """What the training of the whole VAE and that of its decoder have in common."""

    def __init__(self, vae: AutoencoderKL, settings: Settings, workers: int) -> None:
        self.networks = nn.ModuleDict({"vae": vae}).to(settings.device, memory_format=torch.channels_last)
        self._held_out = paint_set(6, settings.seed + 1000)
        self._device, self._workers = settings.device, workers

    def _loss_of(self, images: Tensor, generator: torch.Generator, margin: int = 0) -> Tensor:
        return reconstruction_loss(self.networks["vae"], images.to(self._device), generator, margin)

    def report(self, average: nn.ModuleDict) -> str:
        return f", held out {psnr(average['vae'], self._held_out):.2f} dB"


class VaeJob(_Reconstruction):
    """Encoder and decoder together."""

    def __init__(self, settings: Settings, workers: int) -> None:
        vae = make_vae()
        if settings.start:
            vae.load_state_dict(load_checkpoint(settings.start).vae.state_dict())
        super().__init__(vae.requires_grad_(True), settings, workers)
        self._images = canvas_images(settings.work)

    def loss(self, done: float, generator: torch.Generator) -> Tensor:
        side, count = stage_at(STAGES, done)
        return self._loss_of(crops(self._images, side, max(1, count // self._workers), generator), generator)


class DecoderJob(_Reconstruction):
    """The decoder of a finished VAE, trained further on pictures with things.

    The encoder stays as it is, so the latents do, and every UNet that was trained on them; as with Stable Diffusion's
    own `vae-ft-mse`. A joint training gives little weight to things, which are small, and dulls their colours. Half of
    the latents are cut out of larger ones, as those are that the UNet has learned to draw: without that, the outermost
    pixels of drawn pictures come out darker or lighter.
    """

    def __init__(self, settings: Settings, workers: int) -> None:
        assert settings.start, "the decoder belongs to a VAE"
        vae = make_vae().requires_grad_(False)
        vae.load_state_dict(files.load(settings.start))
        for part in (vae.post_quant_conv, vae.decoder):
            part.requires_grad_(True)
        super().__init__(vae, settings, workers)
        paths = sorted(settings.work.glob("canvases-*.pkl"))
        self._canvases = [_Pictured.of(canvas) for canvas in read_canvases(paths) if canvas.columns]

    def loss(self, done: float, generator: torch.Generator) -> Tensor:
        side, count = stage_at(DECODER_STAGES, done)
        margin = MARGIN if float(torch.rand((), generator=generator)) < 0.5 else 0
        number = max(1, count // self._workers)
        picks = torch.randint(len(self._canvases), (number,), generator=generator).tolist()
        images = torch.stack([self._canvases[pick].crop(side + 2 * margin, generator) for pick in picks])
        return self._loss_of(images, generator, margin)


@dataclass(frozen=True)
class _Pictured:
    """A canvas's picture [3, H, W], uint8, and the pixel columns of its things."""

    image: Tensor
    columns: tuple[float, ...]

    @classmethod
    def of(cls, canvas: Canvas) -> _Pictured:
        columns = tuple(column + MARGIN for column in canvas.columns)
        return cls(torch.from_numpy(canvas.image).permute(2, 0, 1), columns)

    def crop(self, side: int, generator: torch.Generator) -> Tensor:
        """A square at any height that one of the things stands in the columns of."""
        column = self.columns[int(torch.randint(len(self.columns), (), generator=generator))]
        height, width = self.image.shape[-2:]
        left = int(column - (0.2 + 0.6 * float(torch.rand((), generator=generator))) * side)
        left = min(max(left, 0), width - side)
        top = int(torch.randint(height - side + 1, (), generator=generator))
        return self.image[:, top : top + side, left : left + side]


def stage_at(stages: Sequence[tuple[float, int, int]], done: float) -> tuple[int, int]:
    """Side of the crops and their number, when this part of the steps is done."""
    return next((side, count) for start_at, side, count in reversed(stages) if done >= start_at)


def reconstruction_loss(
    vae: AutoencoderKL, images: Tensor, generator: torch.Generator, margin: int = 0
) -> Tensor:
    """Squared and absolute error, and that of the edges, behind a latent with a little noise.

    Args:
        images: [B, 3, H, W], uint8, on the VAE's device; generator: on the CPU.
        margin: pixels on every side that the encoder sees, and that are cut off its latent before it is decoded.
    """
    x = to_signed(images).contiguous(memory_format=torch.channels_last)
    mean = _without_border(vae.encode(x).latent_dist.mean, margin // 8)
    noise = torch.randn(mean.shape, generator=generator).to(mean)
    decoded = vae.decode(mean + LATENT_NOISE * mean.detach().std() * noise).sample
    error = decoded - _without_border(x, margin)
    edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
    return error.square().mean() + 0.05 * error.abs().mean() + 0.1 * edges


def _without_border(x: Tensor, width: int) -> Tensor:
    return x[..., width : x.shape[-2] - width, width : x.shape[-1] - width]
