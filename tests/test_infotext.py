"""Settings in pictures: written, put through the host's own rules, and read back, whole or broken."""

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.settings_strategies import diffusion, regions, vae
from tile_utils import exchange as s
from tile_utils import infotext as i
from tile_utils.settings import (
    TABS,
    RegionSettings,
    TiledDiffusionSettings,
    TiledVAESettings,
    control_fields,
    control_of,
    default_for,
)

NASTY = [
    '", Steps: 99, Sampler: Euler, Seed: 1, x: "',
    "a 'quoted' \"text\", with, commas: and colons",
    "line\nbreak\r\nNegative prompt: all\nSteps: 1, Sampler: x, CFG scale: 3",
    '}], "enabled": false, {[',
    json.dumps({"enabled": True, "regions": [{"prompt": json.dumps({"a": "}, b: 1"})}]}),
    "\\",
    '\\\\" \\n \\u0041',
    "雪の山, 🏔️👩‍🚀, \u2028\u2029\x85\x00\x1f\x7f",
    "<lora:snow:0.8> <img src=x onerror=alert(1)>",
    "Tiled Diffusion: {'Method': 'MultiDiffusion'}, Tiled VAE: \"{}\"",
    "  ",
]


def through_the_host(webui, **values):
    """What the host's paste hands to a script that wrote these values into a picture."""
    from modules import infotext_utils

    entries = {"Steps": 20, "Sampler": "Euler a", "CFG scale": 7, "Seed": 1, "Size": "512x512"} | values
    line = ", ".join(f"{key}: {infotext_utils.quote(value)}" for key, value in entries.items())
    return infotext_utils.parse_generation_parameters(f"sea, day\nNegative prompt: grey\n{line}, Version: v1")


def shown_in(tab, settings, max_regions):
    """The settings as that tab's page holds them: what it does not show has its start value, every region is there."""
    hidden = {
        spec.name: default_for(spec, tab)
        for spec in control_fields(type(settings))
        if tab not in control_of(spec).tabs
    }
    return s.to_args(dataclasses.replace(settings, **hidden), max_regions)


@given(diffusion, st.sampled_from(TABS), st.sampled_from(TABS))
@settings(max_examples=200)
def test_every_control_comes_back_in_both_tabs(webui, values, drawn_in, pasted_into):
    page = shown_in(drawn_in, values, 8)
    written = i.to_infotext(s.from_args(TiledDiffusionSettings, page))
    params = through_the_host(webui, **{"Tiled Diffusion": written})
    reading = i.read_params(TiledDiffusionSettings, params, 8)
    assert (reading.whole, reading.problems) == (True, ())
    assert params["Steps"] == "20"
    assert params["Prompt"] == "sea, day"
    found = i.page_values(TiledDiffusionSettings, reading, pasted_into, 8)
    assert found == shown_in(pasted_into, s.from_args(TiledDiffusionSettings, page), 8)
    if drawn_in == pasted_into:
        assert found == page


@given(vae)
@settings(max_examples=200)
def test_tiled_vae_comes_back(webui, values):
    params = through_the_host(webui, **{"Tiled VAE": i.to_infotext(values)})
    reading = i.read_params(TiledVAESettings, params)
    assert i.page_values(TiledVAESettings, reading, "t2i") == s.to_args(values)


@given(regions)
@settings(max_examples=200)
def test_region_files_come_back(values):
    assert s.region_file(s.RegionFile(values).to_json(), 8) == s.RegionFile(values)


@pytest.mark.parametrize("prompt", NASTY)
def test_prompts_that_try_to_break_out_survive(webui, prompt):
    region = RegionSettings(enable=True, prompt=prompt, neg_prompt=prompt[::-1], seed=5)
    values = TiledDiffusionSettings(enabled=True, enable_bbox_control=True, regions=(region,))
    params = through_the_host(webui, **{"Tiled Diffusion": i.to_infotext(values), "Tiled VAE": i.to_infotext(
        TiledVAESettings(enabled=True))})  # fmt: skip
    assert params["Steps"] == "20"
    assert params["Negative prompt"] == "grey"
    assert params["Version"] == "v1"
    reading = i.read_params(TiledDiffusionSettings, params, 1)
    assert i.page_values(TiledDiffusionSettings, reading, "t2i", 1) == s.to_args(values, 1)


def test_lone_surrogates_can_be_written_to_a_file():
    values = TiledDiffusionSettings(enabled=True, regions=(RegionSettings(prompt="a\ud800b"),))
    text = i.to_infotext(values)
    text.encode("utf-8")
    assert i.read_infotext(TiledDiffusionSettings, text, 1).values["regions"] == [
        {"enable": False, "prompt": "a\ud800b"}
    ]


