"""The examples that draw through `diffusers`, each run as its first lines say, with few steps."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from painted_world.painter import Scene, paint
from tests.rank_processes import FORKS
from tools.readme import ROOT

LONGEST = 300
"""Seconds, on a busy machine."""


def _main(name, arguments, told, environment):
    os.chdir(ROOT)
    os.environ.update(environment)
    os.dup2(os.open(told, os.O_WRONLY | os.O_CREAT), sys.stdout.fileno())
    sys.argv = [name, *arguments]
    runpy.run_path(name, run_name="__main__")


@pytest.fixture
def example(tmp_path):
    """Runs one in a process of its own, in which diffusers is imported already: that takes longer than to draw."""

    def run(name, *arguments, **environment):
        """(the picture, what was said)"""
        out, told = tmp_path / "picture.png", tmp_path / "told.txt"
        given = f"examples/{name}.py", [*arguments, "--out", str(out)], told, environment
        process = FORKS.Process(target=_main, args=given)
        process.start()
        process.join(LONGEST)
        assert process.exitcode == 0
        return pixels(out), told.read_text()

    return run


def pixels(file):
    return np.asarray(Image.open(file), dtype=float)


def test_panorama(example):
    picture, told = example("panorama", "--steps", "3")
    assert told.startswith("Wrote ")
    assert picture.shape == (256, 1024, 3)
    red, green, blue = picture.mean((0, 1))
    assert red < green < blue < 120  # night
    assert picture.std() > 5


def test_regions(example):
    picture, told = example("regions", "--steps", "4")
    assert told.startswith("Wrote ")
    assert picture.shape == (256, 512, 3)
    blue = picture[..., 2] - picture[..., 1]
    assert blue[:, :208].mean() > blue[:, 304:].mean() + 20  # sea, meadow


def test_tiled_vae(example):
    picture, told = example("tiled_vae", "--steps", "2")
    assert float(re.search(r"decoded at once: (\S+)", told)[1]) < 1e-5
    assert picture.shape == (512, 512, 3)
    assert picture.std() > 5


def test_upscale(example, tmp_path):
    """The same picture, with more in it than the enlarged one."""
    scene = Image.fromarray(paint(Scene("sea", "sunset"), np.random.default_rng(4)))
    small = scene.resize((96, 64), Image.Resampling.BOX)
    small.save(tmp_path / "small.png")
    picture, told = example("upscale", str(tmp_path / "small.png"), "--steps", "4")
    assert told.startswith("Wrote ")
    assert picture.shape == (256, 384, 3)
    again = Image.fromarray(picture.astype(np.uint8)).resize(small.size, Image.Resampling.BOX)
    assert np.abs(np.asarray(again, dtype=float) - np.asarray(small)).mean() < 10
    assert np.abs(picture - np.asarray(small.resize((384, 256), Image.Resampling.LANCZOS))).mean() > 1


def test_two_ranks(example, tmp_path):
    """The picture of one rank."""
    out = tmp_path / "two.png"
    told = subprocess.run(
        [Path(sys.executable).with_name("torchrun"), "--standalone", "--nproc-per-node", "2"]
        + ["examples/two_ranks.py", "--steps", "2", "--out", out],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=LONGEST,
    ).stdout
    assert told == f"2 ranks drew {out}\n"
    alone = {
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "1",
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": "0",
    }
    one, told = example("two_ranks", "--steps", "2", **alone)
    assert told.startswith("1 ranks drew ")
    assert one.shape == (256, 1024, 3)
    assert one.std() > 5
    assert np.abs(one - pixels(out)).max() <= 1
