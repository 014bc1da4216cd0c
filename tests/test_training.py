"""The painted world, the loop that trains on it, and what is trained on what."""

import os
import pickle
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from painted_world import canvases, files, loop, painter
from painted_world import training as program
from painted_world.autoencoder import make_vae
from painted_world.canvases import KINDS, Canvas, random_canvas
from painted_world.denoiser import make_text_encoder, make_unet
from painted_world.painter import (
    GROUNDS,
    HORIZON,
    MARGIN,
    SIZE,
    STYLES,
    TIMES,
    Scene,
    Thing,
    View,
    caption,
    paint,
    paint_view,
    random_scene,
    things_of,
)


@pytest.mark.parametrize("ground", GROUNDS)
def test_a_scene_is_the_same_for_the_same_seed_and_another_for_another(ground):
    scene = Scene(ground, "sunset")
    first, again, other = (paint(scene, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == (SIZE, SIZE, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("style", STYLES)
def test_styles_and_hours_differ(style):
    day, night = (
        paint(Scene("sea", time, style=style), np.random.default_rng(3)) for time in ("day", "night")
    )
    assert day.mean() > night.mean() + 10


def test_an_object_has_its_colour_where_it_was_put():
    empty, red = (
        paint(Scene("meadow", "day", things), np.random.default_rng(5)).astype(float)
        for things in ((), (Thing("balloon", "red", 60.0),))
    )
    change = np.abs(red - empty).max(-1) > 20
    assert change[: int(HORIZON)].any()
    assert abs(np.nonzero(change[: int(HORIZON) - 30])[1].mean() - 60) < 4
    assert red[change].mean(0)[0] > 2 * red[change].mean(0)[2]


def test_an_enlarged_view_shows_the_same_horizon():
    view = View(128, 512, zoom=2)
    image = paint_view(Scene("sea", "day"), np.random.default_rng(1), view).astype(float)
    steps = np.abs(np.diff(image.mean((1, 2))))
    assert abs(int(steps.argmax()) + 1 - 2 * HORIZON) <= 2


def test_captions_name_what_is_there():
    rng = np.random.default_rng(0)
    scene = Scene("sea", "night", (Thing("boat", "green", 80.0),), style="painting")
    captions = [caption(scene, rng) for _ in range(200)]
    assert len(set(captions)) > 40
    assert sum("green" in text for text in captions) > 120
    assert sum("painting" in text for text in captions) == 200


def test_random_scenes_hold_only_what_fits():
    rng = np.random.default_rng(1)
    for _ in range(200):
        scene = random_scene(rng)
        assert scene.time in TIMES
        assert {thing.kind for thing in scene.things} <= set(things_of(scene.ground, scene.time))


@pytest.mark.parametrize("name", KINDS)
def test_one_window_shows_all_things_of_a_canvas(name):
    kind = KINDS[name]
    rng = np.random.default_rng(2)
    for _ in range(6):
        canvas = random_canvas(name, rng)
        assert canvas.image.shape == (kind.height + 2 * MARGIN, kind.width + 2 * MARGIN, 3)
        assert max(canvas.columns, default=0) - min(canvas.columns, default=0) < kind.window


@dataclass
class _Line:
    """Learns y = 3 x."""

    networks: nn.ModuleDict

    def loss(self, done, generator):
        x = torch.randn(8, 1, generator=generator)
        return (self.networks["line"](x) - 3 * x).square().mean()

    def report(self, average):
        return ""


def _line(settings, workers):
    return _Line(nn.ModuleDict({"line": nn.Linear(1, 1)}))


def _settings(folder, steps):
    folder.mkdir(exist_ok=True)
    return loop.Settings("line", folder, 7, steps, 0.1, "cpu", 1)


def test_training_learns_and_ends(tmp_path):
    settings = _settings(tmp_path, 300)
    loop.train(_line, settings)
    assert loop.is_finished(settings)
    assert abs(float(loop.averaged_weights(settings)["line.weight"]) - 3) < 0.1


def test_an_interrupted_training_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    whole = _settings(tmp_path / "whole", 20)
    loop.train(_line, whole)
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    halves = _settings(tmp_path / "halves", 20)
    losses = _Line.loss

    def stop_at_half(self, done, generator):
        if done >= 0.5:
            raise KeyboardInterrupt
        return losses(self, done, generator)

    monkeypatch.setattr(_Line, "loss", stop_at_half)
    with pytest.raises(KeyboardInterrupt):
        loop.train(_line, halves)
    assert not loop.is_finished(halves)
    monkeypatch.setattr(_Line, "loss", losses)
    loop.train(_line, halves)
    first, second = loop.averaged_weights(whole), loop.averaged_weights(halves)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_what_was_trained_on_a_gpu_goes_on_without_one(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        loop.train(_line, _settings(tmp_path, 3))
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="CUDA"):
            torch.load(tmp_path / "line.pt", weights_only=True)
    loop.train(_line, _settings(tmp_path, 6))
    assert files.load(tmp_path / "line.pt")["step"] == 6


def test_a_training_begins_anew_on_another_base(tmp_path):
    first = replace(_settings(tmp_path, 4), base="one")
    loop.train(_line, first)
    loop.train(_line, replace(first, steps=6))
    went_on = files.load(tmp_path / "line.pt")
    loop.train(_line, replace(first, steps=3, base="other"))
    anew = files.load(tmp_path / "line.pt")
    assert (went_on["step"], anew["step"], anew["base"]) == (6, 3, "other")
    assert files.load(tmp_path / "line.old")["step"] == 6


def test_a_state_that_does_not_know_its_base_is_kept(tmp_path):
    loop.train(_line, _settings(tmp_path, 4))
    state = files.load(tmp_path / "line.pt")
    del state["base"]
    files.save(state, tmp_path / "line.pt")
    loop.train(_line, replace(_settings(tmp_path, 5), base="one"))
    state = files.load(tmp_path / "line.pt")
    assert (state["step"], state["base"]) == (5, "one")
    assert not (tmp_path / "line.old").exists()


def test_the_hash_of_a_checkpoint_is_that_of_its_tensors(tmp_path):
    hashes = []
    for number, value in enumerate((1.0, 1.0, 2.0)):
        path = tmp_path / f"{number}.safetensors"
        save_file({"a": torch.full((2,), value)}, path, {"written": f"time {number}"})
        hashes.append(files.content_hash(path))
    assert hashes[0] == hashes[1] != hashes[2]


def _run(work):
    return program.Run(work, 1, 1.0, "cpu", 1, None, {})


def _trained_vae(work, seconds):
    """The state of a VAE's training, with other weights every time, saved at this time."""
    weights = {f"vae.{key}": value for key, value in make_vae().state_dict().items()}
    files.save({"step": 1, "average": weights}, work / "vae.pt")
    os.utime(work / "vae.pt", (seconds, seconds))


def test_what_stands_on_the_vae_follows_it(tmp_path):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (32, 32, 3), np.uint8) for _ in range(2)]
    painted = [Canvas("scene", Scene("sea", "day"), (), image) for image in images]
    (tmp_path / "canvases-scene-000.pkl").write_bytes(pickle.dumps(painted))
    normalised, bases = tmp_path / program.NORMALISED, []
    for age in (0, 10, -10):  # seconds for which the VAE is older than what was made of it
        _trained_vae(tmp_path, normalised.stat().st_mtime - age if bases else 1)
        program.write_normalised_vae(_run(tmp_path))
        bases.append(_run(tmp_path).settings("unet").base)
    assert bases[0] == bases[1] != bases[2]
    assert _run(tmp_path).settings("judge").base == ""


def test_canvases_painted_under_the_former_name_are_read(tmp_path, monkeypatch):
    path = tmp_path / "canvases-scene-000.pkl"
    painted = random_canvas("scene", np.random.default_rng(0))
    former = {"canvases": (Canvas, canvases), "painter.vocabulary": (Scene, Thing, painter.vocabulary)}
    for name, (*classes, module) in former.items():
        monkeypatch.setitem(sys.modules, f"miniwebui.training.{name}", module)
        for one in classes:
            monkeypatch.setattr(one, "__module__", f"miniwebui.training.{name}")
    path.write_bytes(pickle.dumps([painted]))
    monkeypatch.undo()
    assert b"miniwebui.training.painter" in path.read_bytes()
    (read,) = canvases.read_canvases([path])
    assert (read.kind, read.scene, read.columns) == (painted.kind, painted.scene, painted.columns)
    assert np.array_equal(read.image, painted.image)


def test_the_decoder_is_trained_further_while_the_latents_stay(tmp_path):
    painted = [random_canvas("things", np.random.default_rng(0))]
    (tmp_path / "canvases-things-000.pkl").write_bytes(pickle.dumps(painted))
    first = make_vae().state_dict()
    files.save(first, tmp_path / program.NORMALISED)
    run = replace(_run(tmp_path), steps={"decoder": 2})
    loop.train(program.STAGES["decoder"].job, run.settings("decoder"))
    further = program.finished_vae(run)
    changed = {key.split(".")[0] for key in first if not torch.equal(first[key], further[key])}
    assert changed == {"post_quant_conv", "decoder"}
    other = make_vae().state_dict()
    files.save(other, tmp_path / program.NORMALISED)
    assert all(torch.equal(other[key], value) for key, value in program.finished_vae(run).items())


def test_no_checkpoint_is_made_of_a_unet_and_another_vae(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(program, "export", made.append)
    files.save(make_vae().state_dict(), tmp_path / program.NORMALISED)
    parts = {"unet": make_unet(), "text_encoder": make_text_encoder()}
    weights = nn.ModuleDict(parts).state_dict()
    for base in ("another", _run(tmp_path).settings("unet").base):
        program.write_checkpoint(_run(tmp_path))
        assert not made
        files.save({"base": base, "step": 1, "average": weights}, tmp_path / "unet.pt")
    program.write_checkpoint(_run(tmp_path))
    assert len(made) == 1


def test_the_lora_stands_on_the_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(program, "CHECKPOINT", tmp_path / "demo.safetensors")
    bases = []
    for value in (1.0, 2.0):
        save_file({"a": torch.full((2,), value)}, tmp_path / "demo.safetensors")
        bases.append([_run(tmp_path).settings(name).base for name in ("lora", "embedding")])
    assert bases[0] != bases[1]
    assert all(one and one == other for one, other in bases)


@pytest.mark.parametrize("given", ["unet", "unt=4000", "unet=", "unet=-1", "unet=0", "unet=many"])
def test_steps_that_mean_nothing_are_refused(tmp_path, given, capsys):
    with pytest.raises(SystemExit):
        program.read_options(["--work", str(tmp_path), "--steps", "vae=3", given])
    assert (
        f"argument --steps: '{given}' is not STAGE=N: a stage is one of vae, decoder, unet,"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("option", "given", "sentence"),
    [
        ("--start", "missing.safetensors", "there is no file missing.safetensors"),
        ("--device", "gpu", "'gpu' is none of auto, cpu and cuda"),
        ("--device", "cuda", "PyTorch finds no CUDA device here; auto and cpu are allowed"),
    ],
)
def test_what_is_not_here_is_refused(tmp_path, monkeypatch, option, given, sentence, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        program.read_options(["--work", str(tmp_path), option, given])
    assert f"argument {option}: {sentence}" in capsys.readouterr().err


def test_a_work_folder_belongs_to_one_seed_and_every_core_paints(tmp_path, monkeypatch, capsys):
    painted = []
    monkeypatch.setattr(program, "paint_canvases", lambda *args: painted.append(args))
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    arguments = ["--work", str(tmp_path), "--steps", "vae=3", "unet=4"]
    options = program.read_options([*arguments, "--seed", "2"])
    assert dict(options.steps) == {"vae": 3, "unet": 4}
    program.make(replace(_run(tmp_path), seed=options.seed, device="cuda"), [])
    assert painted == [(tmp_path, 2, 1.0, 16)]
    program.read_options([*arguments, "--seed", "2"])
    with pytest.raises(SystemExit):
        program.read_options(arguments)
    assert "argument --seed: 1, but" in capsys.readouterr().err
