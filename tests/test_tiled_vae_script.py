"""Tiled VAE through the whole host: the same picture, and nothing left behind."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from modules import devices, processing, sd_models, sd_vae_approx
from tile_host import vae as tile_host_vae
from tile_utils.settings import TiledVAESettings

VAE = {"enabled": True, "encoder_tile_size": 256, "decoder_tile_size": 48}
SIZE = {"width": 640, "height": 512}  # 80x64 latent pixels, more than a tile of 48x48


def pixels(processed):
    return np.stack([np.asarray(image) for image in processed.images]).astype(int)


def assert_unpatched(webui):
    vae = webui.shared.sd_model.first_stage_model
    for owner, names in (
        (vae, ("encode", "decode")),
        (vae.encoder, ("forward",)),
        (vae.decoder, ("forward",)),
    ):
        assert not set(names) & set(vars(owner))


def test_txt2img_is_the_same_picture(webui, tiled_calls):
    plain, tiled = webui.draw(**SIZE), webui.draw(vae=VAE, **SIZE)
    assert tiled_calls == ["decoder"]
    assert np.abs(pixels(plain) - pixels(tiled)).max() <= 1
    assert_unpatched(webui)
    text = json.dumps(json.dumps({"enabled": True, "encoder_tile_size": 256, "decoder_tile_size": 48}))
    assert f"Tiled VAE: {text}" in tiled.infotexts[0]
    assert "Tiled VAE" not in plain.infotexts[0]


def test_img2img_encodes_and_decodes_tiled(webui, tiled_calls):
    image = Image.fromarray(np.random.default_rng(1).integers(0, 255, (512, 640, 3), dtype=np.uint8))
    arguments = {"init_images": [image], "denoising_strength": 0.5, **SIZE}
    plain, tiled = webui.draw(**arguments), webui.draw(vae=VAE, **arguments)
    assert tiled_calls == ["encoder", "decoder"]
    assert np.abs(pixels(plain) - pixels(tiled)).max() <= 1


def test_hires_pass_with_both_scripts(webui, tiled_calls):
    hires = {"enable_hr": True, "hr_scale": 2.0, "denoising_strength": 0.5, "hr_upscaler": "Lanczos"}
    grid = {"enabled": True, "tile_width": 48, "tile_height": 48, "overlap": 8}
    arguments = {"width": 320, "height": 256, "steps": 1, **hires}
    plain, tiled = webui.draw(grid, **arguments), webui.draw(grid, vae=VAE, **arguments)
    assert tiled_calls == ["encoder", "decoder"]  # the small first pass is decoded as a whole
    assert np.abs(pixels(plain) - pixels(tiled)).max() <= 1


@pytest.mark.parametrize("settings", [{"fast_decoder": True}, {"fast_encoder": True, "color_fix": True}])
def test_fast_modes_draw(webui, tiled_calls, settings):
    image = Image.new("RGB", (640, 512), "teal")
    webui.draw(vae=VAE | settings, init_images=[image], **SIZE)
    assert tiled_calls == ["encoder", "decoder"]
    assert_unpatched(webui)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_interrupted_while_decoding_gives_an_approximation(webui, monkeypatch, dtype):
    state, vae = webui.shared.state, webui.shared.sd_model.first_stage_model
    monkeypatch.setattr(devices, "dtype_vae", dtype)
    vae.to(dtype)
    original = tile_host_vae._Watch.progress

    def progress(self, done, total):
        original(self, done, total)
        if done == 3:
            state.interrupt()

    monkeypatch.setattr(tile_host_vae._Watch, "progress", progress)
    try:
        drawn = webui.draw(vae=VAE, **SIZE)
    finally:
        vae.float()
    blocks = pixels(drawn)[0].reshape(64, 8, 80, 8, 3)
    assert (blocks == blocks[:, :1, :, :1]).all()  # one colour a latent pixel
    assert pixels(drawn).std() > 1
    assert_unpatched(webui)


def test_a_checkpoint_whose_latent_has_a_format(webui, monkeypatch):
    """SD3 has no scale factor, but a format with a shift."""
    model = webui.shared.sd_model
    scale = model.scale_factor
    latent_format = SimpleNamespace(process_in=lambda z: z * scale)
    monkeypatch.setattr(model, "latent_format", latent_format, raising=False)
    with monkeypatch.context() as patch:
        patch.delattr(model, "scale_factor")
        generation = tile_host_vae.TiledVAEGeneration(TiledVAESettings(enabled=True))
        p = webui.prepare()
        generation.begin(p)
        z = torch.full((1, 4, 8, 8), 0.5)
        patch.setattr(model.first_stage_model.decoder, "forward", interrupting)
        picture = model.first_stage_model.decode(z)
        patch.undo()
        generation.stack.close()
    assert torch.allclose(picture[..., 0, 0], sd_vae_approx.cheap_approximation(z * scale)[..., 0, 0])
    assert_unpatched(webui)


def interrupting(*args, **kwargs):
    raise tile_host_vae.Interrupted


def test_interrupted_while_encoding_draws_nothing(webui, monkeypatch):
    original = tile_host_vae._Watch.progress

    def progress(self, done, total):
        original(self, done, total)
        webui.shared.state.interrupt()

    monkeypatch.setattr(tile_host_vae._Watch, "progress", progress)
    image = Image.new("RGB", (640, 512), "teal")
    assert webui.draw(vae=VAE, init_images=[image], **SIZE).images == []
    assert_unpatched(webui)


def test_unpatched_after_an_error(webui, monkeypatch):
    def fail(*args):
        raise RuntimeError("broken")

    monkeypatch.setattr(tile_host_vae._Watch, "progress", fail)
    with pytest.raises(RuntimeError, match="broken"):
        webui.draw(vae=VAE, **SIZE)
    assert_unpatched(webui)


def test_bad_tile_size_says_what_is_allowed(webui):
    with pytest.raises(ValueError, match="'Decoder Tile Size' is 20; allowed is 48 to 512"):
        webui.prepare(vae={"decoder_tile_size": 20})
    p = webui.prepare(vae=VAE)
    script = p.scripts.script("Tiled VAE")
    args = list(p.script_args)
    args[script.args_from + 2] = 20
    p.script_args = tuple(args)
    with pytest.raises(ValueError, match="'Decoder Tile Size' is 20; allowed is 48 to 512"):
        webui.process(p)


def test_no_wrapper_of_close_is_left_when_both_scripts_were_on(webui):
    """A folder of pictures is drawn with one processing object, and closed once."""
    p = webui.prepare({"enabled": True, "tile_width": 16, "tile_height": 16, "overlap": 8}, vae=VAE, steps=1)
    for _ in range(2):
        processing.process_images(p)
        assert "close" not in vars(p)
    p.close()
    assert_unpatched(webui)


@pytest.fixture
def two_models():
    """What the host keeps loaded; afterwards again the first checkpoint only."""
    data = sd_models.model_data
    before = data.sd_model
    yield data.loaded_sd_models
    data.set_sd_model(before)
    del data.loaded_sd_models[1:]


@pytest.mark.parametrize("limit", [1, 2])
def test_another_checkpoint_in_the_middle_is_hooked_too(webui, tiled_calls, monkeypatch, two_models, limit):
    """With a limit of 2 the host finds the second in memory the next time, and calls no hook."""
    monkeypatch.setitem(webui.shared.opts.data, "sd_checkpoints_limit", limit)
    refined = {**SIZE, "refiner_checkpoint": "demo", "refiner_switch_at": 0.5}
    for _ in range(2):
        tiled_calls.clear()
        webui.draw(vae=VAE, **refined)
        assert tiled_calls == ["decoder"]
        assert "demo" in webui.shared.sd_model.sd_checkpoint_info.name
        assert_unpatched(webui)
        webui.draw()  # the host takes its own checkpoint again
        assert_unpatched(webui)
    assert len(sd_models.model_data.loaded_sd_models) == limit
