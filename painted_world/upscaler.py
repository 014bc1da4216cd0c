"""A 4x upscaler for the painted world, in the layout of Real-ESRGAN's compact network, which spandrel reads."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from painted_world.autoencoder import canvas_images, crops, paint_set
from painted_world.loop import Settings

SCALE = 4
WIDTH, CONVOLUTIONS = 32, 8
SIDE, BATCH = 96, 8
"""Pixels of a large crop, and how many a step has."""


class CompactUpscaler(nn.Module):
    """SRVGGNetCompact (Real-ESRGAN, arXiv 2107.10833): convolutions on the small picture, one pixel shuffle, and the
    picture itself, enlarged by nearest neighbour, added. `body` is the list that the file's keys count."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, WIDTH, 3, padding=1), nn.PReLU(WIDTH)]
        for _ in range(CONVOLUTIONS):
            layers += [nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.PReLU(WIDTH)]
        layers.append(nn.Conv2d(WIDTH, 3 * SCALE**2, 3, padding=1))
        self.body = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:  # [B, 3, h, w] -> [B, 3, 4 h, 4 w], 0 ... 1
        out = x
        for layer in self.body:
            out = layer(out)
        return F.pixel_shuffle(out, SCALE) + F.interpolate(x, scale_factor=SCALE, mode="nearest")


def shrink(x: Tensor) -> Tensor:
    """What the upscaler gets: a quarter of the size, antialiased."""
    return F.interpolate(x, scale_factor=1 / SCALE, mode="bicubic", antialias=True).clamp(0, 1)


def psnr(a: Tensor, b: Tensor) -> float:
    """Mean over pictures, in dB; both 0 ... 1."""
    return float((-10 * (a - b).square().mean(dim=(1, 2, 3)).log10()).mean())


class UpscalerJob:
    def __init__(self, settings: Settings, workers: int) -> None:
        network = CompactUpscaler()
        self.networks = nn.ModuleDict({"upscaler": network}).to(settings.device)
        self._images, self._held_out = canvas_images(settings.work), paint_set(8, settings.seed + 1000) / 255
        self._device, self._workers = settings.device, workers

    def loss(self, done: float, generator: torch.Generator) -> Tensor:
        large = crops(self._images, SIDE, max(1, BATCH // self._workers), generator).to(self._device) / 255
        small = shrink(large)
        noise = torch.randn(small.shape, generator=generator).to(small)
        strength = 0.02 * torch.rand(len(small), 1, 1, 1, generator=generator).to(small)
        out = self.networks["upscaler"](small + strength * noise)
        edges = sum((out.diff(dim=dim) - large.diff(dim=dim)).abs().mean() for dim in (2, 3))
        return (out - large).abs().mean() + 0.5 * edges

    @torch.no_grad()
    def report(self, average: nn.ModuleDict) -> str:
        small = shrink(self._held_out).to(self._device)
        ours = average["upscaler"](small).clamp(0, 1).cpu()
        cubic = F.interpolate(small.cpu(), scale_factor=SCALE, mode="bicubic").clamp(0, 1)
        return f", held out {psnr(ours, self._held_out):.2f} dB (bicubic {psnr(cubic, self._held_out):.2f})"


def blue_first(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same network for pictures whose channels come as blue, green, red: what the WebUI gives to ESRGAN files."""
    last = f"body.{2 * CONVOLUTIONS + 2}"
    flipped = dict(tensors)
    flipped["body.0.weight"] = tensors["body.0.weight"].flip(1)
    for key in (f"{last}.weight", f"{last}.bias"):
        flipped[key] = tensors[key].unflatten(0, (3, SCALE**2)).flip(0).flatten(0, 1)
    return flipped


def write_upscaler(network: nn.Module, path: Path) -> None:
    """Write the upscaler's file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.contiguous().cpu() for key, value in blue_first(network.state_dict()).items()}
    save_file(tensors, path, {"modelspec.title": "Upscaler of the Tiled Diffusion demo"})
