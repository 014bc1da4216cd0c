"""Regions' prompts beside extensions for wildcards: stand-ins with the hooks and arguments of the real ones."""

import random

import numpy as np
import pytest

from modules import scripts
from tests.test_region_generation import WHOLE, pixels, settings
from tests.test_region_shapes import text_of
from tile_utils.infotext import read_infotext
from tile_utils.settings import SettingsError, TiledDiffusionSettings

ANIMALS = ["cat", "dog", "horse", "owl", "whale", "fox", "bear", "swan"]


class Simple(scripts.Script):
    """As stable-diffusion-webui-wildcards: each prompt by its picture's seed."""

    filename = "/extensions/wildcards/scripts/wildcards.py"
    args_from = args_to = 0

    def title(self):
        return "Simple wildcards"

    def process(self, p, *args):
        for name in ("all_prompts", "all_negative_prompts"):
            texts = [
                text.replace("__animal__", random.Random(seed).choice(ANIMALS))
                for text, seed in zip(getattr(p, name), p.all_seeds)
            ]
            if texts != getattr(p, name):
                p.extra_generation_params[f"Wildcard {name}"] = getattr(p, name)[0]
            setattr(p, name, texts)


class Dynamic(Simple):
    """As sd-dynamic-prompts: by the generation's seed, with a writer of its own, and all combinations where asked."""

    filename = "/extensions/sd-dynamic-prompts/scripts/dynamic_prompting.py"
    args_to = 2

    def __init__(self):
        self._prompt_writer = type("Writer", (), {})()

    def process(self, p, is_enabled, is_combinatorial):
        if not is_enabled:
            return
        count = len(ANIMALS) if is_combinatorial else p.n_iter * p.batch_size
        self._prompt_writer.written = p.all_prompts[0]
        p.all_seeds = p.all_subseeds = [p.seed + i for i in range(count)]
        p.n_iter = count // p.batch_size
        prompt = p.all_prompts[0]
        p.all_prompts = [prompt.replace("{cat|dog}", ("cat", "dog")[seed % 2]) for seed in p.all_seeds]
        p.all_negative_prompts = [p.all_negative_prompts[0]] * count


def drawn(webui, script, args=(), region=None, **more):
    """(processed, the regions in each picture's text)"""
    p = webui.prepare(settings({**WHOLE, "seed": 3, **(region or {})}), steps=1, **more)
    kept = p.scripts.alwayson_scripts
    if args:
        script.args_from, script.args_to = len(p.script_args), len(p.script_args) + len(args)
        p.script_args = (*p.script_args, *args)
    p.scripts.alwayson_scripts = [script, *kept]
    p.scripts.callback_map.clear()  # the host keeps whom it calls
    try:
        processed = webui.process(p)
    finally:
        p.scripts.alwayson_scripts = kept
        p.scripts.callback_map.clear()
    return processed, [
        read_infotext(TiledDiffusionSettings, text_after(text), 8).values["regions"][0]
        for text in processed.infotexts[processed.index_of_first_image :]
    ]


def text_after(text):
    return text.split("Tiled Diffusion: ")[1].rpartition(", Version")[0]


REGION = {"prompt": "__animal__ on __animal__", "neg_prompt": "no __animal__"}


def test_each_picture_has_its_own_word_and_says_which(webui):
    processed, said = drawn(webui, Simple(), region=REGION, batch_size=2, n_iter=2)
    words = [random.Random(3 + i).choice(ANIMALS) for i in range(4)]
    assert [one["prompt"] for one in said] == [f"{word} on {word}" for word in words]
    assert [one["neg_prompt"] for one in said] == [f"no {word}" for word in words]
    assert len(set(words)) > 1
    assert "Wildcard all_prompts" not in processed.extra_generation_params
    plain = [
        webui.draw(settings({**WHOLE, **one}), steps=1, seed=7 + i) for i, one in enumerate(said)
    ]  # fmt: skip
    for picture, again in zip(pixels(processed), plain):
        assert np.abs(picture - pixels(again)[0]).max() <= 1
    assert text_of(processed).values["regions"][0]["prompt"] == said[0]["prompt"]


@pytest.mark.parametrize("combinatorial", [False, True])
def test_dynamic_prompts_are_asked_for_one_of_each_picture(webui, combinatorial):
    script = Dynamic()
    _, said = drawn(webui, script, (True, combinatorial), {"prompt": "{cat|dog}"}, prompt="sea", batch_size=2)
    assert [one["prompt"] for one in said] == ["dog", "cat"] * (4 if combinatorial else 1)
    assert script._prompt_writer.written == "sea"


def test_one_that_is_off_leaves_the_words(webui):
    _, said = drawn(webui, Dynamic(), (False, False), {"prompt": "{cat|dog}"})
    assert [one["prompt"] for one in said] == ["{cat|dog}"]


def test_what_is_drawn_may_hold_no_and(webui, monkeypatch):
    monkeypatch.setattr("tests.test_wildcards.ANIMALS", ["cat AND dog"])
    with pytest.raises(SettingsError, match="Region 1: 'Prompt' holds AND"):
        drawn(webui, Simple(), region=REGION)
