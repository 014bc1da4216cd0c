"""The words of the painted world: what a scene can hold, and how a person might ask for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from painted_world.painter.canvas import SIZE, Colour, Rng

GROUNDS = ("sea", "meadow", "desert", "forest", "mountains", "city skyline")
TIMES = ("day", "sunset", "night")
WEATHERS = ("clear", "clouds", "fog")
STYLES = ("", "painting", "pixel art", "line drawing")
COLOURS: dict[str, Colour] = {
    "red": (214, 34, 38),
    "blue": (38, 84, 214),
    "yellow": (250, 204, 40),
    "green": (40, 160, 70),
    "white": (244, 244, 240),
}
THINGS = ("balloon", "house", "boat", "tree", "sun", "moon")
COLOURED = THINGS[:3]
"""Things that have a colour; the others look the same in every scene."""

SYNONYMS: dict[str, tuple[str, ...]] = {
    "sea": ("ocean", "water"),
    "meadow": ("grass", "field", "green hills"),
    "desert": ("dunes", "sand"),
    "forest": ("woods", "pine forest"),
    "mountains": ("mountain", "snowy peaks"),
    "city skyline": ("city", "skyline", "skyscrapers"),
    "day": ("daytime", "daylight", "blue sky"),
    "sunset": ("dusk", "evening"),
    "night": ("nighttime", "midnight", "starry night"),
    "clear": ("clear sky", "no clouds"),
    "clouds": ("cloudy", "cloudy sky"),
    "fog": ("foggy", "mist"),
    "balloon": ("hot air balloon",),
    "house": ("cottage",),
    "boat": ("sailing boat", "ship"),
    "tree": ("trees",),
    "moon": ("full moon",),
    "painting": ("oil painting",),
    "line drawing": ("sketch", "ink drawing"),
    "highly detailed": ("close-up", "detailed"),
}


@dataclass(frozen=True)
class Thing:
    """An object of a scene: its kind, its colour (empty where it has none) and where it is, in scene units."""

    kind: str
    colour: str = ""
    x: float = SIZE / 2

    @property
    def words(self) -> str:
        return f"{self.colour} {self.kind}".strip()


@dataclass(frozen=True)
class Scene:
    """What a picture shows."""

    ground: str
    time: str
    things: tuple[Thing, ...] = ()
    weather: str = "clear"
    style: str = ""
    close: bool = False
    """An enlarged part of a scene, asked for as `highly detailed`."""
    snowy: bool = False
    """Snow on the ground: no word of the checkpoint's, what the LoRA teaches."""

    @property
    def words(self) -> list[str]:
        """The plain prompt for it, part by part."""
        weather = "" if self.weather == "clear" else self.weather
        parts = (self.ground, self.time, weather, *(thing.words for thing in self.things), self.style)
        return [word for word in parts if word]


def things_of(ground: str, time: str) -> list[str]:
    """What may stand in such a scene."""
    kinds = ["balloon", "moon" if time == "night" else "sun"]
    if ground in ("sea", "city skyline"):
        kinds.append("boat")
    if ground in ("meadow", "desert", "mountains"):
        kinds += ["house", "tree"]
    return kinds


def random_thing(rng: Rng, kind: str, left: float = 0, width: float = SIZE) -> Thing:
    """Of a random colour, anywhere over that width (units) but for its ends."""
    colour = str(rng.choice(list(COLOURS))) if kind in COLOURED else ""
    if kind == "balloon" and rng.random() < 0.25:  # the one that examples ask for
        colour = "red"
    return Thing(kind, colour, left + float(rng.uniform(0.08, 0.92)) * width)


def random_scene(rng: Rng, left: float = 0, width: float = SIZE, styled: float = 0.22) -> Scene:
    """A scene whose things fit its ground and hour, and lie within that width (units).

    `styled`: the share that has a style other than the plain one.
    """
    ground, time = str(rng.choice(GROUNDS)), str(rng.choice(TIMES))
    kinds = things_of(ground, time)
    count = int(rng.choice((0, 1, 2), p=(0.4, 0.48, 0.12)))
    picked = rng.choice(kinds, size=min(count, len(kinds)), replace=False)
    things = tuple(random_thing(rng, str(kind), left, width) for kind in picked)
    weather = str(rng.choice(WEATHERS, p=(0.7, 0.2, 0.1)))
    style = str(rng.choice(STYLES[1:])) if rng.random() < styled else ""
    return Scene(ground, time, things, weather, style)


def caption(scene: Scene, rng: Rng) -> str:
    """How a person might ask for the scene: synonyms, any order, words left out, sometimes a sentence."""
    things = [_ask_for(thing, rng) for thing in scene.things]
    parts = [_said(scene.ground, rng), _said(scene.time, rng), *things]
    if scene.weather != "clear" or rng.random() < 0.15:
        parts.append(_said(scene.weather, rng))
    style = _said(scene.style, rng) if scene.style else ""
    if len(parts) > 1 and rng.random() < 0.12:
        parts.pop(int(rng.integers(len(parts))))
    if rng.random() < 0.25:
        text = _sentence(parts, style)
    else:
        parts += [style] if style else []
        if rng.random() < 0.35:
            rng.shuffle(parts)
        text = ", ".join(parts)
    return f"{text}, {_said('highly detailed', rng)}" if scene.close else text


def _said(word: str, rng: Rng) -> str:
    """The word itself, or now and then a synonym."""
    others = SYNONYMS.get(word, ())
    return str(rng.choice(others)) if others and rng.random() < 0.3 else word


def _ask_for(thing: Thing, rng: Rng) -> str:
    kind = _said(thing.kind, rng)
    return f"{thing.colour} {kind}" if thing.colour and rng.random() < 0.9 else kind


def _sentence(parts: Iterable[str], style: str) -> str:
    first, *rest = parts
    opening = f"a {style} of" if style else "a picture of"
    return f"{opening} {first}" + (f" with {' and '.join(rest)}" if rest else "")
