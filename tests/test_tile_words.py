"""Words for each tile: what is allowed, which tile is told what, and what an interrogator sees of each."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from tests.cheap_model import cheap_unet  # noqa: F401
from tile_host import tile_words as host_words
from tile_methods.planner import Layout, Planner, WordSpot
from tile_utils import exchange as e
from tile_utils import tile_words as t
from tile_utils.grid import make_grid
from tile_utils.settings import SettingsError, TiledDiffusionSettings
from tile_utils.surface import Surface

TILED = {"enabled": True, "tile_width": 16, "tile_height": 16, "overlap": 0}
LEFT, RIGHT = {"x": 0.25, "y": 0.5, "prompt": "tree"}, {"x": 0.75, "y": 0.5, "prompt": "house"}
SIZE = {"width": 256, "height": 128}  # two tiles


def read(value):
    return e.from_dict(TiledDiffusionSettings, {"tile_prompts": value}).tile_prompts


def test_a_list_and_its_text_are_the_same_setting():
    kept = read([LEFT, RIGHT])
    assert json.loads(kept) == [LEFT, RIGHT]
    assert read(json.dumps([LEFT, RIGHT], indent=2)) == kept
    assert read(kept) == kept
    assert read("") == read([]) == read(None) == ""
    assert read(" CLIP ") == "CLIP"
    assert t.spots("CLIP") is None
    assert t.spots(kept)[1].prompt(3) == "house"


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ([LEFT | {"x": 1.5}], "x and y from 0 to 1"),
        ([LEFT | {"x": True}], "x and y from 0 to 1"),
        ([{"x": 0.5, "prompt": ""}], 'a list of {"x", "y", "prompt"}'),
        ([LEFT | {"prompt": 5}], 'a list of {"x", "y", "prompt"}'),
        ("[{", 'a list of {"x", "y", "prompt"}'),
        ("{}", 'a list of {"x", "y", "prompt"}'),
        (7, "allowed is a text"),
        ([LEFT] * 5000, "at most 4096 tiles"),
        ([LEFT | {"prompt": "sea AND sky"}], "holds AND; allowed is AND in the main prompt only"),
    ],
)
def test_what_is_no_list_of_places_is_said(value, sentence):
    with pytest.raises(SettingsError) as caught:
        read(value)
    assert "'Words for each tile'" in str(caught.value)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("shift", [False, True])
def test_a_tile_takes_the_words_of_the_place_nearest_to_its_middle(shift):
    grid = make_grid(64, 16, 16, 16, 4)
    spots = [WordSpot(8, 8.0, 1), WordSpot(8, 40.0, 2), WordSpot(900, 900, 3)]
    layout = Layout(Surface(16, 64), grid, "MultiDiffusion", 8, torch.device("cpu"), shift=shift, spots=spots)
    for step in range(3):
        for batch in Planner(layout).plan(step).batches:
            for patch in batch.patches:
                assert patch.words == (1 if patch.window.x + 8 < 24 else 2)


def test_on_a_canvas_that_goes_round_the_way_is_the_shorter_one():
    spots = [WordSpot(8, 62.0, 1), WordSpot(8, 30.0, 2)]
    surface = Surface(16, 64, (False, True))
    grid = make_grid(64, 16, 16, 16, 4, surface.wraps)
    plan = Planner(Layout(surface, grid, "MultiDiffusion", 8, torch.device("cpu"), spots=spots)).plan(0)
    words = {patch.window.x: patch.words for batch in plan.batches for patch in batch.patches}
    assert words[0] == 1


@pytest.fixture
def told(webui, monkeypatch):
    """(latent, text) of every row that the UNet is told."""
    rows = []
    model = webui.shared.sd_model
    original = model.apply_model

    def apply_model(x, t, cond, **kwargs):
        rows.extend(zip(x.clone(), cond["c_crossattn"][0].clone()))
        return original(x, t, cond, **kwargs)

    monkeypatch.setattr(model, "apply_model", apply_model)
    return rows


def texts(told):
    return [text for _, text in told]


def test_each_tile_is_told_its_words_after_the_main_prompt(webui, told):
    webui.draw(TILED | {"tile_prompts": [LEFT, RIGHT]}, **SIZE, steps=1)
    found = texts(told)
    told.clear()
    for prompt in ("sea, day, tree", "sea, day, house"):
        webui.draw({"enabled": False}, prompt=prompt, steps=1, width=128, height=128)
    tree, house = told[0][1], told[2][1]
    assert torch.allclose(found[0], tree, atol=1e-5)
    assert torch.allclose(found[1], house, atol=1e-5)
    assert torch.allclose(found[2], found[3])  # unconds


def test_more_words_than_tiles_do_no_harm(webui):
    many = [{"x": x / 10, "y": 0.5, "prompt": "tree"} for x in range(10)]
    two = [LEFT, RIGHT | {"prompt": "tree"}]
    first, second = (
        np.asarray(webui.draw(TILED | {"tile_prompts": words}, **SIZE).images[0]) for words in (many, two)
    )
    assert np.array_equal(first, second)


@pytest.fixture
def sayings(webui, monkeypatch):
    """An interrogator that names the mean colour, red or blue; fails for green."""

    def interrogate(picture):
        colour = np.asarray(picture).mean((0, 1)).argmax()
        return ("red AND rose", "<error>", "blue")[colour]

    monkeypatch.setattr(webui.shared.interrogator, "interrogate", interrogate, raising=False)


def halves(left, right):
    image = Image.new("RGB", (256, 128), left)
    image.paste(Image.new("RGB", (128, 128), right), (128, 0))
    return image


def test_an_interrogator_looks_at_every_tile_of_every_picture(webui, told, sayings, caplog):
    images = [halves("red", "blue"), halves("blue", "lime")]
    processed = webui.draw(
        TILED | {"tile_prompts": "clip"},
        **SIZE,
        init_images=images,
        batch_size=2,
        denoising_strength=0.5,
        steps=2,
    )
    found = texts(told)[:4]
    told.clear()
    for words in ("red and rose", "blue"):
        webui.draw({"enabled": False}, prompt=f"sea, day, {words}", steps=1, width=128, height=128)
    red, blue = told[0][1], told[2][1]
    main = found[3]
    assert torch.allclose(found[0], red, atol=1e-5)
    assert torch.allclose(found[1], blue, atol=1e-5)
    assert torch.allclose(found[2], blue, atol=1e-5)
    assert not torch.allclose(main, blue, atol=1e-2)
    assert caplog.messages.count(host_words.FAILED.format("CLIP", 1)) == 1
    said = []
    for image in processed.images[-2:]:
        value = image.info["parameters"].split("Tiled Diffusion: ")[1]
        text, _ = json.JSONDecoder().raw_decode(value)
        said.append([place["prompt"] for place in json.loads(json.loads(text)["tile_prompts"])])
    assert said == [["red and rose", "blue"], ["blue", ""]]


def test_it_looks_between_the_stages(webui, monkeypatch, told, sayings):
    from tile_host import composition

    monkeypatch.setattr(composition.host.facts, "native_side", lambda: 16)
    seen = []
    monkeypatch.setattr(
        webui.shared.interrogator, "interrogate", lambda picture: seen.append(picture.size) or "tree"
    )
    webui.draw(TILED | {"composition_first": True, "tile_prompts": "CLIP"}, **SIZE)
    assert seen == [(192, 96)] * 4  # tiles of a stage have the shape of the canvas


def test_an_interrogators_own_job_leaves_the_generation_its(webui, monkeypatch):
    from tile_host.door import host

    state = webui.shared.state
    state.begin(job="drawing")
    state.job_count = 3
    before = (state.time_start, state.job, state.job_count)
    assert host.pictures.caption("CLIP", Image.new("RGB", (64, 64), "teal"))
    assert (state.time_start, state.job, state.job_count) == before
    original = type(webui.shared.interrogator).interrogate

    def stopped(self, picture):
        text = original(self, picture)
        state.interrupt()
        return text

    monkeypatch.setattr(type(webui.shared.interrogator), "interrogate", stopped)
    host.pictures.caption("CLIP", Image.new("RGB", (64, 64), "teal"))
    assert state.interrupted
    state.end()
    state.begin(job="next")
    state.end()


def test_an_interrogator_that_is_not_there(webui):
    with pytest.raises(
        SettingsError, match="'Words for each tile' is 'Clop'; allowed are places .* CLIP, DeepBooru"
    ):
        webui.draw(TILED | {"tile_prompts": "Clop"}, **SIZE)


def test_without_a_picture_there_is_nothing_to_look_at(webui, caplog):
    before = webui.draw(TILED, **SIZE).images[0]
    assert np.array_equal(
        np.asarray(before), np.asarray(webui.draw(TILED | {"tile_prompts": "CLIP"}, **SIZE).images[0])
    )
    assert "needs a picture to look at" in caplog.text


def test_the_mini_webui_sees_the_painted_world(webui):
    from modules import deepbooru, shared
    from painted_world import painter

    rng = np.random.default_rng(3)
    scene = painter.Scene("meadow", "day", (painter.random_thing(rng, "balloon"),))
    picture = Image.fromarray(painter.paint(scene, rng))
    said = shared.interrogator.interrogate(picture)
    assert said.startswith("meadow, day, ")
    assert "balloon" in said
    assert deepbooru.model.tag(picture) == said.removeprefix("meadow, day, ")
