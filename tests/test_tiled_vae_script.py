"""Tiled VAE through the whole host: the same picture, and nothing left behind."""

import contextlib
import json
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from modules import devices, processing, script_callbacks, sd_models, sd_vae_approx
from tests.two_devices import SECOND, TwoDevices
from tile_host import vae as tile_host_vae
from tile_methods.vae import memory
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
def test_interrupted_while_decoding_gives_an_approximation(webui, monkeypatch, vae_progress, dtype):
    state, vae = webui.shared.state, webui.shared.sd_model.first_stage_model
    monkeypatch.setattr(devices, "dtype_vae", dtype)
    vae.to(dtype)
    vae_progress.append(lambda network, done: state.interrupt() if done == 3 else None)
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


def test_interrupted_while_encoding_draws_nothing(webui, vae_progress):
    vae_progress.append(lambda network, done: webui.shared.state.interrupt())
    image = Image.new("RGB", (640, 512), "teal")
    assert webui.draw(vae=VAE, init_images=[image], **SIZE).images == []
    assert_unpatched(webui)


def test_unpatched_after_an_error(webui, vae_progress):
    def fail(*args):
        raise RuntimeError("broken")

    vae_progress.append(fail)
    with pytest.raises(RuntimeError, match="broken"):
        webui.draw(vae=VAE, **SIZE)
    assert_unpatched(webui)


@pytest.fixture
def stops(webui, vae_progress):
    """How far each network came after an interrupt at a given place: {network: last done}."""
    reached = {}
    vae_progress.append(reached.__setitem__)

    def at(network, place):
        def stop(name, done):
            if (name, done) == (network, place):
                webui.shared.state.interrupt()

        vae_progress.append(stop)
        return reached

    return at


PICTURE = Image.new("RGB", (640, 512), "teal")


def test_interrupted_before_it_is_encoded_nothing_is_encoded(webui, vae_progress, monkeypatch):
    """As when the upscaler was interrupted, which gives what it has."""
    reached = {}
    vae_progress.append(reached.__setitem__)
    p = webui.prepare(vae=VAE, init_images=[PICTURE], **SIZE)
    process = p.scripts.process

    def and_interrupt(*args, **kwargs):
        process(*args, **kwargs)
        webui.shared.state.interrupt()

    monkeypatch.setattr(p.scripts, "process", and_interrupt)
    webui.process(p)
    assert reached == {"encoder": 1}


def test_a_picture_interrupted_while_sampling_is_decoded_until_the_next_interrupt(webui, stops, request):
    state, sampling = webui.shared.state, []

    def interrupt(params):
        sampling.append(1)
        state.interrupt()

    script_callbacks.on_cfg_denoised(interrupt)
    request.addfinalizer(lambda: script_callbacks.remove_callbacks_for_function(interrupt))
    reached = stops("decoder", 9999)
    webui.draw(vae=VAE, steps=5, **SIZE)
    assert len(sampling) == 1
    assert (total := reached["decoder"]) > 20
    reached = stops("decoder", 7)
    webui.draw(vae=VAE, steps=5, **SIZE)
    assert reached["decoder"] == 7 < total


def previews(webui, patch):
    """Full previews, each in a thread of its own, as a progress request of the page makes them."""
    state, threads = webui.shared.state, []
    for name, value in (("live_previews_enable", True), ("show_progress_type", "Full")):
        patch.setitem(webui.shared.opts.data, name, value)
    patch.setattr(state, "current_latent", torch.randn(1, 4, 64, 80), raising=False)

    def preview(network=None, done=None):
        threads.append(threading.Thread(target=state.do_set_current_image))
        threads[-1].start()

    return preview, threads


@pytest.mark.parametrize("place", [2, 11])
def test_a_preview_does_not_make_the_decoder_deaf(webui, stops, vae_progress, monkeypatch, place):
    """The preview begins after the interrupt was asked for, and may end before the picture."""
    with monkeypatch.context() as patch:
        preview, threads = previews(webui, patch)
        reached = stops("decoder", place)
        vae_progress.append(lambda network, done: preview() if done in (1, place) else None)
        drawn = webui.draw(vae=VAE, **SIZE)
        for thread in threads:
            thread.join()
    assert len(threads) == 2
    assert reached["decoder"] == place
    blocks = pixels(drawn)[0].reshape(64, 8, 80, 8, 3)
    assert (blocks == blocks[:, :1, :, :1]).all()


def test_previews_leave_the_picture_and_its_progress_alone(webui, vae_progress, monkeypatch):
    plain, texts = webui.draw(**SIZE), []
    vae_progress.append(lambda network, done: texts.append(done))
    with monkeypatch.context() as patch:
        preview, threads = previews(webui, patch)
        vae_progress.append(lambda network, done: preview() if done in (1, 9) else None)
        drawn = webui.draw(vae=VAE, **SIZE)
        for thread in threads:
            thread.join()
    assert texts == list(range(1, len(texts) + 1))
    assert np.abs(pixels(plain) - pixels(drawn)).max() <= 1
    assert webui.shared.state.textinfo is None
    assert_unpatched(webui)


