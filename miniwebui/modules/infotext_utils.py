"""The text inside pictures: quoting, and parsing it back by the real WebUI's rule."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

_PARAMETER = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
_SIZE = re.compile(r"^(\d+)x(\d+)$")


def quote(text: Any) -> str:
    """As JSON when the text would end a parameter early."""
    text = str(text)
    if "," not in text and "\n" not in text and ":" not in text:
        return text
    return json.dumps(text, ensure_ascii=False)


def unquote(text: str) -> str:
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


class PasteField(tuple):
    """A component, what fills it (an infotext key or a function of the parameters), and its API name."""

    def __new__(cls, component: Any, target: str | Callable, *, api: str | None = None) -> PasteField:
        return super().__new__(cls, (component, target))

    def __init__(self, component: Any, target: str | Callable, *, api: str | None = None) -> None:
        self.api = api
        self.component = component
        self.label = target if isinstance(target, str) else None
        self.function = target if callable(target) else None


def parse_generation_parameters(x: str, skip_fields: list[str] | None = None) -> dict[str, Any]:
    """Prompt, negative prompt and every `Key: value` of the last line; a size also as Key-1 and Key-2."""
    *lines, last = x.strip().split("\n")
    if len(_PARAMETER.findall(last)) < 3:
        lines.append(last)
        last = ""
    prompt, negative, in_negative = "", "", False
    for line in lines:
        line = line.strip()
        if line.startswith("Negative prompt:"):
            in_negative, line = True, line[len("Negative prompt:") :].strip()
        if in_negative:
            negative += ("\n" if negative else "") + line
        else:
            prompt += ("\n" if prompt else "") + line
    found: dict[str, Any] = {"Prompt": prompt, "Negative prompt": negative}
    for key, value in _PARAMETER.findall(last):
        value = unquote(value)
        if size := _SIZE.match(value):
            found[f"{key}-1"], found[f"{key}-2"] = size.groups()
        else:
            found[key] = value
    return {key: value for key, value in found.items() if key not in (skip_fields or ())}
