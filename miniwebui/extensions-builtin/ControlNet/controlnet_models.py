"""Which ControlNet files there are, and the network of one."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path
from typing import Any

import torch

from miniwebui.controlnet_layout import load_controlnet
from modules import sd_models, shared

KEPT = 2
"""Networks that stay loaded."""
ENDINGS = (".pt", ".pth", ".ckpt", ".safetensors", ".bin")
cn_models: dict[str, str | None] = {"None": None}
"""Name with hash -> path."""


class ControlModelType(Enum):
    """The one kind that there is here of those that other programs know by these names."""

    ControlNet = "ControlNet, Lvmin Zhang"
    is_controlnet = property(lambda self: True)


def update_cn_models() -> None:
    """Look again which files there are, subfolders included."""
    cn_models.clear()
    cn_models["None"] = None
    for folder, _, files in sorted(os.walk(shared.cmd_opts.controlnet_dir)):
        for file in sorted(files):
            path, (name, ending) = os.path.join(folder, file), os.path.splitext(file)
            if ending.lower() in ENDINGS:
                cn_models[f"{name} [{sd_models.model_hash(path)}]"] = path


def path_of(model: str) -> str:
    """The file of a name, with or without its hash. Raises ValueError if there is none."""
    for name, path in cn_models.items():
        if path is not None and model.lower() in (name.lower(), name.rpartition(" [")[0].lower()):
            return path
    known = ", ".join(name for name in cn_models if name != "None") or "none"
    raise ValueError(f"ControlNet's model is '{model}'; known are: {known}.")


class PlugableControlModel(torch.nn.Module):
    """A control network as the hook calls it."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.control_model = network

    def forward(self, x, hint, timesteps, context, y=None, **_: Any) -> list[torch.Tensor]:
        """x [B, 4, h, w], hint [1 or B, 3, 8h, 8w], timesteps [B], context [B, tokens, channels].

        -> what to add to each of the UNet's skip connections, and last to its middle.
        """
        down, middle = self.control_model(x, timesteps, context, hint.to(x), return_dict=False)
        return [*down, middle]


class ModelCache:
    """Networks that have been read, for the checkpoint in use."""

    def __init__(self) -> None:
        self._checkpoint, self._networks = "", {}

    def load(self, model: str, sd_model: Any) -> PlugableControlModel:
        """The network of that name. Raises ValueError if there is none, or if it does not fit the checkpoint."""
        if self._checkpoint != sd_model.sd_model_hash:
            self._checkpoint, self._networks = sd_model.sd_model_hash, {}
        path = path_of(model)
        if path not in self._networks:
            while len(self._networks) >= KEPT:
                self._networks.pop(next(iter(self._networks)))
            network = load_controlnet(Path(path), sd_model.model.diffusion_model.unet)
            self._networks[path] = PlugableControlModel(network).to(dtype=sd_model.dtype)
        return self._networks[path]
