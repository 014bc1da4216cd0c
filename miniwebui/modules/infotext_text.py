"""Quoting of a parameter's value, and the expression that finds parameters again."""

from __future__ import annotations

import json
import re
from typing import Any

_KEY = r"(?<![-\w/ ])[-/ ]*(\w[-\w/ ]+):"
"""A name begins only where none of its characters stands before it: each of a text's places is looked at once. Found is
what the WebUI's own expression finds, which begins anew at every character of a long word."""
_QUOTED = r'"(?:[^"\\]|\\.)+"'
re_param_code = rf"{_KEY}\s*({_QUOTED}|[^,]*)(?:$|,)"
re_param = re.compile(re_param_code)
re_imagesize = re.compile(r"([0-9]+)x([0-9]+)\Z")


def quote(text: Any) -> Any:
    """As JSON when the text would end a parameter early."""
    ends_early = any(character in str(text) for character in ",:\n")
    return json.dumps(text, ensure_ascii=False) if ends_early else text


def unquote(text: str) -> str:
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
