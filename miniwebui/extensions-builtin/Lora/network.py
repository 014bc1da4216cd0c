"""LoRA files, and what they add to a layer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from modules import errors, hashes, sd_models


class NetworkOnDisk:
    """A file; `alias` is the name that its trainer gave it, `shorthash` the kohya hash of its tensors."""

    def __init__(self, name: str, filename: str) -> None:
        self.name, self.filename = name, filename
        self.metadata: dict = {}
        self.is_safetensors = filename.lower().endswith(".safetensors")
        if self.is_safetensors:
            try:
                self.metadata = sd_models.read_metadata_from_safetensors(filename)
            except Exception as error:
                errors.display(error, f"reading lora {filename}")
        self.alias = self.metadata.get("ss_output_name", name)
        known = self.metadata.get("sshs_model_hash")
        self.hash = known or hashes.sha256(filename, f"lora/{name}", use_addnet_hash=self.is_safetensors)
        self.shorthash = self.hash[:12]


class NetworkModule:
    """One layer's part: `up · (mid ·) down`, times alpha / rank."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        """Raises KeyError if `weights` hold no pair of lora_up.weight and lora_down.weight."""
        self.up, self.down = weights["lora_up.weight"], weights["lora_down.weight"]
        self.mid = weights.get("lora_mid.weight")
        rank = self.down.shape[0]
        self.scale = weights["alpha"].item() / rank if "alpha" in weights else 1.0

    def beside(self, layer: torch.nn.Module, multiplier: float, dyn_dim: int | None) -> _Beside:
        """What is added to the layer's output; `dyn_dim` cuts the rank.

        Raises:
            RuntimeError: the shapes do not fit the layer.
        """
        up, down = (part.to(layer.weight) for part in (self.up[:, :dyn_dim], self.down[:dyn_dim]))
        if isinstance(layer, torch.nn.Linear):
            stages = [(down.flatten(1), {}), (up.flatten(1), {})]
        elif isinstance(layer, torch.nn.Conv2d):
            own = {"stride": layer.stride, "padding": layer.padding}
            down, up = (part if part.ndim == 4 else part[:, :, None, None] for part in (down, up))
            mid = [] if self.mid is None else [(self.mid[:dyn_dim, :dyn_dim].to(layer.weight), own)]
            stages = [(down, {} if mid else own), *mid, (up, {})]
        else:
            raise RuntimeError(f"a {type(layer).__name__} cannot take a LoRA")
        if (stages[0][0].shape[1], stages[-1][0].shape[0]) != (layer.weight.shape[1], layer.weight.shape[0]):
            raise RuntimeError("its shape is another one")
        return _Beside(
            F.linear if isinstance(layer, torch.nn.Linear) else F.conv2d, stages, self.scale * multiplier
        )


class _Beside:
    """A forward hook: the layer's weights stay as they are, to the bit."""

    def __init__(self, operation, stages, factor: float) -> None:
        self._operation, self._stages, self._factor = operation, stages, factor

    def __call__(self, _layer: torch.nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        x = inputs[0]
        for weight, arguments in self._stages:
            x = self._operation(x, weight, **arguments)
        return output + self._factor * x


class Network:
    """A loaded file: its parts by the layer they belong to, and how much of them is wanted."""

    def __init__(self, name: str, network_on_disk: NetworkOnDisk, modules: dict[str, NetworkModule]) -> None:
        self.name = name
        self.network_on_disk = network_on_disk
        self.modules = modules
        self.mentioned_name = name
        self.te_multiplier = self.unet_multiplier = 1.0
        self.dyn_dim: int | None = None

    def multiplier(self, key: str) -> float:
        return self.te_multiplier if key.startswith("lora_te") else self.unet_multiplier
