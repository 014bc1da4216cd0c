"""The demo ControlNet (Zhang et al., arXiv 2302.05543): painted scenes after their lines."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from torch import Tensor, nn

from miniwebui.checkpoint_layout import load_checkpoint
from miniwebui.controlnet_layout import load_controlnet
from painted_world.adapters import frozen
from painted_world.checkpoint_file import save_controlnet
from painted_world.denoiser import BATCH, Batch, Batches, alphas_cumprod, loss_of, make_unet
from painted_world.lines import SKETCHES, drawn_by_hand, read_lines, unpacked
from painted_world.loop import Settings

SHARES = {"scene": 0.35, "things": 0.35, "tall": 0.15, "close": 0.15}
HINT_WIDTHS = (8, 16, 24, 32)
"""Of the network that looks at the lines. The usual 16, 32, 96 and 256 would cost eight times what the UNet does."""
STEP_BATCH = 8
DROPPED_CAPTIONS = 0.3
"""More than the UNet's: without words the lines alone say what is drawn."""


def make_controlnet(unet: UNet2DConditionModel) -> ControlNetModel:
    """A copy of the UNet's first half; all that it adds passes convolutions that begin as zero.

    Only those: a look at the hint that begins as zero too learns nothing before they have moved.
    """
    network = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=HINT_WIDTHS)
    network.controlnet_cond_embedding.conv_out.reset_parameters()
    return network


class Controlled(nn.Module):
    """The UNet with what the ControlNet adds after these hints [B, 3, H, W], 0 ... 1."""

    def __init__(self, unet: nn.Module, controlnet: nn.Module, hints: Tensor) -> None:
        super().__init__()
        self.unet, self.controlnet, self.hints = unet, controlnet, hints

    def forward(self, x: Tensor, t: Tensor, context: Tensor) -> UNet2DConditionOutput:
        down, mid = self.controlnet(x, t, context, self.hints, return_dict=False)
        output: UNet2DConditionOutput = self.unet(
            x, t, context, down_block_additional_residuals=down, mid_block_additional_residual=mid
        )
        return output


class LinesJob:
    """Only the ControlNet is trained; the checkpoint stays as it is."""

    def __init__(self, settings: Settings, workers: int) -> None:
        assert settings.start is not None
        self._parts, self._device = frozen(load_checkpoint(settings.start), settings.device), settings.device
        network = make_controlnet(self._parts.unet)
        if settings.first is not None:
            network.load_state_dict(load_controlnet(settings.first, self._parts.unet).state_dict())
        self.networks = nn.ModuleDict({"controlnet": network})
        self.networks.to(settings.device, memory_format=torch.channels_last)
        self._batches = Batches(settings.work, workers * BATCH // STEP_BATCH, SHARES, DROPPED_CAPTIONS)
        self._lines = {kind: read_lines(settings.work, kind) for kind in SHARES}
        self._alphas = alphas_cumprod()

    def loss(self, done: float, generator: torch.Generator) -> Tensor:
        batch = self._batches.draw(generator)
        hints = self._hints(batch, generator).to(self._device)
        unet = Controlled(self._parts.unet, self.networks["controlnet"], hints)
        x0, text = batch.latents.to(self._device), self._parts.text_encoder
        return loss_of(unet, text, x0, batch.tokens, self._alphas, generator)

    def _hints(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """One drawing of each canvas, as it may come. [B, 3, H, W], 0 ... 1"""
        drawings, width = [], batch.latents.shape[-1]
        for index, left in batch.windows:
            sketch = int(torch.randint(SKETCHES, (), generator=generator))
            lines = unpacked(self._lines[batch.kind][index, sketch, :, left : left + width])
            drawings.append(drawn_by_hand(lines, generator).expand(3, -1, -1))
        return torch.stack(drawings)

    def report(self, average: nn.ModuleDict) -> str:
        return ""


def write_controlnet(weights: dict[str, Tensor], path: Path) -> None:
    """The ControlNet's file, in the usual single-file layout."""
    network = make_controlnet(make_unet())
    network.load_state_dict(weights)
    save_controlnet(path, network, {"modelspec.title": "Painted lines for the Tiled Diffusion demo"})
