"""What `torch.compile` must not look into, while it goes on compiling what is called from there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch

F = TypeVar("F", bound=Callable[..., Any])


def eager(function: F) -> F:
    """The function, run as Python: a denoiser that is compiled in place would trace what stands around it."""
    return cast(F, torch.compiler.disable(function, recursive=False))
