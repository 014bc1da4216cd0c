"""What in a prompt's text no prompt can mean."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

AND = re.compile(r"\bAND\b")
"""Between the parts of a prompt that are drawn together."""
CLOSED_NUMBER = re.compile(r":\s*([+-]?[.\d]+(?=\s*\))|[+-]?[.\d]+(?:[eE][+-]?\d+)?(?=\s*\]))")
"""When a schedule switches, `[sea:meadow:0.5]`, or how much an emphasis counts, `(sea:1.2)`."""
NETWORK = re.compile(r"<[^<>:]+:([^<>]*)>")
"""The arguments of an extra network, as of `<lora:snow:0.5>`: its name, and numbers by place or by name."""


def unusable(text: str) -> str | None:
    """What nobody could draw with, as the end of a sentence about the prompt; None where there is no such thing."""
    for sign in text:
        if "\ud800" <= sign <= "\udfff":
            return f"holds {ascii(sign)}, which is half of a character; allowed is whole ones."
    number = next(_endless(text), None)
    return None if number is None else f"holds the number {number!r}; allowed are finite ones."


def _endless(text: str) -> Iterator[str]:
    """Numbers that are infinite or none, as they are written."""
    for number in CLOSED_NUMBER.finditer(text):
        if not _is_finite(number[1]):
            yield number[1]
    for arguments in NETWORK.findall(text):
        for argument in arguments.split(":")[1:]:
            if not _is_finite(value := argument.rpartition("=")[2]):
                yield value


def _is_finite(number: str) -> bool:
    """Texts that are no numbers at all do no harm."""
    try:
        return math.isfinite(float(number))
    except ValueError:
        return True
