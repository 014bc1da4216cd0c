"""Drawing without a page: the picture, its infotext, and one sentence for what cannot be drawn."""

import json

import pytest
from PIL import Image

from miniwebui import render as program

SMALL = ["--prompt", "sea", "--width", "256", "--height", "128", "--steps", "2", "--seed", "3"]
TILED = {"enabled": True, "tile_width": 16, "tile_height": 16, "overlap": 8}


@pytest.fixture
def render(webui, checkpoint, tmp_path, capsys):
    def run(*arguments):
        out = tmp_path / "picture.png"
        code = program.render([*SMALL, "--ckpt", str(checkpoint), "--out", str(out), *arguments])
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
        (["--ckpt", "nowhere.safetensors"], "nowhere.safetensors"),
        (["--init", "nowhere.png"], "--init is nowhere.png; there is no such file."),
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