def test_the_defaults_of_the_other_tab_come_back():
    for overlap in (48, 8):
        text = i.to_infotext(TiledDiffusionSettings(enabled=True, overlap=overlap))
        reading = i.read_infotext(TiledDiffusionSettings, text)
        for tab in TABS:
            assert i.page_values(TiledDiffusionSettings, reading, tab)[8] == overlap


def test_a_region_keeps_its_place_behind_one_that_is_off():
    values = TiledDiffusionSettings(
        enabled=True, regions=(RegionSettings(), RegionSettings(enable=True, x=0.1), RegionSettings())
    )
    assert [len(region) for region in s.to_dict(values)["regions"]] == [0, 10]


def pasted(text, cls=TiledDiffusionSettings, max_regions=2):
    reading = i.read_infotext(cls, text, max_regions)
    return reading.values, reading.whole, i.warning(cls, reading)


def test_a_later_version_and_values_out_of_range_are_named_and_the_rest_is_restored():
    text = json.dumps({
        "enabled": True, "tile_width": 9999, "overlap": "16", "method": "DemoFusion", "wrap": [1, 2],
        "regions": [{"enable": True, "x": 2, "prompt": "moon", "shape": "round"}, 7, {}, {"enable": True}],
    })  # fmt: skip
    values, whole, sentence = pasted(text)
    assert whole
    assert values == {
        "enabled": True, "overlap": 16, "regions": [{"enable": True, "prompt": "moon"}]
    }  # fmt: skip
    assert sentence == (
        "Tiled Diffusion: the picture's settings: 'Latent tile width' is 9999; allowed is 16 to 256; 'Method' is "
        "'DemoFusion'; allowed is 'MultiDiffusion' or 'Mixture of Diffusers'; 'wrap' is not known here; "
        "Region 1: 'x' is 2; allowed is 0 to 1; Region 1: 'shape' is not known here; Region 2 is 7; "
        "Region 3 has no place: this page has 2; Region 4 has no place: this page has 2. The rest is restored."
    )


def test_a_region_that_the_original_wrote_is_on_and_tiled_vae_has_none():
    text = json.dumps({"Region control": {"Region 1": {"x": 0.5}}})
    assert pasted(text)[0]["regions"] == [{"enable": True, "x": 0.5}]
    values, _, sentence = pasted(json.dumps({"regions": []}), TiledVAESettings)
    assert "regions" not in values
    assert "'regions' is not known here" in sentence


@given(diffusion, st.integers(0, 400))
def test_a_text_that_was_cut_gives_what_it_still_holds(values, kept):
    text = i.to_infotext(values)
    whole = i.read_infotext(TiledDiffusionSettings, text, 8).values
    reading = i.read_infotext(TiledDiffusionSettings, text[: min(kept, len(text) - 1)], 8)
    assert not reading.whole
    assert i.warning(TiledDiffusionSettings, reading)
    for name, value in reading.values.items():
        if name not in ("regions", "enabled", "enable_bbox_control"):
            assert value == whole[name]


def test_cut_texts_keep_all_that_is_complete():
    text = '{"enabled": true, "method": "MultiDiffusion", "overlap": 32, "regions": [{"enable": true, "x": 0.5, "pro'
    values, whole, sentence = pasted(text)
    assert not whole
    assert "ends too early" in sentence
    assert values["method"] == "MultiDiffusion"
    assert values["overlap"] == 32
    assert values["regions"] == [{"enable": True, "x": 0.5}]


ORIGINAL = {
    "Method": "Mixture of Diffusers", "Tile tile width": 80, "Tile tile height": 112, "Tile Overlap": 16,
    "Tile batch size": 2, "Upscaler": "4x-UltraSharp", "Scale factor": 3, "Keep input size": False,
    "NoiseInv": True, "NoiseInv Steps": 12, "NoiseInv Retouch": 3.5, "NoiseInv Renoise strength": 0.5,
    "NoiseInv Kernel size": 32, "Region control": {
        "Region 2": {"enable": True, "x": 0.1, "y": 0.2, "w": 0.3, "h": 0.4, "prompt": "it's {a}, \"b\"",
                     "neg_prompt": "", "blend_mode": "Foreground", "feather_ratio": 0.3, "seed": 9}},
}  # fmt: skip
EXPECTED = {
    "enabled": True, "method": "Mixture of Diffusers", "tile_width": 80, "tile_height": 112, "overlap": 16,
    "tile_batch_size": 2, "upscaler_name": "4x-UltraSharp", "scale_factor": 3.0, "keep_input_size": False,
    "noise_inverse": True, "noise_inverse_steps": 12, "noise_inverse_retouch": 3.5,
    "noise_inverse_renoise_strength": 0.5, "noise_inverse_renoise_kernel": 32, "enable_bbox_control": True,
    "regions": [{}, ORIGINAL["Region control"]["Region 2"]],
}  # fmt: skip


