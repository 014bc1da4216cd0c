from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tile_utils import advice as a
from tile_utils.settings import TiledDiffusionSettings, control_fields, control_of

MIXTURE = "Mixture of Diffusers"
PLAIN = a.Sizes(96, 96, 48, 4, MIXTURE)


def picture(width, height, **more):
    return a.Pass("Picture", width, height, 20, **more)


def test_the_line_tells_grid_batches_work_and_time():
    line = a.describe(picture(2048, 1536), PLAIN)
    assert line == (
        "Picture, 2048×1536 pixels: 5×3 tiles of 768×768, 4 batches a step, 15 times the work of one tile."
    )
    pace = 0.001 / 96**2
    assert a.describe(picture(2048, 1536), PLAIN, 2, pace).endswith(
        "; about a second at the last picture's speed."
    )
    assert "about 3.3 h" in a.describe(picture(2048, 1536), PLAIN, 1, pace * 40000)
    assert "one tile covers it, so nothing is tiled" in a.describe(picture(768, 512), PLAIN)


def test_the_line_tells_what_shifted_tiles_save():
    moving = a.Sizes(32, 32, 4, 4, MIXTURE, shift_tiles=True)
    assert a.describe(picture(2048, 2048), moving) == (
        "Picture, 2048×2048 pixels: 10×10 tiles of 256×256, elsewhere at every step, 25 batches a step, 100 times the "
        "work of one tile, 2.2 times faster than overlap 16."
    )
    moving = a.Sizes(96, 96, 8, 4, MIXTURE, shift_tiles=True)
    assert "81 times the work of one tile, 2.8 times faster than overlap 48" in a.describe(
        picture(6144, 6144), moving
    )
    assert "faster" not in a.describe(picture(1024, 512), moving)  # as many tiles as without
    assert "7×2 tiles of 768×768, elsewhere at every step, 4 batches a step, 14 times" in a.describe(
        picture(4096, 1024), replace(moving, overlap=12)
    )
    multi = a.Sizes(96, 96, 12, 4, "MultiDiffusion", shift_tiles=True)
    assert list(a.warnings(picture(4096, 4096), multi, 64)) == []


@pytest.mark.parametrize(
    ("sizes", "canvas", "native", "expected"),
    [
        (PLAIN, (2048, 1536), 64, None),
        (a.Sizes(96, 96, 96, 4, MIXTURE), (2048, 1536), 64, "Overlap 96 leaves no step from tile to tile; 92 is used."),
        (a.Sizes(96, 96, 64, 4, MIXTURE), (2048, 1536), 64, "Overlap above 48 costs time"),
        (a.Sizes(96, 96, 80, 4, "MultiDiffusion"), (2048, 1536), 64, "Overlap above 72 costs time"),
        (a.Sizes(96, 96, 72, 4, "MultiDiffusion"), (2048, 1536), 64, None),
        (a.Sizes(96, 96, 32, 4, "MultiDiffusion"), (2048, 1536), 64, "half a tile of overlap (48) shows seams"),
        (a.Sizes(32, 32, 16, 4, MIXTURE), (2048, 1536), 64, "smaller than the 512×512 pixels this model knows"),
        (a.Sizes(32, 32, 16, 4, MIXTURE), (2048, 256), 32, None),
        (a.Sizes(96, 32, 16, 4, MIXTURE), (4096, 256), 64, None),  # a low canvas: one row of wide tiles
        (a.Sizes(192, 192, 48, 4, MIXTURE), (4096, 4096), 64, "more than twice the 512×512 pixels"),
        (PLAIN, (4096, 4096), None, None),
        (a.Sizes(96, 96, 28, 4, MIXTURE, True), (4096, 4096), 64, "Overlap above 24 costs time"),
        (a.Sizes(96, 96, 24, 4, "MultiDiffusion", True), (4096, 4096), 64, None),
        (a.Sizes(32, 32, 96, 4, "MultiDiffusion"), (256, 256), 64, None),  # one tile: nothing to warn of
    ],
)  # fmt: skip
def test_poor_choices_are_named(sizes, canvas, native, expected):
    found = list(a.warnings(picture(*canvas), sizes, native))
    if expected is None:
        assert found == []
    else:
        assert any(expected in warning for warning in found)


def test_seams_do_not_show_at_low_denoising():
    sizes = a.Sizes(96, 96, 8, 4, "MultiDiffusion")
    assert list(a.warnings(picture(2048, 2048, denoise=0.3), sizes, 64)) == []


@given(
    st.integers(64, 16384), st.integers(64, 16384), st.sampled_from([MIXTURE, "MultiDiffusion"]),
    st.sampled_from([None, 32, 64, 96, 128]), st.none() | st.integers(0, 90_000),
)  # fmt: skip
def test_recommended_sizes_fit_the_controls_the_canvas_and_the_memory(width, height, method, native, free):
    sizes = a.recommend([picture(64, 64), picture(width, height)], method, native, free)
    controls = {spec.name: control_of(spec) for spec in control_fields(TiledDiffusionSettings)}
    for name in ("tile_width", "tile_height", "overlap", "tile_batch_size"):
        value, control = getattr(sizes, name), controls[name]
        assert control.minimum <= value <= control.maximum
        assert value % control.step == 0
    assert list(a.warnings(picture(width, height), sizes)) == []
    if free is not None and free > 400:
        grid = picture(width, height).grid(sizes)
        used = grid.tile_area * sizes.tile_batch_size * a.ROWS * a.BYTES_PER_LATENT_PIXEL
        assert used <= free * 2**20
    assert "latent pixels" in a.explain(sizes, free)


@pytest.mark.parametrize("method", [MIXTURE, "MultiDiffusion"])
def test_tiles_shift_where_that_is_less_work(method):
    large = a.recommend([picture(4096, 4096)], method, 64, None)
    assert (large.shift_tiles, large.overlap) == (True, 12)
    assert "overlap 12, shifted at every step" in a.explain(large, None)
    small = a.recommend([picture(1024, 768)], MIXTURE, 64, None)  # of as many tiles either way
    assert (small.shift_tiles, small.overlap) == (False, 48)
    assert "shifted" not in a.explain(small, None)


def test_more_memory_draws_more_tiles_at_once():
    batches = [
        a.recommend([picture(4096, 4096)], MIXTURE, 64, free).tile_batch_size for free in (2000, 6000, 12000)
    ]
    assert batches == sorted(batches)
    assert batches[0] < batches[-1]
