import dataclasses

import pytest
from hypothesis import given

from tests.settings_strategies import diffusion
from tile_utils import exchange as s
from tile_utils.settings import (
    RegionSettings,
    SettingsError,
    TiledDiffusionSettings,
    TiledVAESettings,
    argument_places,
    control_fields,
)


@given(diffusion)
def test_arguments_round_trip(settings):
    args = s.to_args(settings, 8)
    assert len(args) == 21 + 80 + 6 + 16
    padding = (RegionSettings(),) * (8 - len(settings.regions))
    expected = dataclasses.replace(settings, regions=settings.regions + padding)
    assert s.from_args(TiledDiffusionSettings, args) == expected


def test_the_public_order_of_the_arguments():
    names = [spec.name for spec in control_fields(TiledDiffusionSettings)]
    assert names == [
        "enabled",
        "method",
        "overwrite_size",
        "keep_input_size",
        "image_width",
        "image_height",
        "tile_width",
        "tile_height",
        "overlap",
        "tile_batch_size",
        "upscaler_name",
        "scale_factor",
        "noise_inverse",
        "noise_inverse_steps",
        "noise_inverse_retouch",
        "noise_inverse_renoise_strength",
        "noise_inverse_renoise_kernel",
        "control_tensor_cpu",
        "enable_bbox_control",
        "draw_background",
        "causal_layers",
        "shift_tiles",  # from here on after the regions in the argument list
        "composition_first",
        "composition_strength",
        "hold_colours",
        "tile_prompts",
        "seamless",
    ]
    assert [spec.name for spec in control_fields(RegionSettings)] == (
        ["enable", "x", "y", "w", "h", "prompt", "neg_prompt", "blend_mode", "feather_ratio", "seed"]
        + ["strength", "mask"]
    )


def test_late_settings_of_regions_stand_after_all_others():
    places = [(region, spec.name) for region, spec in argument_places(TiledDiffusionSettings, 2)]
    trailing = [name for region, name in places[41:] if region is None]
    assert places[:21] == [(None, spec.name) for spec in control_fields(TiledDiffusionSettings)[:21]]
    assert places[21] == (0, "enable")
    assert places[40] == (1, "seed")
    assert trailing[0] == "shift_tiles"
    assert places[41 + len(trailing) :] == [
        (0, "strength"),
        (0, "mask"),
        (1, "strength"),
        (1, "mask"),
    ]
    assert len(argument_places(RegionSettings)) == len(control_fields(RegionSettings))


def test_missing_arguments_take_their_defaults():
    assert s.from_args(TiledDiffusionSettings, [True, "MultiDiffusion"]) == TiledDiffusionSettings(
        enabled=True, method="MultiDiffusion"
    )


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"tile_width": 8}, "Tiled Diffusion: 'Latent tile width' is 8; allowed is 16 to 256."),
        (
            {"tile_width": "96"},
            "Tiled Diffusion: 'Latent tile width' is '96', a text; allowed is a number, 16 to 256.",
        ),
        (
            {"tile_width": True},
            "Tiled Diffusion: 'Latent tile width' is True, a truth value; allowed is a number, 16 to 256.",
        ),
        ({"overlap": 4.5}, "'Latent tile overlap' is 4.5; allowed are whole numbers, 0 to 256."),
        ({"overlap": float("nan")}, "'Latent tile overlap' is nan; allowed is 0 to 256."),
        ({"overlap": 96}, "Tiled Diffusion: 'Latent tile overlap' is 96; allowed is less than the tile, 96."),
        ({"method": "Mixture"}, "allowed is 'MultiDiffusion' or 'Mixture of Diffusers'."),
        ({"enabled": 1}, "'Tiled Diffusion' is 1, a number; allowed is true or false."),
        ({"tile_width": None}, "'Latent tile width' is null; allowed is a number, 16 to 256."),
        ({"tile_width": [96]}, "'Latent tile width' is [96], a list; allowed is a number, 16 to 256."),
        ({"tile_width": {}}, "'Latent tile width' is {}, an object; allowed is a number, 16 to 256."),
        ({"method": 1}, "'Method' is 1, a number; allowed is 'MultiDiffusion' or 'Mixture of Diffusers'."),
        ({"upscaler_name": 4}, "'Upscaler' is 4, a number; allowed is a text."),
        ({"tile_wdth": 96}, "Tiled Diffusion has no setting 'tile_wdth'; did you mean 'tile_width'?"),
        ({"regions": [{"x": 2}]}, "Tiled Diffusion, Region 1: 'x' is 2; allowed is 0 to 1."),
        ({"regions": {"x": 0}}, "'regions' is {'x': 0}; allowed is a list of objects."),
    ],
)
def test_bad_settings_get_one_clear_sentence(values, sentence):
    with pytest.raises(SettingsError) as caught:
        s.from_dict(TiledDiffusionSettings, values)
    assert sentence in str(caught.value)


def test_an_emptied_seed_is_none_of_its_own():
    drawn = TiledDiffusionSettings(enable_bbox_control=True, regions=(RegionSettings(enable=True),))
    args = s.to_args(drawn, 1)[: 21 + 10]
    assert s.from_args(TiledDiffusionSettings, [*args[:-1], None]).regions[0].seed == -1
    with pytest.raises(SettingsError, match="'Seed' is -2; allowed is -1 to 9223372036854775807"):
        s.from_args(TiledDiffusionSettings, [*args[:-1], -2])


def test_too_many_regions_or_arguments():
    settings = TiledDiffusionSettings(regions=(RegionSettings(),) * 9)
    with pytest.raises(SettingsError, match="9 regions were given; allowed are 8"):
        s.to_args(settings, 8)
    with pytest.raises(SettingsError, match="8 arguments were sent; there are 7"):
        s.from_args(TiledVAESettings, [False, 960, 64, True, False, False, False, 1])
