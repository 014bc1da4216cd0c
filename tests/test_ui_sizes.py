"""The line under the size sliders and the button beside them, as the server answers the page's script."""

import json

import gradio as gr
import pytest

PLAN = {
    "passes": [
        {"name": "Picture", "width": 1024, "height": 512, "steps": 20, "denoise": 1},
        {"name": "Hires pass", "width": 2048, "height": 1024, "steps": 10, "denoise": 0.5},
    ],
    "sizes": {"tile_width": 96, "tile_height": 96, "overlap": 48, "tile_batch_size": 4, "method": "MultiDiffusion",
              "shift_tiles": False, "seamless": "Off"},
    "pictures": 1,
}  # fmt: skip


@pytest.fixture
def ui_sizes(webui, monkeypatch):
    from tile_host import pace, ui_sizes

    monkeypatch.setattr(pace, "_last", [])
    return ui_sizes


def test_every_pass_has_its_line(ui_sizes):
    told = ui_sizes.told_of(json.dumps(PLAN))
    assert "Picture, 1024×512 pixels: 2×1 tiles of 768×512, 1 batch a step" in told
    assert "Hires pass, 2048×1024 pixels: 5×2 tiles of 768×768, 3 batches a step" in told


def test_a_composition_has_a_line_for_each_of_its_passes(ui_sizes, monkeypatch):
    from tile_host.door import host

    monkeypatch.setattr(host.facts, "native_side", lambda: 64)
    told = ui_sizes.told_of(json.dumps(PLAN | {"composition": 0.5}))
    assert "First picture, 704×384 pixels: one tile covers it" in told
    assert "Stage 1 of 1, 1024×512 pixels: one tile covers it" in told  # 768 square would make 1088x544
    assert "Hires pass, 2048×1024" in told
    small = {"tile_width": 32, "tile_height": 32, "overlap": 8}
    told = ui_sizes.told_of(json.dumps(PLAN | {"composition": 0.5, "sizes": PLAN["sizes"] | small}))
    assert "First picture, 704×384 pixels: one tile covers it" in told
    assert "Stage 1 of 1, 1024×512 pixels: 4×4 tiles of 352×192" in told  # 256 square, of the canvas' aspect
    monkeypatch.setattr(host.facts, "native_side", lambda: 256)
    assert "Picture, 1024×512" in ui_sizes.told_of(json.dumps(PLAN | {"composition": 0.5}))
    assert ui_sizes.told_of(json.dumps(PLAN | {"composition": "strong"})) == ui_sizes.WAITING


@pytest.mark.parametrize(
    ("model", "side"),
    [
        ({}, 64),
        ({"parameterization": "v"}, 64),  # of Stable Diffusion 1.x
        ({"is_sd2": True}, 64),
        ({"is_sd2": True, "parameterization": "v"}, 96),  # 2.x-768, whose configuration says 64 too
        ({"is_sdxl": True}, 128),
        ({"is_sd3": True}, 128),
    ],
)
def test_the_side_that_a_checkpoint_was_trained_at(ui_sizes, webui, monkeypatch, model, side):
    from tile_host.door import host

    for name, value in {"image_size": 64, **model}.items():
        monkeypatch.setattr(webui.shared.sd_model, name, value, raising=False)
    assert host.facts.native_side() == side


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"passes": []}', json.dumps(PLAN).replace("1024", "null")]
)
def test_a_field_that_is_being_typed_into(ui_sizes, text):
    assert ui_sizes.told_of(text) == ui_sizes.WAITING


def test_nothing_of_the_pages_is_html(ui_sizes):
    text = json.dumps(PLAN).replace("Picture", "<img src=x>")
    assert "<img" not in ui_sizes.told_of(text)


def test_a_canvas_of_absurd_size_takes_no_time(ui_sizes):
    text = json.dumps(PLAN).replace("2048", "99999999")
    assert ui_sizes.told_of(text) == ui_sizes.WAITING


def test_the_time_is_that_of_the_last_picture(ui_sizes, webui):
    from tile_host import pace

    webui.draw({"enabled": True, "tile_width": 16, "tile_height": 16, "overlap": 8}, steps=3)
    assert 0 < pace.last() < 1
    assert "at the last picture's speed" in ui_sizes.told_of(json.dumps(PLAN))


def test_the_pace_is_taken_between_steps(ui_sizes):
    from tile_host import pace

    times = iter([10.0, 12.0, 14.0])
    with pace.measured(100, lambda: next(times)) as tick:
        for step in (0, 0, 1, 1, 2):
            tick(step)
    assert pace.last() == 0.02
    with pace.measured(100) as tick:
        tick(0)
    assert pace.last() == 0.02


def test_recommended_sizes_go_into_the_controls(ui_sizes, monkeypatch, caplog):
    from tile_host.door import host

    monkeypatch.setattr(host.facts, "free_memory", lambda: 4000)
    monkeypatch.setattr(host.facts, "native_side", lambda: 64)
    monkeypatch.setattr(host.facts, "bytes_per_number", lambda: 2)
    told = []
    monkeypatch.setattr(gr, "Info", told.append)
    sizes = ui_sizes._recommended(json.dumps(PLAN))
    assert (sizes.tile_width, sizes.overlap, sizes.method) == (96, 12, "MultiDiffusion")
    assert sizes.shift_tiles
    assert "for 3.9 GiB of free memory: tiles of 96×96 latent pixels (768×768 image pixels)" in told[0]
    monkeypatch.setattr(gr, "Warning", told.append)
    assert ui_sizes._recommended("{}") is None
    assert "not known yet" in told[-1]
