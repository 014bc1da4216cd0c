"""What is learned on top of a trained checkpoint: the LoRA `snow`, and the embedding `dusk-glow`."""

from __future__ import annotations

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from miniwebui.checkpoint_layout import Components, load_checkpoint
from painted_world.canvases import STAND_IN
from painted_world.denoiser import Batches, alphas_cumprod, loss_of
from painted_world.latents import tokenize
from painted_world.loop import Settings

RANK = 8
FIRST_GUESS = "sunset sun"


class LowRank(nn.Module):
    """What a LoRA (arXiv 2106.09685) adds to one linear layer or 1x1 convolution; alpha equals the rank."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        weight = layer.weight
        assert isinstance(weight, Tensor)
        self.lora_down = nn.Parameter(torch.empty(RANK, weight.shape[1]))
        self.lora_up = nn.Parameter(torch.zeros(weight.shape[0], RANK))
        nn.init.kaiming_uniform_(self.lora_down, a=math.sqrt(5))
        self._is_convolution = weight.ndim == 4

    def forward(self, x: Tensor) -> Tensor:
        if self._is_convolution:
            return F.conv2d(F.conv2d(x, self.lora_down[..., None, None]), self.lora_up[..., None, None])
        return F.linear(F.linear(x, self.lora_down), self.lora_up)


def attach(unet: nn.Module) -> nn.ModuleDict:
    """A LowRank beside every layer of the UNet's transformers, by kohya's name of the layer."""
    beside = nn.ModuleDict()
    for name, layer in unet.named_modules():
        fits = isinstance(layer, nn.Linear) or isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)
        if ".attentions." in name and fits:
            part = LowRank(layer)
            layer.register_forward_hook(lambda _, inputs, out, part=part: out + part(inputs[0]))
            beside[f"lora_unet_{name}".replace(".", "_")] = part
    return beside


def write_lora(beside: nn.ModuleDict, path: Path) -> None:
    """The LoRA's file, with kohya's keys and diffusers' names of the layers."""
    tensors = {}
    for name, part in beside.items():
        is_convolution = part._is_convolution
        for half in ("lora_down", "lora_up"):
            weight = getattr(part, half).detach().cpu().half()
            tensors[f"{name}.{half}.weight"] = weight[..., None, None] if is_convolution else weight
        tensors[f"{name}.alpha"] = torch.tensor(float(RANK))
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"ss_output_name": path.stem, "ss_network_dim": str(RANK), "ss_network_alpha": str(RANK)}
    save_file({key: value.contiguous() for key, value in tensors.items()}, path, metadata)


def write_embedding(vectors: Tensor, path: Path) -> None:
    """The embedding's file, as the WebUI writes and reads it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"emb_params": vectors.detach().cpu().float().contiguous()}, path)


class _OnTop:
    """A frozen checkpoint, and batches of one kind of canvas."""

    networks: nn.ModuleDict

    def __init__(self, settings: Settings, workers: int, kind: str) -> None:
        assert settings.start is not None
        self._parts = frozen(load_checkpoint(settings.start), settings.device)
        self._batches, self._alphas = Batches(settings.work, workers, {kind: 1.0}), alphas_cumprod()
        self._device = settings.device

    def loss(self, done: float, generator: torch.Generator) -> Tensor:
        batch = self._batches.draw(generator)
        parts, x0 = self._parts, batch.latents.to(self._device)
        return loss_of(parts.unet, parts.text_encoder, x0, batch.tokens, self._alphas, generator)

    def report(self, average: nn.ModuleDict) -> str:
        return ""


def frozen(parts: Components, device: str) -> Components:
    """On the device, and not to be trained."""
    for part in (parts.unet, parts.text_encoder):
        part.float().requires_grad_(False).to(device, memory_format=torch.channels_last)
    return parts


class LoraJob(_OnTop):
    def __init__(self, settings: Settings, workers: int) -> None:
        super().__init__(settings, workers, "snow")
        self.networks = attach(self._parts.unet).to(settings.device)


class EmbeddingJob(_OnTop):
    def __init__(self, settings: Settings, workers: int) -> None:
        super().__init__(settings, workers, "glow")
        table = _token_embedding(self._parts.text_encoder)
        self._places = _ids(STAND_IN)
        first = table.weight[_ids(FIRST_GUESS)].detach().clone()
        self.networks = nn.ModuleDict({"embedding": nn.Embedding.from_pretrained(first, freeze=False)})
        self.networks.to(settings.device)
        table.register_forward_hook(self._put)

    def _put(self, _: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor:
        """The learned vectors where the stand-in's words are."""
        for place, vector in zip(self._places, self.networks["embedding"].weight, strict=True):
            out = torch.where((inputs[0] == place)[..., None], vector, out)
        return out


def _ids(words: str) -> list[int]:
    """Token numbers without beginning and end."""
    ids = tokenize([words])[0].tolist()
    return [int(i) for i in ids[1 : ids.index(ids[-1])]]


def _token_embedding(text: nn.Module) -> nn.Embedding:
    return next(
        part for part in text.modules() if isinstance(part, nn.Embedding) and part.num_embeddings > 1000
    )
