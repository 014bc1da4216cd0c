"""What is written into the picture, and reading it back: as much of it as there is.

Ours is a JSON string, which the host's parser hands back unharmed. The original extension writes a Python
dict, which the host's parser cuts at its first comma.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, replace
from typing import Any

from tile_utils.exchange import to_dict, to_json
from tile_utils.settings import (
    RegionSettings,
    SettingsError,
    TiledDiffusionSettings,
    argument_places,
    checked,
    control_fields,
    control_of,
    default_for,
    region_label,
    shortened,
    title_of,
)

LATEST_CUTS = 64
"""How many places near the end of a broken text are tried as its end."""
MOST_READ = 1_000_000
"""Characters that all these tries may read together, at least one: of a text of megabytes few are tried."""
DEEPEST = 8
_ORIGINAL_NAMES = {
    "tile tile width": "tile_width",
    "tile width": "tile_width",
    "tile tile height": "tile_height",
    "tile height": "tile_height",
    "tile overlap": "overlap",
    "tile batch size": "tile_batch_size",
    "upscale factor": "scale_factor",
    "keep input size": "keep_input_size",
    "noiseinv": "noise_inverse",
    "noiseinv steps": "noise_inverse_steps",
    "noiseinv retouch": "noise_inverse_retouch",
    "noiseinv renoise strength": "noise_inverse_renoise_strength",
    "noiseinv kernel size": "noise_inverse_renoise_kernel",
    "noiseinv renoise kernel size": "noise_inverse_renoise_kernel",
    "region control": "regions",
}
"""Names in pictures of the original that are neither our names nor our labels, in lower case."""


@dataclass(frozen=True)
class Reading:
    """What a picture's text says about the controls of one script.

    Attributes:
        values: by setting's name; `regions` is a list of dicts of the same kind, with a place for each region.
        whole: nothing was cut off: what is not named had its default.
        problems: what could not be read, each as part of a sentence.
    """

    values: dict[str, Any]
    whole: bool
    problems: tuple[str, ...] = ()


def to_infotext(settings: Any) -> str:
    """The value written into the picture."""
    return to_json({"enabled": settings.enabled} | to_dict(settings))


def read_infotext(cls: type, text: str, max_regions: int = 0) -> Reading:
    """Whatever the text still tells, of this version, a later one, or the original; never raises."""
    found, whole = _decode(text)
    problems = [] if whole else ["the text ends too early"]
    if not found and not whole:
        return Reading({}, False, ("it cannot be read",))
    values, unread = _known(cls, found)
    problems += unread
    regions = values.pop("regions", None)
    if regions is not None:
        values["regions"], unread = _regions(regions, max_regions)
        if isinstance(regions, Mapping):  # the original, which writes no switch
            values.setdefault("enable_bbox_control", bool(values["regions"]))
        problems += unread
    return Reading({"enabled": True} | values, whole, tuple(problems))


def read_params(cls: type, params: Mapping[str, Any], max_regions: int = 0) -> Reading | None:
    """The same from what the host's parser made of a picture's whole text; None where the script had no part in it.

    The original also writes entries of their own, such as `Tiled Diffusion upscaler`.
    """
    key = title_of(cls)
    beside = {name[len(key) + 1 :]: value for name, value in params.items() if name.startswith(f"{key} ")}
    values, _ = _known(cls, beside)
    if key not in params:
        return Reading({"enabled": True} | values, False) if values else None
    reading = read_infotext(cls, str(params[key]), max_regions)
    return replace(reading, values=values | reading.values)


def from_page(text: str, key: str) -> str | None:
    """The value of `key` in the last line of a picture's whole text, from its bracket to the end of the line.

    For the original's dicts, of which the host's parser keeps no more than the first entry.
    """
    last = text.strip().rpartition("\n")[2]
    places = list(re.finditer(rf"(?:^|, ){re.escape(key)}: (?=\{{)", last))
    if not places:
        return None
    rest = last[places[-1].end() :]
    return next((rest[:end] for end, open_brackets in _ends(rest) if not open_brackets), rest)


def _decode(text: str) -> tuple[dict[str, Any], bool]:
    """The mapping that a text holds, and whether it is all there."""
    for _ in range(2):  # a string within a string, where the host did not unquote it
        value = _parse(text)
        if not isinstance(value, str):
            break
        text = value
    if isinstance(value, dict):
        return value, True
    if text.startswith('"'):
        closed = _parse(text.rstrip("\\") + '"')
        text = closed if isinstance(closed, str) else text
    cuts = min(LATEST_CUTS, MOST_READ // (len(text) + 1)) + 1
    for end, brackets in list(_ends(text))[: -cuts - 1 : -1]:
        closed = _parse(text[:end] + brackets)
        if isinstance(closed, dict):
            return closed, False
    return {}, False


def _parse(text: str) -> Any:
    """JSON or a Python literal; None for anything else."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.literal_eval(text.strip())
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None


