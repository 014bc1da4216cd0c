"""The list of upscalers, learned ones from files included."""

import numpy as np
import pytest
from PIL import Image


def noise(width, height):
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def pixels(image):
    return np.asarray(image).astype(int)


def test_the_plain_ones_come_first(learned):
    from modules import shared

    names = [data.name for data in shared.sd_upscalers]
    assert names[:3] == ["None", "Lanczos", "Nearest"]
    assert "tiny-4x" in names[3:]


@pytest.mark.parametrize(("scale", "size"), [(4, (160, 96)), (2.5, (96, 56)), (5, (200, 120))])
def test_a_network_enlarges_by_any_factor_to_multiples_of_8(learned, scale, size):
    image = noise(40, 24)
    enlarged = learned.scaler.upscale(image, scale, learned.data_path)
    assert enlarged.size == size
    plain = image.resize(size, Image.Resampling.LANCZOS)
    assert np.abs(pixels(enlarged) - pixels(plain)).max() > 8


def test_tiles_give_what_the_whole_gives(learned, monkeypatch):
    from modules import shared

    monkeypatch.setattr(shared.opts, "data", dict(shared.opts.data))
    image = noise(100, 60)
    shared.opts.ESRGAN_tile = 0
    whole = pixels(learned.scaler.upscale(image, 4, learned.data_path))
    shared.opts.ESRGAN_tile = 48
    tiled = pixels(learned.scaler.upscale(image, 4, learned.data_path))
    assert np.abs(whole - tiled).max() > 0  # a seam, as in the WebUI, where the next tile begins to fade in
    assert np.abs(whole - tiled).mean() < 0.5
    shared.opts.ESRGAN_tile = 192  # larger than the picture
    assert np.abs(whole - pixels(learned.scaler.upscale(image, 4, learned.data_path))).mean() < 0.5


def test_an_interrupt_and_a_broken_file_leave_the_picture_as_it_was(learned, tmp_path, capsys, monkeypatch):
    from modules import shared

    image = noise(40, 24)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"no network")
    assert learned.scaler.do_upscale(image, str(broken)) is image
    assert "No upscaler can be read from" in capsys.readouterr().err
    monkeypatch.setattr(shared.state, "interrupted", True)
    assert learned.scaler.do_upscale(image, learned.data_path) is image


def test_hires_fix_draws_with_a_network(tiny, learned):
    drawn = tiny.pixels(
        enable_hr=True, hr_scale=2.0, hr_upscaler="tiny-4x", denoising_strength=0.5, steps=2, width=64
    )
    assert drawn.shape == (1, 128, 128, 3)


def test_a_grid_is_put_together_without_a_seam():
    from modules import images

    ramp = np.broadcast_to(np.linspace(0, 255, 90).astype(np.uint8)[None, :, None], (50, 90, 3))
    image = Image.fromarray(np.ascontiguousarray(ramp))
    grid = images.split_grid(image, 32, 32, 8)
    assert grid.tile_count == 4 * 2
    assert np.array_equal(pixels(images.combine_grid(grid)), pixels(image))
