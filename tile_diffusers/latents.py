"""What a denoiser is given and gives, of whichever form, as a canvas [B, C, H, W] and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from tile_diffusers import tokens
from tile_utils.settings import SettingsError
from tile_utils.surface import Surface, Window

PACKED = ("hidden_states", "img_ids")
"""What a denoiser of packed tokens is given its latents by."""


class Latents(Protocol):
    """One call's latents: `x` [B, C, H, W], on `surface`; what else the call is told is in `cond`."""

    x: Tensor
    surface: Surface
    cond: dict[str, Any]

    def arguments(self, x: Tensor, window: Window) -> dict[str, Any]:
        """How the network is given patches of `window`'s size, [N, C, h, w]."""

    def prediction(self, output: Tensor, window: Window) -> Tensor:
        """What it predicts of them. [N, C', h, w]"""

    def output(self, canvas: Tensor) -> Tensor:
        """The canvas as the network would have given it."""


class Spatial:
    """[B, C, H, W]: Stable Diffusion 1 to 3 and most others."""

    def __init__(self, call: Mapping[str, Any], name: str) -> None:
        self._name = name
        self.cond = {key: value for key, value in call.items() if key != name}
        self.x: Tensor = call[name]
        self.surface = Surface(*self.x.shape[-2:])

    def arguments(self, x: Tensor, window: Window) -> dict[str, Any]:
        return {self._name: x}

    def prediction(self, output: Tensor, window: Window) -> Tensor:
        return output

    def output(self, canvas: Tensor) -> Tensor:
        return canvas


class Packed:
    """[B, tokens, C] with position ids: Flux. Tokens of reference pictures belong to every patch.

    Raises:
        SettingsError: the ids are no rectangle, or another argument counts the tokens and cannot be cut.
    """

    def __init__(self, call: Mapping[str, Any]) -> None:
        self.cond = {key: value for key, value in call.items() if key not in (*PACKED, "txt_ids")}
        latents, ids = call["hidden_states"], call["img_ids"]
        self._text_ids = call.get("txt_ids")
        self._each_row = ids.ndim == 3
        self._ids = ids[0] if self._each_row else ids
        surface = tokens.surface_of(self._ids)
        if surface is None:
            raise SettingsError(
                "tiled_diffusion: this pipeline's tokens are no rectangle by their position ids."
            )
        self.surface = surface
        own = surface.height * surface.width
        self.x = tokens.unpacked(latents, surface.height, surface.width)
        self._others, self._other_ids = latents[:, own:], self._ids[own:]
        self._check(latents.shape[1])

    def _check(self, count: int) -> None:
        for name, value in self.cond.items():
            parts = value if isinstance(value, (list, tuple)) else [value]
            each = any(isinstance(part, Tensor) and part.shape[1:-1] == (count,) for part in parts)
            if (each and name != "encoder_hidden_states") or (name == "attention_mask" and value is not None):
                raise SettingsError(
                    f"tiled_diffusion: '{name}' has a value for every token of the picture, which is not cut for "
                    "tiles; draw without it, or without tiles."
                )

    def arguments(self, x: Tensor, window: Window) -> dict[str, Any]:
        """Positions count from the tile's own corner: the network knows no others."""
        count = len(x)
        corner = self._ids[: self.surface.height * self.surface.width]
        ids = corner.unflatten(0, (self.surface.height, self.surface.width))[: window.h, : window.w]
        ids = torch.cat([ids.flatten(0, 1), self._other_ids])
        told = {"hidden_states": tokens.packed(x), "img_ids": self._per_row(ids, count)}
        if self._others.shape[1]:
            others = self._others.repeat_interleave(count // len(self._others), dim=0)
            told["hidden_states"] = torch.cat([told["hidden_states"], others], dim=1)
        if self._text_ids is not None:
            text = self._text_ids[0] if self._text_ids.ndim == 3 else self._text_ids
            told["txt_ids"] = text.expand(count, *text.shape) if self._text_ids.ndim == 3 else text
        return told

    def _per_row(self, ids: Tensor, count: int) -> Tensor:
        return ids.expand(count, *ids.shape) if self._each_row else ids

    def prediction(self, output: Tensor, window: Window) -> Tensor:
        return tokens.unpacked(output, window.h, window.w)

    def output(self, canvas: Tensor) -> Tensor:
        """What is said of others' tokens is of no use to a pipeline, which takes the picture's; they are zeros."""
        out = tokens.packed(canvas)
        return torch.cat([out, out.new_zeros(len(out), self._others.shape[1], out.shape[2])], dim=1)


def latents_of(call: Mapping[str, Any]) -> Latents:
    """The latents of a call of a denoiser, by their shape.

    Raises:
        SettingsError: they are neither spatial nor packed tokens with position ids.
    """
    name = next((name for name in ("sample", "hidden_states") if isinstance(call.get(name), Tensor)), None)
    if name is not None:
        x = call[name]
        if x.ndim == 4:
            return Spatial(call, name)
        if x.ndim == 3 and isinstance(call.get("img_ids"), Tensor):
            return Packed(call)
        shape = "x".join(map(str, x.shape))
    else:
        shape = "none"
    raise SettingsError(
        f"tiled_diffusion: this pipeline's latents have the shape {shape}; allowed are pictures [rows, channels, "
        "height, width], or packed tokens [rows, tokens, channels] with position ids."
    )
