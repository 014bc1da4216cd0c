"""The shapes of regions: read from pictures of any kind, kept as a short text, laid on latent pixels."""

import base64
import contextlib
import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageDraw

from tile_utils import exchange, masks
from tile_utils.grid import region_window
from tile_utils.settings import RegionSettings, SettingsError, TiledDiffusionSettings
from tile_utils.surface import Surface, Window

shapes = st.tuples(st.integers(1, 40), st.integers(1, 40))
any_mask = shapes.flatmap(lambda shape: arrays(bool, shape))


def png(picture):
    """A picture, or an array of bytes or truth values, as an API client sends it."""
    if not isinstance(picture, Image.Image):
        picture = Image.fromarray((picture * 255).astype(np.uint8) if picture.dtype == bool else picture)
    data = io.BytesIO()
    picture.save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


def disc(side=64, within=(8, 40)):
    """A white disc on black, between two places of both axes. [side, side] bool"""
    picture = Image.new("L", (side, side))
    ImageDraw.Draw(picture).ellipse([within[0], within[0], within[1] - 1, within[1] - 1], fill=255)
    return np.asarray(picture) > 0


def region(**values):
    settings = exchange.from_dict(TiledDiffusionSettings, {"regions": [values]})
    return settings.regions[0]


@given(any_mask)
def test_a_mask_survives_its_text(mask):
    text = masks.encode(mask)
    assert np.array_equal(masks.decode(text), mask)
    assert json.dumps(text) == f'"{text}"'


def test_the_text_of_a_drawn_shape_is_short():
    assert len(masks.encode(disc(256, (0, 256)))) < 1000
    assert len(masks.encode(np.ones((256, 256), bool))) < 20


def test_a_picture_without_a_box_covers_the_canvas_and_its_box_is_what_it_shows():
    found = region(mask=png(disc()))
    assert (found.x, found.y, found.w, found.h) == (0.125, 0.125, 0.5, 0.5)
    assert np.array_equal(masks.decode(found.mask), disc()[8:40, 8:40])
    assert region(**{name: getattr(found, name) for name in ("x", "y", "w", "h", "mask")}) == found


def test_with_a_box_it_covers_that():
    found = region(mask="data:image/png;base64," + png(disc()), x=0.5, y=0.0, w=0.5, h=1.0)
    assert (found.x, found.y, found.w, found.h) == (0.5625, 0.125, 0.25, 0.5)


