"""Words for each tile: places on a picture, each with what is to be seen there, as text, JSON and a client's list."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from tile_utils.prompt_text import AND

MOST = 4096
"""Places of one picture."""
FORM = 'allowed is a list of {"x", "y", "prompt"}, x and y from 0 to 1, or the name of an interrogator'


@dataclass(frozen=True)
class Spot:
    """A place on the picture, in fractions of its sides, and its words: one prompt for all pictures of a batch, or one
    for each."""

    x: float
    y: float
    prompts: tuple[str, ...]

    def prompt(self, picture: int) -> str:
        return self.prompts[picture % len(self.prompts)]


def compact(value: Any) -> str:
    """The text that is kept of what a client or the page says: JSON in one line, an interrogator's name, or nothing.

    Raises:
        ValueError: it is neither; what is allowed.
    """
    if isinstance(value, str):
        text = value.strip()
        if not text.startswith(("[", "{")):
            if len(text.splitlines()) > 1 or len(text) > 60:
                raise ValueError(FORM)
            return text
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(FORM) from error
    return written(_spot(entry) for entry in _entries(value))


def _entries(value: Any) -> Sequence[Any]:
    if not isinstance(value, (list, tuple)):
        raise ValueError(FORM)
    if len(value) > MOST:
        raise ValueError(f"allowed are at most {MOST} tiles")
    return value


def _spot(entry: Any) -> Spot:
    if not isinstance(entry, Mapping) or set(entry) != {"x", "y", "prompt"}:
        raise ValueError(FORM)
    x, y, prompt = entry["x"], entry["y"], entry["prompt"]
    for side in (x, y):
        if (
            isinstance(side, bool)
            or not isinstance(side, (int, float))
            or not isfinite(side)
            or not 0 <= side <= 1
        ):
            raise ValueError(FORM)
    if not isinstance(prompt, str):
        raise ValueError(FORM)
    if AND.search(prompt):
        raise ValueError("it holds AND; allowed is AND in the main prompt only")
    return Spot(float(x), float(y), (prompt,))


def spots(text: str) -> tuple[Spot, ...] | None:
    """The places of a kept text; None where it names an interrogator that is to find them."""
    if not text:
        return ()
    return tuple(_spot(entry) for entry in json.loads(text)) if text.startswith("[") else None


def written(found: Any, picture: int = 0) -> str:
    """Places as the text that is kept, with the words of one picture; nothing where there are none."""
    entries = [
        {"x": round(spot.x, 4), "y": round(spot.y, 4), "prompt": spot.prompt(picture)} for spot in found
    ]
    return json.dumps(entries, ensure_ascii=False) if entries else ""
