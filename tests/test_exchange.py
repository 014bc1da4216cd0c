"""Settings as clients send them: by position, by name, both, and whatever else JSON can be."""

import json
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.settings_strategies import diffusion, vae
from tile_utils import exchange
from tile_utils.prompt_text import unusable
from tile_utils.settings import (
    RegionSettings,
    SettingsError,
    TiledDiffusionSettings,
    TiledVAESettings,
    argument_places,
    control_fields,
    title_of,
)

NAMES = ["regions", "no such"] + [
    spec.name
    for cls in (TiledDiffusionSettings, RegionSettings, TiledVAESettings)
    for spec in control_fields(cls)
]
numbers = st.integers() | st.floats() | st.sampled_from([96, 10**400, 2**63])
texts = st.text(st.characters()) | st.sampled_from(
    ["Mixture of Diffusers", "\ud800", "[a:b:1e400]", "<lora:a:nan>"]
)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(st.sampled_from(NAMES), inner),
    max_leaves=20,
)
plain_values = st.none() | st.booleans() | numbers | texts | st.lists(numbers | texts, max_size=3)
"""No objects, of which there may be one only."""
args = st.lists(json_values, max_size=120) | st.builds(
    lambda whole, more: [*exchange.to_args(whole, 8)[: more[0]], *more[1]],
    diffusion,
    st.tuples(st.integers(0, 102), st.lists(json_values, max_size=3)),
)
PUBLIC = [
    True, "Mixture of Diffusers", False, True, 512, 256, 32, 32, 16, 4, "None", 2, False, 30, 1, 0, 64, False,
    False, False, False,
]  # fmt: skip
"""As clients of the original send them."""
LENGTH = len(exchange.to_args(TiledDiffusionSettings(), 8))
REGION = [True, 0.1, 0.2, 0.3, 0.4, "moon", "", "Foreground", 0.5, 7]


def read(sent, **more):
    return exchange.from_args(TiledDiffusionSettings, sent, **more)


def read_or_told(cls, sent, tab):
    """(settings, None), or (None, the sentence)."""
    try:
        return exchange.from_args(cls, sent, tab=tab), None
    except SettingsError as error:
        return None, str(error)


def drawn(settings):
    """What matters of regions: those that are on, with their places."""
    return [(place, region) for place, region in enumerate(settings.regions) if region.enable]


def stripped(settings):
    """Without the empty regions at the end, which nothing is said about."""
    regions = settings.regions
    while regions and regions[-1] == RegionSettings():
        regions = regions[:-1]
    return replace(settings, regions=regions)


@given(
    args, st.sampled_from([TiledDiffusionSettings, TiledVAESettings]), st.sampled_from(["t2i", "i2i", None])
)
def test_anything_gives_settings_or_one_sentence(sent, cls, tab):
    exchange.are_on(sent)
    settings, sentence = read_or_told(cls, sent, tab)
    if settings is None:
        assert sentence.startswith(title_of(cls))
        assert len(sentence) < 1000
        assert sentence.isprintable()
        return
    for part in (settings, *getattr(settings, "regions", ())):
        for spec in control_fields(type(part)):
            assert type(getattr(part, spec.name)) is type(spec.default)


@given(diffusion, diffusion, st.integers(0, LENGTH))
def test_an_object_counts_wherever_it_stands(by_place, by_name, place):
    """After values by position, which the host fills up with start values; what it does not name stays."""
    by_name = replace(by_name, overlap=by_name.overlap % 16)  # less than any tile, whoever says its size
    rest = exchange.to_args(TiledDiffusionSettings(), 8)
    places = argument_places(TiledDiffusionSettings, 8)
    order = [spec.name if region is None else "" for region, spec in places]
    sent = [*exchange.to_args(by_place, 8)[:place], exchange.to_dict(by_name), *rest[place + 1 :]]
    found = read(sent)
    values = exchange.to_dict(by_name)
    for spec in control_fields(TiledDiffusionSettings):
        if spec.name in values:
            assert getattr(found, spec.name) == values[spec.name]
        elif order.index(spec.name) < place:
            assert getattr(found, spec.name) == getattr(by_place, spec.name)
    if "regions" in values:
        assert stripped(found).regions == stripped(by_name).regions
    if drawn(by_name):
        assert found.enable_bbox_control == by_name.enable_bbox_control


@given(diffusion | vae)
def test_settings_by_name_round_trip(settings):
    cls = type(settings)
    if cls is TiledDiffusionSettings:
        assume(settings.overlap < min(settings.tile_width, settings.tile_height))
        settings = stripped(settings)
    sent = json.loads(json.dumps({"enabled": settings.enabled} | exchange.to_dict(settings)))
    assert exchange.from_args(cls, [sent]) == settings
    assert exchange.from_dict(cls, sent) == settings


@given(st.lists(plain_values, max_size=80))
def test_regions_are_not_looked_at_while_control_is_off(sent):
    assert not read([*PUBLIC, *sent]).enable_bbox_control


@given(st.lists(st.lists(plain_values, min_size=9, max_size=9), max_size=7))
def test_a_region_that_is_off_may_be_anything(others):
    on = [*PUBLIC[:18], True, *PUBLIC[19:]]
    sent = [*on, *[arg for other in others for arg in (False, *other)], *REGION]
    assert drawn(read(sent)) == [(len(others), RegionSettings(*REGION))]


