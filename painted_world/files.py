"""The files of a training: tensors that are written whole or not at all, and read on any machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from miniwebui.modules.hashes import addnet_hash_safetensors, calculate_sha256


def save(value: Any, path: Path) -> None:
    temporary = path.with_suffix(".part")
    torch.save(value, temporary)
    temporary.replace(path)


def load(path: Path) -> Any:
    """On the CPU, wherever it was saved."""
    return torch.load(path, map_location="cpu", weights_only=True)


def content_hash(path: Path) -> str:
    """Of a safetensors file without its header, whose order differs from one writing to the next; else of all of it."""
    if path.suffix != ".safetensors":
        return calculate_sha256(str(path))
    with path.open("rb") as file:
        return addnet_hash_safetensors(file)