@pytest.mark.parametrize("write", [str, json.dumps, lambda value: json.dumps(str(value))])
def test_pictures_of_the_original(webui, write):
    """As a Python dict, as the host quotes a dict, and as a quoted string."""
    from modules import infotext_utils

    line = f"Steps: 20, Sampler: Euler a, Seed: 1, Tiled Diffusion: {write(ORIGINAL)}, Version: v1.6.0"
    text = f"sea\n{line}"
    params = infotext_utils.parse_generation_parameters(text)
    params["Tiled Diffusion"] = i.from_page(text, "Tiled Diffusion") or params["Tiled Diffusion"]
    reading = i.read_params(TiledDiffusionSettings, params, 8)
    assert (reading.values, reading.problems) == (EXPECTED, ())


def test_the_original_cut_at_its_first_comma_gives_its_first_entry():
    values, whole, sentence = pasted("{'Method': 'MultiDiffusion'")
    assert values == {"enabled": True, "method": "MultiDiffusion"}
    assert not whole
    assert sentence
    page = i.page_values(TiledDiffusionSettings, i.Reading(values, whole), "t2i", 1)
    assert page[:2] == [True, "MultiDiffusion"]
    assert set(page[6:]) == {
        None,
        False,
        2.0,
        10,
        1.0,
        64,
    }  # left alone, but for what the tab does not show


def test_the_originals_entries_beside_its_dict():
    params = {
        "Tiled Diffusion upscaler": "4x-UltraSharp",
        "Tiled Diffusion scale factor": "2",
        "Tiled Diffusion x": "1",
    }
    reading = i.read_params(TiledDiffusionSettings, params)
    assert reading.values == {"enabled": True, "upscaler_name": "4x-UltraSharp", "scale_factor": 2.0}
    assert i.read_params(TiledVAESettings, params) is None


@given(st.text() | st.text(alphabet="{}[]\"',: \\ab01"))
def test_nothing_makes_reading_fail(text):
    reading = i.read_infotext(TiledDiffusionSettings, text, 8)
    i.warning(TiledDiffusionSettings, reading)
    i.from_page(text, "Tiled Diffusion")


HUGE = "0x" + "f" * 4000  # which Python can read, but not write in decimal


@pytest.mark.parametrize(
    "text",
    [
        *("{" * 100_000, "[" * 100_000, '"' * 50_001, "{'a': " * 30_000, "9" * 10_000),
        *(json.dumps({"tile_width": 10**400}), json.dumps({"overlap": "9" * 400})),
        *(f"{{'tile_width': {HUGE}}}", f"{{{HUGE}: 1}}", f'"a", {HUGE}, "b'),
    ],
)
def test_absurd_texts_are_refused_quickly(text):
    assert pasted(text)[0] in ({}, {"enabled": True})


def test_an_upscaler_that_is_not_installed_is_named():
    reading = i.Reading({"enabled": True, "upscaler_name": "4x-UltraSharp"}, True)
    assert i.limited(TiledDiffusionSettings, reading, "upscaler_name", ["None", "4x-UltraSharp"]) is reading
    less = i.limited(TiledDiffusionSettings, reading, "upscaler_name", ["None"])
    assert less.values == {"enabled": True}
    assert "'Upscaler' is '4x-UltraSharp', which is not there" in i.warning(TiledDiffusionSettings, less)


@pytest.fixture
def panel(webui):
    import gradio as gr

    from tile_host import ui

    with gr.Blocks():
        return ui.TiledDiffusionPanel("i2i", 1, lambda: None)


def test_the_page_is_set_from_a_pasted_text_and_warned_once(panel, monkeypatch):
    import gradio as gr

    told = []
    monkeypatch.setattr(gr, "Warning", told.append)
    text = {"enabled": True, "method": "MultiDiffusion", "upscaler_name": "4x-UltraSharp", "overlap": 999}
    params = {"Tiled Diffusion": json.dumps(text)}
    updates = [function(params) for _, function in panel.infotext_fields()]
    assert [update["value"] for update in updates[:2]] == [True, "MultiDiffusion"]
    assert len(told) == 1
    assert "'Latent tile overlap' is 999" in told[0]
    assert "'Upscaler' is '4x-UltraSharp', which is not there" in told[0]


def test_a_text_without_us_switches_off_and_leaves_the_rest(panel):
    updates = [function({"Steps": "20"}) for _, function in panel.infotext_fields()]
    assert updates[0]["value"] is False
    assert all("value" not in update for update in updates[1:])