@pytest.mark.parametrize("hidden", [True, False])
def test_bars_in_the_console_are_hidden_where_the_hosts_are(webui, monkeypatch, capsys, hidden):
    monkeypatch.setattr(webui.shared.cmd_opts, "disable_console_progressbars", hidden)
    inverting = {"noise_inverse": True, "noise_inverse_steps": 2}
    tiles = {"enabled": True, "tile_width": 32, "tile_height": 32, "tile_batch_size": 2, **inverting}
    picture = Image.new("RGB", (640, 512), ("red", "blue")[hidden])  # one that was not inverted yet
    webui.draw(tiles, VAE, init_images=[picture], denoising_strength=0.5, steps=2)
    shown = capsys.readouterr().err
    names = ("Tiled Diffusion", "Tiled VAE encoder", "Tiled VAE decoder", "Noise inversion")
    assert [name in shown for name in names] == [not hidden] * len(names)


def test_a_hand_over_to_fast_mode_is_said_once_and_in_the_pictures_text(webui, monkeypatch, caplog):
    monkeypatch.setattr(memory, "fits", lambda size, device: False)
    drawn = webui.draw(vae=VAE, n_iter=2, **SIZE)
    assert caplog.text.count("too large for exact mode") == 1
    assert all('Tiled VAE decoder: "fast mode, for want of memory"' in text for text in drawn.infotexts)
    monkeypatch.undo()
    assert "want of memory" not in webui.draw(vae=VAE, **SIZE).infotexts[0]


@pytest.fixture
def lent(webui, monkeypatch):
    """The host's device is another than the CPU, on which the VAE lies; the VAE itself, and the device."""
    vae = webui.shared.sd_model.first_stage_model  # loaded on the CPU, whichever test is the first
    with TwoDevices() as devices_apart:
        monkeypatch.setattr(devices, "device", SECOND)
        yield vae, devices_apart
        vae.to("cpu")  # where a test left it must not be told by the tests after it


@pytest.mark.parametrize("side", [8, 64])
@pytest.mark.parametrize("error", [None, RuntimeError("broken")])
def test_a_vae_on_the_cpu_is_lent_the_gpu_and_comes_home(webui, lent, monkeypatch, side, error):
    """One tile or several; `post_quant_conv` before and `quant_conv` after the networks stay on the CPU."""
    vae, apart = lent
    session = tile_host_vae.TiledVAEGeneration(TiledVAESettings(**VAE))
    seen = []

    def note(module, args):
        seen.append(module.weight.device)
        if error is not None:
            raise error

    expected = vae.decode(torch.ones(1, 4, side, side))
    session.begin(webui.prepare())
    handle = vae.decoder.conv_out.register_forward_pre_hook(note) if side == 8 else None
    with pytest.raises(RuntimeError, match="broken") if error and handle else contextlib.nullcontext():
        out = vae.decode(torch.ones(1, 4, side, side))
        assert out.device.type == "cpu"
        assert (out - expected).abs().max() <= 1e-4
        assert vae.encode(torch.zeros(1, 3, side * 8, side * 8)).mode().device.type == "cpu"
    session.stack.close()
    if handle is not None:
        handle.remove()
        assert seen == [SECOND]
    assert apart.moved > 50
    assert {parameter.device.type for parameter in vae.parameters()} == {"cpu"}


def test_the_gpu_is_not_lent_where_the_command_line_keeps_the_host_on_the_cpu(webui, lent, monkeypatch):
    vae, apart = lent
    monkeypatch.setattr(devices, "device", torch.device("cpu"))  # --use-cpu sd; the GPU is there all the same
    monkeypatch.setattr(devices, "get_optimal_device", lambda: SECOND)
    session = tile_host_vae.TiledVAEGeneration(TiledVAESettings(**VAE))
    session.begin(webui.prepare())
    vae.decode(torch.ones(1, 4, 64, 64))
    session.stack.close()
    assert apart.moved == 0


def test_the_gpu_is_given_back_when_the_last_thread_is_done(webui, lent):
    """A preview that ends first must not take the network home under the picture."""
    vae, _ = lent
    loan, where = tile_host_vae._Loan(vae.decoder, wanted=True), []
    with loan.taken(torch.ones(1)):
        with loan.taken(torch.ones(1)):
            where.append(vae.decoder.conv_in.weight.device)
        where.append(vae.decoder.conv_in.weight.device)
    where.append(vae.decoder.conv_in.weight.device)
    assert where == [SECOND, SECOND, torch.device("cpu")]


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
