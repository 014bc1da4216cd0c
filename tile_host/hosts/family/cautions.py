"""What else is switched on and does not go together with tiles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from modules import shared
from tile_host.hosts import controlnet

LLLITE = (
    "ControlNet-LLLite is on: its whole picture is fitted into every tile; allowed are other control models."
)
HYPERTILE = (
    "Hypertile is on: it scrambles tiles and regions of another aspect ratio than the picture's; switch it off, "
    "or give tiles the picture's aspect ratio."
)


def warnings(p: Any, same_aspect: bool) -> Iterator[str]:
    if controlnet.is_uncut(p):
        yield LLLITE
    if _hypertiled(p) and not same_aspect:
        yield HYPERTILE


def _hypertiled(p: Any) -> bool:
    names = ["hypertile_enable_unet"]
    if getattr(p, "is_hr_pass", False):
        names.append("hypertile_enable_unet_secondpass")
    return any(getattr(shared.opts, name, False) for name in names)
