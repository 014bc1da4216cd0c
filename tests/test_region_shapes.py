"""Regions of any shape in whole generations: a PNG by name, a file on the command line, and what the text keeps."""

import json

import numpy as np
import pytest
from PIL import Image

from modules import script_callbacks
from tests.test_masks import disc, png
from tests.test_region_generation import ON, pixels, settings
from tile_host import region_files
from tile_utils import masks
from tile_utils.infotext import read_infotext
from tile_utils.settings import SettingsError, TiledDiffusionSettings
from tile_utils.surface import Window

HALF = {"x": 0.25, "y": 0.0, "w": 0.5, "h": 1.0}


def text_of(processed):
    return read_infotext(TiledDiffusionSettings, processed.extra_generation_params["Tiled Diffusion"], 8)


@pytest.mark.parametrize("kind", [{}, {"blend_mode": "Foreground", "feather_ratio": 0.5}])
def test_a_rectangle_as_a_mask_equals_its_box_to_the_bit(webui, kind):
    region = {"prompt": "red balloon", "seed": 7, **kind}
    white = np.zeros((32, 64), bool)
    white[:, 16:48] = True
    by_mask = webui.draw(settings({**region, "mask": png(white)}))
    by_box = webui.draw(settings({**region, **HALF}))
    assert np.array_equal(pixels(by_mask), pixels(by_box))


def test_the_noise_of_its_seed_is_put_in_where_the_shape_is(webui):
    seen = []

    def look(params):
        seen.append(params.x[0].clone())

    script_callbacks.on_cfg_denoiser(look)
    try:
        webui.draw({**ON, "enable_bbox_control": False}, steps=1)
        webui.draw(settings({"mask": png(disc()), "seed": 9}), steps=1)
    finally:
        script_callbacks.remove_callbacks_for_function(look)
    changed = (seen[0] != seen[1]).any(0).numpy()
    assert np.array_equal(
        changed, masks.on_canvas(masks.encode(disc()), (0, 0, 1, 1), Window(0, 0, 16, 32), 16, 32)
    )


def test_the_text_keeps_the_shape_and_draws_it_again(webui):
    shape = disc(64, (8, 40))
    first = webui.draw(settings({"mask": png(shape), "prompt": "moon", "seed": 3}))
    reading = text_of(first)
    assert reading.problems == ()
    again = webui.draw(reading.values)
    assert np.array_equal(pixels(first), pixels(again))


def test_a_file_on_the_command_line(webui, tmp_path):
    path = tmp_path / "disc.png"
    Image.fromarray(disc()).save(path)
    by_file, by_name = (
        webui.prepare(settings({"mask": mask})).script_args for mask in (str(path), png(disc()))
    )
    assert by_file == by_name
    (tmp_path / "none.png").write_text("no picture")
    with pytest.raises(
        SettingsError, match="Region 1: 'Mask' is no picture; allowed is a PNG in base64, or on"
    ):
        webui.prepare(settings({"mask": str(tmp_path / "none.png")}))


def test_a_client_cannot_name_a_file(webui, tmp_path):
    path = tmp_path / "disc.png"
    Image.fromarray(disc()).save(path)
    p = webui.prepare(settings({"prompt": "moon"}), steps=1)
    script = p.scripts.script("Tiled Diffusion")
    args = list(p.script_args)
    args[script.args_from] = settings({"mask": str(path)})
    p.script_args = tuple(args)
    with pytest.raises(SettingsError, match="'Mask' is no picture"):
        webui.process(p)


def test_masks_that_the_text_does_not_hold_are_saved_as_a_file(webui, tmp_path, monkeypatch):
    monkeypatch.setattr(region_files, "FOLDER", tmp_path)
    noise = np.random.default_rng(0).random((2, 256, 256)) < 0.5
    p = webui.prepare(settings(*({"mask": png(mask), "seed": 1} for mask in noise)), steps=1)
    processed = webui.process(p)
    (sentence,) = (line for line in p.comments if "masks" in line)
    assert "more than the 49152 that the picture's text holds for them; they are saved" in sentence
    (path,) = tmp_path.glob("masks-*.json")
    assert path.name in sentence
    regions = region_files.load(path.stem, 8).regions
    assert [bool(region.mask) for region in regions[:3]] == [True, True, False]
    text = processed.infotexts[0]
    assert len(text) < 65536
    assert not any(region.get("mask") for region in text_of(processed).values["regions"])
    processed.js()
    json.dumps(processed.infotexts)
