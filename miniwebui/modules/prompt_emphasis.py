"""`(more:1.2)`, `[less]` and BREAK in prompts: text with weights."""

import re

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
re_break = re.compile(r"\s*\bBREAK\b\s*")


def _append_text(pieces: list[list], text: str) -> None:
    first, *others = re_break.split(text)
    pieces.append([first, 1.0])
    for other in others:
        pieces.append(list(BREAK_MARK))
        pieces.append([other, 1.0])


def _multiply(pieces: list[list], start: int, factor: float) -> None:
    for piece in pieces[start:]:
        piece[1] *= factor


def _merge_runs(pieces: list[list]) -> list[list]:
    """Join neighbours of the same weight."""
    merged = [pieces[0]]
    for text, weight in pieces[1:]:
        if weight == merged[-1][1]:
            merged[-1][0] += text
        else:
            merged.append([text, weight])
    return merged


def parse_prompt_attention(text: str) -> list[list]:
    r"""A prompt -> [[text, weight], …].

    (sea) weighs 1.1, (sea:1.5) weighs 1.5, [sea] weighs 1/1.1, and what is nested multiplies. After a backslash a
    bracket or backslash is a character like any other; an open bracket that is never closed works to the end.
    BREAK comes out as ['BREAK', −1].
    """
    pieces: list[list] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}
    for match in _TOKEN.finditer(text):
        token, weight = match.group(), match["weight"]
        if token.startswith("\\"):
            pieces.append([match["literal"], 1.0])
        elif match["open"]:
            opened[token].append(len(pieces))
        elif weight is not None and opened["("]:
            _multiply(pieces, opened["("].pop(), float(weight))
        elif token == ")" and opened["("]:
            _multiply(pieces, opened["("].pop(), ROUND_FACTOR)
        elif token == "]" and opened["["]:
            _multiply(pieces, opened["["].pop(), SQUARE_FACTOR)
        else:
            _append_text(pieces, token)

    for start in opened["("]:
        _multiply(pieces, start, ROUND_FACTOR)
    for start in opened["["]:
        _multiply(pieces, start, SQUARE_FACTOR)
    return _merge_runs(pieces or [["", 1.0]])
