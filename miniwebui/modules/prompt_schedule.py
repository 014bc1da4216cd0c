"""Prompt editing: `[from:to:when]`, `[to:when]`, `[from::when]` and `[a|b]`, parsed and resolved per step.

What a prompt may hold is the WebUI's:

- `[from:to:when]` and `[to:when]`, where `when` is a number with spaces around it or none;
- `[one|another|…]`, two or more;
- emphasis: `(text)`, `(text:weight)` and `[text]`, whose weight is left to the emphasis parser;
- plain text: anything but `\\[]():|`, each of which a backslash makes plain.

They nest. Outside of all of them a bracket or colon without its partner is text.
"""

import re
from dataclasses import dataclass, field

_PLAIN = re.compile(r"(?:[^\\\[\]():|]|\\.)+")
_WHEN = re.compile(r"\s*([+-]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?)\s*\]")


class PromptSyntaxError(ValueError):
    """The prompt does not follow the grammar; it is then used as it stands."""


@dataclass
class Scheduled:
    """Text that changes at a step; `when` is the number as written (a point in it means a fraction)."""

    before: list
    after: list
    when: str
    step: int = 0


@dataclass
class Alternate:
    """Text that takes the next option at every step."""

    options: list = field(default_factory=list)


def _parse_prompt(text: str, position: int) -> tuple[list, int]:
    nodes: list = []
    while (found := _parse_element(text, position)) is not None:
        node, position = found
        nodes.append(node)
    return nodes, position


def _parse_element(text: str, position: int) -> tuple[object, int] | None:
    """The element that starts here and the position after it, or None."""
    if position >= len(text):
        return None
    if text[position] == "(":
        return _parse_round(text, position)
    if text[position] == "[":
        return _parse_square(text, position)
    match = _PLAIN.match(text, position)
    return (match.group(), match.end()) if match else None


def _parse_round(text: str, start: int) -> tuple[list, int] | None:
    content, position = _parse_prompt(text, start + 1)
    nodes = ["(", content]
    if text[position : position + 1] == ":":
        weight, position = _parse_prompt(text, position + 1)
        nodes += [":", weight]
    return ([*nodes, ")"], position + 1) if text[position : position + 1] == ")" else None


def _parse_square(text: str, start: int) -> tuple[object, int] | None:
    first, position = _parse_prompt(text, start + 1)
    delimiter = text[position : position + 1]
    if delimiter == "]":
        return ["[", first, "]"], position + 1
    if delimiter == "|":
        return _parse_alternate(text, position, first)
    if delimiter != ":":
        return None
    if match := _WHEN.match(text, position + 1):
        return Scheduled([], first, match.group(1)), match.end()
    second, position = _parse_prompt(text, position + 1)
    if text[position : position + 1] == ":" and (match := _WHEN.match(text, position + 1)):
        return Scheduled(first, second, match.group(1)), match.end()
    return None


def _parse_alternate(text: str, position: int, first: list) -> tuple[Alternate, int] | None:
    options = [first]
    while text[position : position + 1] == "|":
        option, position = _parse_prompt(text, position + 1)
        options.append(option)
    return (Alternate(options), position + 1) if text[position : position + 1] == "]" else None


def parse(text: str) -> list:
    """A prompt as a tree of str, list, Scheduled and Alternate. Raises PromptSyntaxError."""
    nodes: list = []
    position = 0
    while position < len(text):
        found = _parse_element(text, position)
        if found is None and text[position] in "[]():":
            found = text[position], position + 1
        if found is None:
            raise PromptSyntaxError(
                f"Cannot read the prompt at character {position + 1}: {text[position:]!r}"
            )
        node, position = found
        nodes.append(node)
    return nodes


@dataclass(frozen=True)
class Timeline:
    """How the number of `[a:b:when]` becomes a step of this pass."""

    steps: int
    whole_offset: int = 0
    fraction_offset: float = 0.0
    old_scheduling: bool = False

    def step_of(self, when: str) -> int:
        value = float(when)
        if self.old_scheduling:
            value = value * self.steps if value < 1 else value
        elif "." in when:
            value = (value - self.fraction_offset) * self.steps
        else:
            value -= self.whole_offset
        return int(max(0, min(self.steps, value)))  # what is written may be larger than any whole number


def resolve_steps(node, timeline: Timeline) -> set[int]:
    """Fill in every `Scheduled.step` below node; returns the steps at which the text may change."""
    if isinstance(node, str):
        return set()
    if isinstance(node, Scheduled):
        node.step = timeline.step_of(node.when)
        own = {node.step} if node.step >= 1 else set()
        return own | resolve_steps(node.before, timeline) | resolve_steps(node.after, timeline)
    if isinstance(node, Alternate):
        return set(range(1, timeline.steps + 1)).union(*(resolve_steps(o, timeline) for o in node.options))
    return set().union(*(resolve_steps(child, timeline) for child in node))


def text_at(node, step: int) -> str:
    """The text of a resolved tree at a step, counted from 1."""
    if isinstance(node, str):
        return node
    if isinstance(node, Scheduled):
        return text_at(node.before if step <= node.step else node.after, step)
    if isinstance(node, Alternate):
        return text_at(node.options[(step - 1) % len(node.options)], step)
    return "".join(text_at(child, step) for child in node)


def schedule(prompt: str, timeline: Timeline) -> list[list]:
    """[[last step, text], …] of a prompt; a prompt that cannot be parsed stays as it is."""
    try:
        tree = parse(prompt)
        ends = sorted({timeline.steps} | resolve_steps(tree, timeline))
        return [[end, text_at(tree, end)] for end in ends]
    except (PromptSyntaxError, RecursionError):  # brackets can be nested deeper than functions
        return [[timeline.steps, prompt]]
