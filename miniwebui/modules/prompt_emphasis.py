"""`(more:1.2)`, `[less]` and BREAK in prompts: text with weights."""

import itertools
import re

import numpy as np

ROUND_FACTOR = 1.1
SQUARE_FACTOR = 1 / 1.1
BREAK_MARK = ("BREAK", -1)

_TOKEN = re.compile(
    r"""
    \\(?P<literal>[()\[\]\\]?)                     # an escaped bracket or backslash, or a lone backslash
  | (?P<open>[(\[])
  | :\s*(?P<weight>[+-]?[.\d]+)\s*\)               # the end of "(text:1.2)"
  | (?P<close>[)\]])
  | (?P<text>[^\\()\[\]:]+|:)
    """,
    re.VERBOSE,
)
re_break = re.compile(r"\bBREAK\b")


def _number(weight: str) -> float:
    try:
        return float(weight)
    except ValueError as error:
        raise ValueError(f"A weight in the prompt is '{weight}'; allowed is a number such as 1.2.") from error


class _Pieces:
    """Texts, and their weights in one array: a bracket around many of them takes one multiplication."""

    def __init__(self, longest: int) -> None:
        self.texts: list[str] = []
        self._weights = np.ones(longest)

    def append(self, text: str, weight: float = 1.0) -> None:
        self._weights[len(self.texts)] = weight
        self.texts.append(text)

    def append_words(self, text: str) -> None:
        """Text in which BREAK is a piece of its own."""
        parts = re_break.split(text)
        for number, part in enumerate(parts):
            if number:
                self.append(*BREAK_MARK)
                part = part.lstrip()
            self.append(part.rstrip() if number < len(parts) - 1 else part)

    def multiply(self, start: int, factor: float) -> None:
        with np.errstate(over="ignore"):  # nested deep enough, a weight is infinite
            self._weights[start : len(self.texts)] *= factor

    def merged(self) -> list[list]:
        """[[text, weight], …], neighbours of the same weight joined."""
        weighted = zip(self.texts, self._weights.tolist())
        runs = itertools.groupby(weighted, key=lambda piece: piece[1])
        return [["".join(text for text, _ in run), weight] for weight, run in runs]


def parse_prompt_attention(text: str) -> list[list]:
    r"""A prompt -> [[text, weight], …].

    (sea) weighs 1.1, (sea:1.5) weighs 1.5, [sea] weighs 1/1.1, and what is nested multiplies. After a backslash a
    bracket or backslash is a character like any other; an open bracket that is never closed works to the end.
    BREAK comes out as ['BREAK', −1]. Raises ValueError for a weight that is no number, such as 1.2.3.
    """
    pieces = _Pieces(len(text) + 1)  # no character makes more than one piece
    opened: dict[str, list[int]] = {"(": [], "[": []}
    for match in _TOKEN.finditer(text):
        token, weight = match.group(), match["weight"]
        if token.startswith("\\"):
            pieces.append(match["literal"])
        elif match["open"]:
            opened[token].append(len(pieces.texts))
        elif weight is not None and opened["("]:
            pieces.multiply(opened["("].pop(), _number(weight))
        elif token == ")" and opened["("]:
            pieces.multiply(opened["("].pop(), ROUND_FACTOR)
        elif token == "]" and opened["["]:
            pieces.multiply(opened["["].pop(), SQUARE_FACTOR)
        else:
            pieces.append_words(token)

    for start in opened["("]:
        pieces.multiply(start, ROUND_FACTOR)
    for start in opened["["]:
        pieces.multiply(start, SQUARE_FACTOR)
    return pieces.merged() or [["", 1.0]]
