"""The painted world, and the loop that trains on it."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from miniwebui.training import loop
from miniwebui.training.canvases import KINDS, random_canvas
from miniwebui.training.painter import (
    GROUNDS,
    HORIZON,
    MARGIN,
    SIZE,
    STYLES,
    TIMES,
    Scene,
    Thing,
    View,
    caption,
    paint,
    paint_view,
    random_scene,
    things_of,
)


@pytest.mark.parametrize("ground", GROUNDS)
def test_a_scene_is_the_same_for_the_same_seed_and_another_for_another(ground):
    scene = Scene(ground, "sunset")
    first, again, other = (paint(scene, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == (SIZE, SIZE, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("style", STYLES)
def test_styles_and_hours_differ(style):
    day, night = (
        paint(Scene("sea", time, style=style), np.random.default_rng(3)) for time in ("day", "night")
    )
    assert day.mean() > night.mean() + 10


def test_an_object_has_its_colour_where_it_was_put():
    empty, red = (
        paint(Scene("meadow", "day", things), np.random.default_rng(5)).astype(float)
        for things in ((), (Thing("balloon", "red", 60.0),))
    )
    change = np.abs(red - empty).max(-1) > 20
    assert change[: int(HORIZON)].any()
    assert abs(np.nonzero(change[: int(HORIZON) - 30])[1].mean() - 60) < 4
    assert red[change].mean(0)[0] > 2 * red[change].mean(0)[2]


def test_an_enlarged_view_shows_the_same_horizon():
    view = View(128, 512, zoom=2)
    image = paint_view(Scene("sea", "day"), np.random.default_rng(1), view).astype(float)
    steps = np.abs(np.diff(image.mean((1, 2))))
    assert abs(int(steps.argmax()) + 1 - 2 * HORIZON) <= 2


def test_captions_name_what_is_there():
    rng = np.random.default_rng(0)
    scene = Scene("sea", "night", (Thing("boat", "green", 80.0),), style="painting")
    captions = [caption(scene, rng) for _ in range(200)]
    assert len(set(captions)) > 40
    assert sum("green" in text for text in captions) > 120
    assert sum("painting" in text for text in captions) == 200


def test_random_scenes_hold_only_what_fits():
    rng = np.random.default_rng(1)
    for _ in range(200):
        scene = random_scene(rng)
        assert scene.time in TIMES
        assert {thing.kind for thing in scene.things} <= set(things_of(scene.ground, scene.time))


@pytest.mark.parametrize("name", KINDS)
def test_one_window_shows_all_things_of_a_canvas(name):
    kind = KINDS[name]
    rng = np.random.default_rng(2)
    for _ in range(6):
        canvas = random_canvas(name, rng)
        assert canvas.image.shape == (kind.height + 2 * MARGIN, kind.width + 2 * MARGIN, 3)
        assert max(canvas.columns, default=0) - min(canvas.columns, default=0) < kind.window


@dataclass
class _Line:
    """Learns y = 3 x."""

    networks: nn.ModuleDict

    def loss(self, done, generator):
        x = torch.randn(8, 1, generator=generator)
        return (self.networks["line"](x) - 3 * x).square().mean()

    def report(self, average):
        return ""


def _line(settings, workers):
    return _Line(nn.ModuleDict({"line": nn.Linear(1, 1)}))


def _settings(folder, steps):
    folder.mkdir(exist_ok=True)
    return loop.Settings("line", folder, 7, steps, 0.1, "cpu", 1)


def test_training_learns_and_ends(tmp_path):
    settings = _settings(tmp_path, 300)
    loop.train(_line, settings)
    assert loop.is_finished(settings)
    assert abs(float(loop.averaged_weights(settings)["line.weight"]) - 3) < 0.1


def test_an_interrupted_training_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    whole = _settings(tmp_path / "whole", 20)
    loop.train(_line, whole)
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    halves = _settings(tmp_path / "halves", 20)
    losses = _Line.loss

    def stop_at_half(self, done, generator):
        if done >= 0.5:
            raise KeyboardInterrupt
        return losses(self, done, generator)

    monkeypatch.setattr(_Line, "loss", stop_at_half)
    with pytest.raises(KeyboardInterrupt):
        loop.train(_line, halves)
    assert not loop.is_finished(halves)
    monkeypatch.setattr(_Line, "loss", losses)
    loop.train(_line, halves)
    first, second = loop.averaged_weights(whole), loop.averaged_weights(halves)
    assert all(torch.equal(first[key], second[key]) for key in first)