@pytest.mark.parametrize("control", [False, True])
@pytest.mark.parametrize("trailing", [None, [], {}, ""])
def test_one_trailing_argument_in_place_of_regions(trailing, control):
    """Public clients of the original send it so."""
    sent = [*PUBLIC[:18], control, *PUBLIC[19:]]
    assert stripped(read([*sent, trailing])) == stripped(read(sent))
    with_region = [*sent, *REGION]
    assert stripped(read([*with_region, trailing])) == stripped(read(with_region))
    assert exchange.from_args(TiledVAESettings, [True, 960, 64, True, False, False, False, trailing]).enabled


def test_what_the_other_tab_has_is_not_looked_at():
    sent = list(PUBLIC)
    sent[11:17] = [99, "yes", 0, -1, None, None]
    assert read(sent, tab="t2i") == read(PUBLIC, tab="t2i")
    with pytest.raises(SettingsError, match="'Scale Factor' is 99; allowed is 1 to 8"):
        read(sent, tab="i2i")


def test_null_is_no_upscaler():
    assert read([*PUBLIC[:10], None, *PUBLIC[11:]], tab="i2i").upscaler_name == "None"
    assert exchange.from_dict(TiledDiffusionSettings, {"upscaler_name": None}).upscaler_name == "None"


@pytest.mark.parametrize(
    ("sent", "on"),
    [
        ([], False),
        ([False], False),
        ([False, {}], False),
        ([True], True),
        ([{}], True),
        ([{"method": "MultiDiffusion"}], True),
        ([{"enabled": False}], False),
        ([True, {"enabled": False}], False),
        ([False, {"enabled": True}], True),
        ([False, {"tile_width": 64}], False),
        ([["no", "object"]], True),
    ],
)
def test_when_the_script_is_on(sent, on):
    assert exchange.are_on(sent) is on
    settings, _ = read_or_told(TiledDiffusionSettings, sent, "t2i")
    assert settings is None or settings.enabled is on


@pytest.mark.parametrize(
    ("named", "control", "on"),
    [
        ({}, False, []),
        ({"regions": None}, False, []),
        ({"regions": []}, False, []),
        ({"regions": {}}, False, []),
        ({"regions": [{"x": 0.1}, {}, None, {"y": 0.1}]}, True, [0, 3]),
        ({"regions": [{"x": 0.1, "enable": False}]}, False, []),
        ({"regions": [{"x": 0.1}], "enable_bbox_control": False}, False, [0]),
    ],
)
def test_a_region_that_is_given_is_on(named, control, on):
    settings = read([named])
    assert settings.enable_bbox_control is control
    assert [place for place, _ in drawn(settings)] == on


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        ([{}, {}], "Tiled Diffusion: 2 objects were sent; allowed is one, with all settings."),
        ([{"tile_wdth": 96}], "Tiled Diffusion has no setting 'tile_wdth'; did you mean 'tile_width'?"),
        (
            [{"regions": [{"x": {}}]}],
            "Tiled Diffusion, Region 1: 'x' is {}, an object; allowed is a number, 0 to 1.",
        ),
        ([{"regions": [{}] * 9}], "Tiled Diffusion: 9 regions were given; allowed are 8."),
        ([{"regions": "all"}], "Tiled Diffusion: 'regions' is 'all'; allowed is a list of objects."),
        ([*[False] * 101, 5], "'Method' is False, a truth value"),
        (
            [*exchange.to_args(TiledDiffusionSettings(), 8), 5],
            f"{LENGTH + 1} arguments were sent; there are {LENGTH}.",
        ),
    ],
)
def test_what_is_wrong_is_said(sent, sentence):
    with pytest.raises(SettingsError) as caught:
        read(sent)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("snow \ud800", r"holds '\ud800', which is half of a character; allowed is whole ones."),
        ("[sea:meadow:1e400]", "holds the number '1e400'; allowed are finite ones."),
        ("[[sea:meadow:0.5]:sun: 1E999 ]", "holds the number '1E999'; allowed are finite ones."),
        ("[sea:meadow:" + "9" * 400 + "]", "allowed are finite ones."),
        ("(sea:" + "9" * 400 + ")", "allowed are finite ones."),
        ("<lora:snow:nan>", "holds the number 'nan'; allowed are finite ones."),
        ("<lora:snow:1:-inf>", "holds the number '-inf'; allowed are finite ones."),
        ("<lora:snow:te=1e400>", "holds the number '1e400'; allowed are finite ones."),
    ],
)
@pytest.mark.parametrize("name", ["prompt", "neg_prompt"])
def test_a_prompt_that_nobody_could_draw(name, prompt, words):
    """Said of regions that are drawn, however they were sent, before anything is drawn."""
    region = dict(zip([spec.name for spec in control_fields(RegionSettings)], REGION)) | {name: prompt}
    label = {"prompt": "Prompt", "neg_prompt": "Negative prompt"}[name]
    on = [*PUBLIC[:18], True, *PUBLIC[19:]]
    for sent in ([{"regions": [region]}], [*on, *region.values()]):
        with pytest.raises(SettingsError) as caught:
            read(sent)
        assert str(caught.value).startswith(f"Tiled Diffusion, Region 1: '{label}' holds ")
        assert str(caught.value).endswith(words)
    assert drawn(read([*PUBLIC, *region.values()]))[0][1] == RegionSettings(**region)


@pytest.mark.parametrize(
    "prompt",
    [
        "[sea:meadow:nan]",
        "sun (inf) [inf]",
        "<lora:nan:1>",
        "<lora:snow:0.5:0.5>",
        "(a:1e400)b:1e5",
        "\U0001f600",
    ],
)
def test_texts_that_only_look_like_it(prompt):
    assert unusable(prompt) is None


def test_a_long_prompt_is_looked_through_quickly():
    for sign in "[(<:1 ":
        assert unusable(sign * 10**6) is None
    assert unusable("<a:" * 300_000) is None
