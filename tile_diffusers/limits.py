"""What a call may hold that tiles would draw wrong: refused in a sentence, or put into a form that is cut."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tile_utils.conditions import scale_on
from tile_utils.settings import SettingsError
from tile_utils.surface import Surface

WHOLE = {
    "down_intrablock_additional_residuals": "a T2I adapter's features",
    "down_block_additional_residuals": "features from outside the pipeline's own control network",
    "block_controlnet_hidden_states": "a control network's features",
}
"""Arguments of a denoiser that belong to the whole canvas and are not cut."""


def checked(cond: dict[str, Any], surface: Surface) -> dict[str, Any]:
    """A call's condition in a form that can be cut.

    Raises:
        SettingsError: it holds what belongs to the whole picture.
    """
    for name, words in WHOLE.items():
        if cond.get(name) is not None:
            raise SettingsError(
                f"tiled_diffusion: the pipeline gives its denoiser {words} ('{name}') for the whole picture, which "
                "are not cut for tiles; draw without them, or without tiles."
            )
    attention = cond.get("cross_attention_kwargs") or {}
    if attention.get("gligen") is not None:
        raise SettingsError(
            "tiled_diffusion: GLIGEN's boxes are of the whole picture; use regions in their place."
        )
    if attention.get("ip_adapter_masks") is None:
        return cond
    return {**cond, "cross_attention_kwargs": {**attention, "ip_adapter_masks": _masks(attention, surface)}}


def _masks(attention: dict[str, Any], surface: Surface) -> list[Tensor]:
    """IP-Adapter's masks, one tensor [1, pictures, height, width] an adapter."""
    masks = attention["ip_adapter_masks"]
    masks = list(masks.unsqueeze(1)) if isinstance(masks, Tensor) else list(masks)
    for mask in masks:
        if mask is not None and not scale_on(surface, mask):
            size = "x".join(map(str, mask.shape[:-3:-1]))
            raise SettingsError(
                f"tiled_diffusion: an IP-Adapter mask is {size} pixels; allowed is the picture's own size "
                "(IPAdapterMaskProcessor.preprocess takes height and width)."
            )
    return masks
