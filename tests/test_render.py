"""Drawing without a page: the picture, its infotext, and one sentence for what cannot be drawn."""

import json

import numpy as np
import pytest
from PIL import Image

from miniwebui import render as program

SMALL = ["--prompt", "sea", "--width", "256", "--height", "128", "--steps", "2", "--seed", "3"]
TILED = {"enabled": True, "tile_width": 16, "tile_height": 16, "overlap": 8}


@pytest.fixture
def render(webui, checkpoint, tmp_path, capsys):
    def run(*arguments):
        out = tmp_path / "picture.png"
        options = program.parser().parse_args(
            [*SMALL, "--ckpt", str(checkpoint), "--out", str(out), *arguments]
        )
        code = program.render(options)
        return code, capsys.readouterr().err, sorted(tmp_path.iterdir())

    return run


def test_the_picture_has_its_settings_inside(render):
    code, _, files = render("--script", "Tiled Diffusion", json.dumps(TILED), "--batch-count", "2")
    assert code == 0
    assert [file.name for file in files] == ["picture-1.png", "picture.png"]
    picture = Image.open(files[1])
    assert picture.size == (256, 128)
    assert "Seed: 3" in picture.info["parameters"]
    assert "Tiled Diffusion" in picture.info["parameters"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--width", "250"], "--width is 250; allowed are multiples of 8 from 64."),
        (["--steps", "0"], "--steps is 0; allowed is 1 or more."),
        (["--sampler", "Euler b"], "There is no sampler 'Euler b'; did you mean 'Euler a'?"),
        (["--scheduler", "Kerras"], "There is no scheduler 'Kerras'; did you mean 'Karras'?"),
        (["--hires-scheduler", "karass"], "There is no scheduler 'karass'; did you mean 'karras'?"),
        (["--out", "x.jpg"], "--out is x.jpg; allowed is a name that ends with .png."),
        (["--ckpt", "nowhere.safetensors"], "nowhere.safetensors"),
        (["--init", "nowhere.png"], "--init is nowhere.png; there is no such file."),
        (["--init", __file__], "it cannot be read as a picture"),
        (["--init-dir", "nowhere"], "--init-dir is nowhere; there is no such folder."),
        (["--init-dir", "."], "--out-dir is missing: where the result goes."),
        (["--init-dir", ".ci", "--out-dir", "."], "--init-dir is .ci; nothing in it could be drawn."),
        (["--mask-blur", "-1"], "--mask-blur is -1; allowed is 0 or more."),
        (["--hires-width", "100"], "--hires-width is 100; allowed are multiples of 8 from 64."),
        (["--background", "sky"], "--background is 'sky'; allowed is a colour such as #ffffff"),
        (["--script", "Tiled Difusion", "{}"], "no script 'Tiled Difusion'; did you mean 'Tiled Diffusion'?"),
        (["--script", "Tiled Diffusion", "{"], "The settings of 'Tiled Diffusion' are not JSON"),
        (["--script", "Tiled Diffusion", '{"tile_with": 16}'], "'tile_with'; did you mean 'tile_width'?"),
        (
            ["--script", "Tiled Diffusion", '{"method": "Mix"}'],
            "'Method' is 'Mix'; allowed is 'MultiDiffusion' or",
        ),
        (
            ["--script", "Tiled Diffusion", '{"tile_width": 16, "overlap": 16}'],
            "allowed is less than the tile, 16.",
        ),
    ],
)
def test_what_cannot_be_drawn_gets_one_sentence_and_no_file(render, arguments, sentence):
    code, error, files = render(*arguments)
    assert code == 2
    assert sentence in error
    assert error.count("\n") == 1
    assert files == []


def saved(path, size, colour, **more):
    Image.new("RGB", size, colour).save(path, **more)
    return str(path)


@pytest.fixture
def render_img2img(webui, checkpoint, capsys):
    """Without a size of its own."""

    def run(*arguments):
        options = ["--steps", "2", "--seed", "3", "--ckpt", str(checkpoint), *map(str, arguments)]
        code = program.render(program.parser().parse_args(options))
        assert code == 0, capsys.readouterr().err

    return run


def test_a_picture_keeps_its_size_and_what_is_masked_out(render_img2img, tmp_path):
    start = saved(tmp_path / "start.png", (150, 90), (200, 30, 40))
    mask = Image.new("L", (75, 45))
    mask.paste(255, (40, 0, 75, 45))
    mask.save(tmp_path / "mask.png")
    masked = ["--mask", str(tmp_path / "mask.png"), "--mask-blur", "0", "--inpaint-fill", "noise"]
    out = str(tmp_path / "out.png")
    render_img2img("--init", start, "--out", out)
    assert Image.open(out).size == (144, 88)
    render_img2img("--init", start, "--out", out, *masked, "--denoise", "1")
    drawn = np.asarray(Image.open(out)).astype(int)
    changed = np.abs(drawn - (200, 30, 40)).max(axis=-1)
    assert changed[:, :72].max() == 0
    assert changed[:, 84:].mean() > 10


def test_a_folder_of_pictures_of_several_sizes(render_img2img, tmp_path):
    """Each keeps its own size and content, doubled by Tiled Diffusion."""
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    kinds = {"wide": ((160, 64), "red"), "tall": ((64, 144), "lime"), "small": ((72, 72), "blue")}
    for name, (size, colour) in kinds.items():
        saved(tmp_path / "in" / f"{name}.png", size, colour)
    (tmp_path / "in/notes.txt").write_text("not a picture")
    upscaled = json.dumps(TILED | {"upscaler_name": "Lanczos", "scale_factor": 2})
    folders = ["--init-dir", str(tmp_path / "in"), "--out-dir", str(tmp_path / "out")]
    render_img2img(*folders, "--denoise", "0", "--script", "Tiled Diffusion", upscaled)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["small.png", "tall.png", "wide.png"]
    alone = str(tmp_path / "alone.png")
    for name, (size, _) in kinds.items():
        drawn = Image.open(tmp_path / "out" / f"{name}.png")
        assert drawn.size == (2 * size[0], 2 * size[1])
        assert "Tiled Diffusion" in drawn.info["parameters"]
        start = str(tmp_path / "in" / f"{name}.png")
        render_img2img(
            "--init", start, "--denoise", "0", "--out", alone, "--script", "Tiled Diffusion", upscaled
        )
        assert np.array_equal(np.asarray(drawn), np.asarray(Image.open(alone)))


def test_hires_fix_with_an_own_size_and_sampler(render):
    code, _, files = render("--hires-width", "320", "--hires-height", "192", "--hires-sampler", "DDIM")
    assert code == 0
    picture = Image.open(files[0])
    assert picture.size == (320, 192)
    assert "Hires resize: 320x192" in picture.info["parameters"]
    assert "Hires sampler: DDIM" in picture.info["parameters"]