@pytest.mark.parametrize("side", [3, 64, 100, 512])
def test_a_rectangle_is_the_box_itself(side):
    picture = np.zeros((side, side), bool)
    picture[side // 3 :, : side // 2 + 1] = True
    found = region(mask=png(picture))
    top, right = (side // 3) / side, (side // 2 + 1) / side
    assert found == RegionSettings(enable=True, x=0.0, y=top, w=right, h=(side - side // 3) / side)
    assert region(mask=png(np.ones((side, side), bool))) == RegionSettings(True, 0.0, 0.0, 1.0, 1.0)


@pytest.mark.parametrize(
    "picture",
    [
        Image.fromarray(disc()),  # one bit
        Image.fromarray(disc().astype(np.uint8) * 255).convert("P"),
        Image.fromarray(disc().astype(np.uint8) * 255).convert("RGB"),
        Image.fromarray(disc().astype(np.uint16) * 65535),
        Image.fromarray(np.where(disc(), 65535, 0).astype(np.int32)),
        Image.merge("RGBA", [Image.new("L", (64, 64), 255)] * 3 + [Image.fromarray(disc().astype(np.uint8) * 255)]),
        Image.merge("LA", [Image.fromarray(disc().astype(np.uint8) * 255), Image.new("L", (64, 64), 255)]),
        Image.fromarray(disc().repeat(8, 0).repeat(8, 1)),
    ],
    ids=lambda picture: f"{picture.mode}{picture.width}",
)  # fmt: skip
def test_pictures_of_any_mode_and_size(picture):
    assert masks.on_canvas(region(mask=png(picture)).mask, (0, 0, 1, 1), *whole(32)).shape == (32, 32)
    found = masks.decode(region(mask=png(picture)).mask)
    cells = masks.on_canvas(masks.encode(found), (0, 0, 1, 1), *whole(32))
    assert np.array_equal(cells, disc()[8:40, 8:40])


def whole(side):
    return Window(0, 0, side, side), side, side


def test_a_palette_with_a_transparent_colour():
    picture = Image.fromarray(np.where(disc(), 1, 0).astype(np.uint8), "P")
    picture.putpalette([255, 255, 255] * 2)
    data = io.BytesIO()
    picture.save(data, "PNG", transparency=0)
    found = region(mask=base64.b64encode(data.getvalue()).decode())
    assert np.array_equal(masks.decode(found.mask), disc()[8:40, 8:40])


def test_a_fine_picture_of_a_small_shape_keeps_its_detail():
    side = 2048
    found = masks.decode(region(mask=png(disc(side, (256, 512)))).mask)
    assert found.shape == (128, 128)
    assert (found ^ disc(128, (0, 128))).mean() < 0.005


def test_it_lies_on_the_canvas_where_it_was_drawn():
    """Whatever window the model's multiple makes of its box."""
    picture = disc(64, (10, 41))
    found = region(mask=png(picture))
    for multiple in (1, 8):
        window = region_window(found.x, found.y, found.w, found.h, Surface(64, 64), multiple, covered=True)
        laid = np.zeros((64, 64), bool)
        box = (found.x, found.y, found.w, found.h)
        cells = masks.on_canvas(found.mask, box, window, 64, 64)
        laid[window.y : window.y + window.h, window.x : window.x + window.w] = cells
        assert np.array_equal(laid, picture)


def test_a_line_thinner_than_a_latent_pixel_is_drawn_by_what_it_covers_most():
    line = np.eye(64, dtype=bool)
    cells = masks.on_canvas(masks.encode(line), (0, 0, 1, 1), *whole(8))
    assert np.array_equal(cells, np.eye(8, dtype=bool))
    assert not masks.on_canvas(masks.encode(line), (2, 2, 1, 1), *whole(8)).any()  # beyond the canvas


BOMB = "is a picture of 16384 x 8192; allowed are 67108864 pixels at most."
RUNS = "is a mask whose runs do not fill its 4 x 4 cells; allowed is a whole one."
EMPTY = "is a mask without any white; allowed is one that shows where its region is."
NO_PICTURE = "is no picture; allowed is a PNG in base64, or on a command line the path of a picture."


@pytest.mark.parametrize(
    ("mask", "end"),
    [
        ("a mask", NO_PICTURE),
        ("none.png", NO_PICTURE),
        ("\ud800", NO_PICTURE),
        (base64.b64encode(b"GIF89a").decode(), NO_PICTURE),
        ("data:image/png;base64,", NO_PICTURE),
        (png(np.zeros((8, 8), bool)), EMPTY),
        (masks.encode(np.zeros((8, 8), bool)), EMPTY),
        (png(Image.new("LA", (8, 8), (255, 0))), EMPTY),
        (png(Image.new("1", (16384, 8192), 1)), BOMB),
        ("4x4:B", RUNS),
        ("4x4:" + "g" * 500 + "B", RUNS),
        ("4x4:QBg", RUNS),
        ("9999x9999:B", "is a mask of 9999 x 9999 cells; allowed are 1 to 1024 a side."),
        ("0x4:A", "is a mask of 0 x 4 cells; allowed are 1 to 1024 a side."),
    ],
)
def test_what_is_no_mask_is_told_in_one_sentence(mask, end):
    with pytest.raises(SettingsError) as told:
        region(mask=mask)
    assert str(told.value) == f"Tiled Diffusion, Region 1: 'Mask' {end}"


def test_a_broken_picture_is_told():
    whole_png = base64.b64decode(png(np.random.default_rng(0).random((64, 64)) < 0.5))
    with pytest.raises(SettingsError, match=r"'Mask' is a picture that cannot be read \(.+\); allowed is a"):
        region(mask=base64.b64encode(whole_png[:150]).decode())


@given(st.text() | st.binary().map(lambda data: base64.b64encode(data).decode()))
def test_any_text_is_a_mask_or_one_sentence(text):
    with contextlib.suppress(SettingsError):
        region(mask=text)
