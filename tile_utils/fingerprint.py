"""One short text for many values: equal when all of them are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def fingerprint(*values: Any) -> str:
    """Of tensors by their content, of dicts, lists and tuples by what they hold, of the rest by their `repr`."""
    digest = hashlib.sha256()
    _feed(digest, values)
    return digest.hexdigest()


def _feed(digest: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        _feed(digest, (tuple(value.shape), str(value.dtype)))
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    elif isinstance(value, Mapping):
        _feed(digest, list(value.items()))
    elif isinstance(value, (list, tuple)):
        digest.update(f"{len(value)}[".encode())
        for item in value:
            _feed(digest, item)
    else:
        text = repr(value).encode()
        digest.update(f"{len(text)}:".encode() + text)
