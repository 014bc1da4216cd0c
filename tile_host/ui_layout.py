"""The server's part in remembering the last region layout: the page's script keeps it, and sends it after a reload."""

from __future__ import annotations

from typing import Any

import gradio as gr

from tile_utils.infotext import page_values, read_infotext
from tile_utils.settings import TiledDiffusionSettings, argument_places

SWITCHES = ("enable_bbox_control", "draw_background")


def restore_layout(tab: str, max_regions: int, components: list[Any]) -> None:
    """Let the text box that is made here set the regions of `components`, which are in argument order."""
    arguments = argument_places(TiledDiffusionSettings, max_regions)
    places = [
        place for place, (region, spec) in enumerate(arguments) if region is not None or spec.name in SWITCHES
    ]
    kept = gr.Textbox(visible=False, elem_id=f"MD-{tab}-layout")

    def restored(text: str) -> list[Any]:
        reading = read_infotext(TiledDiffusionSettings, text, max_regions)
        values = page_values(TiledDiffusionSettings, reading, tab, max_regions)
        return [gr.update() if values[place] is None else gr.update(value=values[place]) for place in places]

    kept.change(
        fn=restored,
        inputs=[kept],
        outputs=[components[place] for place in places],
        show_progress=False,
        queue=False,
    )
