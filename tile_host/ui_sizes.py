"""Choosing sizes: a line that tells what they mean for the picture to be drawn, and a button that picks them.

The page's script knows which canvas will be drawn (sliders, hires fix, the input's size) and sends it as JSON.
"""

from __future__ import annotations

import html
import json
import logging
from dataclasses import fields, replace
from typing import Any

import gradio as gr

from tile_host import pace
from tile_host.door import host
from tile_methods.stages import Size, Tiles, compose, steps_from, tiles_of_first, tiles_of_stage
from tile_utils import advice
from tile_utils.settings import TiledDiffusionSettings, title_of
from tile_utils.surface import OPT_F

LARGEST_SIDE = 100_000
MOST_PASSES = 2
WAITING = '<p class="md-plan">&nbsp;</p>'


class SizeAdvice:
    """The line and the button of one tab."""

    def __init__(self, tab: str) -> None:
        """Make the line here."""
        self._tab = tab
        self._plan = gr.Textbox(visible=False, elem_id=f"MD-{tab}-plan")
        told = gr.HTML(WAITING, elem_id=f"MD-{tab}-plan-line")
        self._plan.change(fn=told_of, inputs=[self._plan], outputs=[told], show_progress=False, queue=False)

    def button(self, controls: dict[str, Any]) -> None:
        """Make the button here, which sets `controls`, named as the settings."""
        button = gr.Button(
            "Recommend",
            elem_id=f"MD-{self._tab}-recommend",
            size="sm",
            min_width=100,
            tooltip="Tile, overlap, shift and batch that suit the picture's size and the free memory",
        )
        names = ["tile_width", "tile_height", "overlap", "tile_batch_size", "shift_tiles"]
        outputs = [controls[name] for name in names]

        def recommend(text: str) -> list[Any]:
            sizes = _recommended(text)
            return [gr.update() if sizes is None else gr.update(value=getattr(sizes, name)) for name in names]

        button.click(fn=recommend, inputs=[self._plan], outputs=outputs, show_progress=False)


Drawn = list[tuple[advice.Pass, advice.Sizes]]
"""Passes, each with the sizes that it has."""


def _read(text: str) -> tuple[Drawn, advice.Sizes, int]:
    """(passes, the page's sizes, pictures) that the page's script sent.

    Raises:
        ValueError, KeyError, TypeError: something is missing or no number, as while a field is being typed into.
    """
    plan = json.loads(text)
    passes = [
        advice.Pass(
            str(sent["name"]),
            _size(sent["width"]),
            _size(sent["height"]),
            int(sent["steps"]),
            float(sent["denoise"]),
        )
        for sent in plan["passes"][:MOST_PASSES]
    ]
    sizes = {spec.name: plan["sizes"][spec.name] for spec in fields(advice.Sizes)}
    shift, seamless = bool(sizes.pop("shift_tiles")), str(sizes.pop("seamless"))
    numbers = {name: _size(value) for name, value in sizes.items() if name not in ("method", "overlap")}
    overlap = int(sizes["overlap"])
    page = advice.Sizes(
        **numbers, overlap=overlap, method=str(sizes["method"]), shift_tiles=shift, seamless=seamless
    )
    drawn = [(each, page) for each in passes]
    if plan.get("composition") is not None and passes:
        drawn[:1] = _composed(passes[0], page, float(plan["composition"]))
    return drawn, page, int(plan["pictures"])


def _composed(picture: advice.Pass, page: advice.Sizes, strength: float) -> Drawn:
    """The passes of a picture that is composed first."""
    side, multiple = host.facts.native_side(), host.facts.size_multiple() // OPT_F
    if not side:
        return [(picture, page)]
    canvas = Size(max(1, picture.height // OPT_F), max(1, picture.width // OPT_F))
    plan = compose(canvas, side, min(max(strength, 0.0), 1.0), multiple)
    if not plan.stages:
        return [(picture, page)]

    def drawn(
        name: str, size: Size, tiles: Tiles, steps: int, denoise: float
    ) -> tuple[advice.Pass, advice.Sizes]:
        shown = advice.Pass(name, size.width * OPT_F, size.height * OPT_F, steps, denoise)
        return shown, replace(page, **vars(tiles))

    first = drawn("First picture", plan.first, tiles_of_first(plan.first, side), picture.steps, 1.0)
    stages = [
        drawn(
            f"Stage {number} of {len(plan.stages)}",
            stage.size,
            tiles_of_stage(stage.size, Tiles.of(page), multiple),
            steps_from(stage.sigma, picture.steps),
            advice.LOW_DENOISE,
        )
        for number, stage in enumerate(plan.stages, 1)
    ]
    return [first, *stages]


def _size(value: Any) -> int:
    number = int(value)
    if not 0 < number <= LARGEST_SIDE:
        raise ValueError(f"{number} is no size")
    return number


def told_of(text: str) -> str:
    """The line, as HTML, for a plan as JSON; empty while a field is not yet a number."""
    try:
        own, _, pictures = _read(text)
    except (ValueError, KeyError, TypeError):
        return WAITING
    native = host.facts.native_side()
    lines = [advice.describe(drawn, its, pictures, pace.last()) for drawn, its in own]
    poor = dict.fromkeys(sentence for drawn, its in own for sentence in advice.warnings(drawn, its, native))
    lines += [f"⚠ {sentence}" for sentence in poor]
    return f'<p class="md-plan">{"<br>".join(html.escape(line, quote=False) for line in lines)}</p>'


def _recommended(text: str) -> advice.Sizes | None:
    try:
        own, page, _ = _read(text)
    except (ValueError, KeyError, TypeError):
        gr.Warning("Tiled Diffusion: the size of the picture is not known yet.")
        return None
    free = host.facts.free_memory()
    cost = host.facts.bytes_per_number() / 2
    chosen = advice.recommend([drawn for drawn, _ in own], page.method, host.facts.native_side(), free, cost)
    sentence = advice.explain(chosen, free)
    logging.getLogger(title_of(TiledDiffusionSettings)).info("%s", sentence)
    gr.Info(sentence)
    return chosen