def _ends(text: str) -> Iterator[tuple[int, str]]:
    """Places where a value has just ended, each with the brackets that would close the text there.

    Stops where brackets are nested deeper than any settings are.
    """
    closers: list[str] = []
    quote, escaped = "", False
    for place, sign in enumerate(text):
        if quote:
            if escaped:
                escaped = False
            elif sign == "\\":
                escaped = True
            elif sign == quote:
                quote = ""
                yield place + 1, "".join(reversed(closers))
        elif sign in "\"'":
            quote = sign
        elif sign in "{[":
            if len(closers) == DEEPEST:
                return
            closers.append("}" if sign == "{" else "]")
            yield place + 1, "".join(reversed(closers))
        elif sign in "}]" and closers:
            closers.pop()
            yield place + 1, "".join(reversed(closers))
        elif sign == ",":
            yield place, "".join(reversed(closers))


def _known(cls: type, found: Mapping[Any, Any]) -> tuple[dict[str, Any], list[str]]:
    """The entries that are settings of `cls`, by their names in it, and what is wrong with the others."""
    specs = {spec.name: spec for spec in control_fields(cls)}
    names = {control_of(spec).label.lower(): name for name, spec in specs.items()}
    names |= _ORIGINAL_NAMES | {"regions": "regions"} if cls is TiledDiffusionSettings else {}
    names |= {name: name for name in specs}
    values: dict[str, Any] = {}
    problems = []
    for key, value in found.items():
        name = names.get(key.lower(), "") if isinstance(key, str) else ""
        if name == "regions":
            values[name] = value
        elif name not in specs:
            problems.append(f"{shortened(key)} is not known here")
        else:
            try:
                values[name] = checked(specs[name], _retyped(value, specs[name].default))
            except SettingsError as error:
                problems.append(str(error).rstrip("."))
    return values, problems


def _retyped(value: Any, default: Any) -> Any:
    """Numbers and truth values that someone wrote as text."""
    if not isinstance(value, str) or isinstance(default, str):
        return value
    if isinstance(default, bool):
        return {"true": True, "false": False}.get(value.lower(), value)
    try:
        return float(value)
    except ValueError:
        return value


def _regions(found: Any, max_regions: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Our list, or the original's object whose keys end in the regions' numbers."""
    placed, problems = _placed(found), []
    regions: list[dict[str, Any]] = []
    for index, entry in placed:
        if not 0 <= index < max_regions:
            problems.append(f"{region_label(index)} has no place: this page has {max_regions}")
        elif not isinstance(entry, Mapping):
            problems.append(f"{region_label(index)} is {shortened(entry)}")
        else:
            regions += [{} for _ in range(index + 1 - len(regions))]
            regions[index], unread = _known(RegionSettings, entry)
            problems += [f"{region_label(index)}: {problem}" for problem in unread]
    return regions, problems


def _placed(found: Any) -> list[tuple[int, Any]]:
    """(index from 0, entry) of every region."""
    if not isinstance(found, Mapping):
        return list(enumerate(found if isinstance(found, list) else [found]))
    placed = []
    for order, (key, entry) in enumerate(found.items(), 1):
        number = re.search(r"(\d{1,9})$", key) if isinstance(key, str) else None
        named = {"enable": True} | dict(entry) if isinstance(entry, Mapping) else entry
        placed.append((int(number[1] if number else order) - 1, named))
    return placed


def page_values(cls: type, reading: Reading, tab: str, max_regions: int = 0) -> list[Any]:
    """What a tab's controls are set to, in argument order; None: left as it is.

    Controls that the tab does not show start afresh: nobody could see or change what they were set to.
    """
    found = reading.values

    regions = [*found.get("regions", []), *[{}] * max_regions]

    def value(region: int | None, spec: Field[Any]) -> Any:
        if tab not in control_of(spec).tabs:
            return default_for(spec, tab)
        values = found if region is None else regions[region]
        known = reading.whole or (region is not None and "regions" in found)
        return values.get(spec.name, spec.default if known else None)

    return [value(region, spec) for region, spec in argument_places(cls, max_regions)]


def limited(cls: type, reading: Reading, name: str, choices: Sequence[str]) -> Reading:
    """`reading` without the value of a setting for which this host has no such choice."""
    value = reading.values.get(name)
    if value is None or value in choices:
        return reading
    label = next(control_of(spec).label for spec in control_fields(cls) if spec.name == name)
    problem = f"'{label}' is {shortened(value)}, which is not there"
    rest = {other: found for other, found in reading.values.items() if other != name}
    return replace(reading, values=rest, problems=(*reading.problems, problem))


def warning(cls: type, reading: Reading) -> str | None:
    """One sentence that names what could not be restored."""
    if not reading.problems:
        return None
    rest = " The rest is restored." if reading.values else ""
    return f"{title_of(cls)}: the picture's settings: {'; '.join(reading.problems)}.{rest}"
