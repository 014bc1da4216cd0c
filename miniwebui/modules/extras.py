"""What stands inside a picture, for the PNG Info tab."""

from __future__ import annotations

import html
from typing import Any

from modules import images, ui_common


def run_pnginfo(image: Any) -> tuple[str, str, str]:
    """-> (nothing, the generation parameters, every text entry as HTML)."""
    if image is None:
        return "", "", ""
    geninfo, items = images.read_info_from_image(image)
    entries = {**({"parameters": geninfo} if geninfo is not None else {}), **items}
    shown = "".join(
        f"<div class='infotext'><p><b>{html.escape(str(key))}</b></p>{ui_common.plaintext_to_html(str(text))}</div>"
        for key, text in entries.items()
    )
    return "", geninfo or "", shown or "<div><p>This picture holds no text.</p></div>"
