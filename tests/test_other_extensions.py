"""Beside other extensions: their calls of the model, their conditions, their patches that come and go in any order."""

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from modules import processing, script_callbacks, scripts, sd_models, shared
from modules.sd_samplers_cfg_denoiser import CFGDenoiser
from tile_host import pass_words
from tile_host.hosts import a1111
from tile_utils import patching
from tile_utils.settings import SettingsError

TILED = {"enabled": True, "tile_width": 16, "tile_height": 16, "overlap": 8}
REGION = {
    "enable": True,
    "x": 0.0,
    "y": 0.0,
    "w": 1.0,
    "h": 1.0,
    "prompt": "red balloon",
    "neg_prompt": "boat",
}
REGIONS = {**TILED, "enable_bbox_control": True, "regions": [{**REGION, "seed": 7}]}


def pixels(processed):
    return np.stack([np.asarray(image) for image in processed.images]).astype(int)


@pytest.fixture
def callbacks():
    """Registers callbacks of a denoiser step; takes them away again."""
    mine = []

    def register(before, after):
        script_callbacks.on_cfg_denoiser(before)
        script_callbacks.on_cfg_denoised(after)
        mine.extend((before, after))

    yield register
    for callback in mine:
        script_callbacks.remove_callbacks_for_function(callback)


@pytest.mark.parametrize("which", ["uncond", "cond"])
@pytest.mark.parametrize("together", [True, False])
def test_a_second_call_of_the_model_in_a_step_is_about_the_rows_whose_text_it_has(
    webui, callbacks, monkeypatch, which, together
):
    """As self-attention guidance (the uncond rows) and perturbed attention guidance (the cond rows) do."""
    asked, differences = {}, []

    def before(params):
        rows = slice(0, 4) if which == "cond" else slice(4, 6)  # two pictures of two parts, then two unconds
        asked["rows"], asked["x"], asked["sigma"] = rows, params.x[rows], params.sigma[rows]
        text = params.text_cond if which == "cond" else params.text_uncond
        asked["cond"] = {"c_crossattn": [text], "c_concat": [params.image_cond[rows]]}

    def after(params):
        again = params.inner_model(asked["x"], asked["sigma"], cond=asked["cond"])
        differences.append(float((again - params.x[asked["rows"]]).abs().max()))

    callbacks(before, after)
    monkeypatch.setitem(shared.opts.data, "batch_cond_uncond", together)
    webui.draw(REGIONS, prompt="sea AND night", negative_prompt="grey", batch_size=2, steps=2)
    assert len(differences) == 2
    assert max(differences) < 1e-4


def test_a_second_call_where_the_unconds_are_skipped_is_about_the_conds(webui, callbacks, monkeypatch):
    """The host's own call leaves rows of the step that nobody asked about: those are not meant."""
    asked, differences = {}, []

    def before(params):
        asked["x"], asked["sigma"] = params.x[:1], params.sigma[:1]
        asked["cond"] = {"c_crossattn": [params.text_cond[:1]], "c_concat": [params.image_cond[:1]]}

    def after(params):
        again = params.inner_model(asked["x"], asked["sigma"], cond=asked["cond"])
        differences.append(float((again - params.x[:1]).abs().max()))

    callbacks(before, after)
    monkeypatch.setitem(shared.opts.data, "skip_early_cond", 1.0)
    webui.draw(REGIONS, prompt="sea", negative_prompt="grey", steps=2)
    assert len(differences) == 2
    assert max(differences) < 1e-4


def test_a_second_call_with_another_text_is_drawn_too(webui, callbacks):
    asked = {}

    def before(params):
        asked["x"], asked["sigma"] = params.x[:1], params.sigma[:1]
        asked["cond"] = {"c_crossattn": [params.text_cond[:1] * 0], "c_concat": [params.image_cond[:1]]}

    def after(params):
        asked["again"] = params.inner_model(asked["x"], asked["sigma"], cond=asked["cond"])

    callbacks(before, after)
    plain = pixels(webui.draw(REGIONS, steps=1))
    assert torch.isfinite(asked["again"]).all()
    script_callbacks.remove_callbacks_for_function(after)
    assert np.array_equal(plain, pixels(webui.draw(REGIONS, steps=1)))


def test_patches_that_leave_in_another_order(webui):
    class Denoiser:
        @property
        def inner_model(self):
            return lambda x, sigma, cond: x

    denoiser, seen = Denoiser(), []

    def call(model, x, sigma, cond):
        seen.append("ours")
        return model(x, sigma, cond)

    ours = a1111.hooked_model(denoiser, call)
    ours.__enter__()
    theirs = patching.instance_class(denoiser, flag=True)
    theirs.__enter__()
    denoiser.inner_model(1, 2, cond=3)
    assert seen == ["ours"]
    ours.__exit__(None, None, None)  # the other extension's patch is still on top
    assert denoiser.flag
    denoiser.inner_model(1, 2, cond=3)
    theirs.__exit__(None, None, None)
    denoiser.inner_model(1, 2, cond=3)
    assert seen == ["ours"]
    assert not hasattr(denoiser, "flag")


def test_a_method_wrapped_by_another_extension_stays_wrapped(webui):
    closed = []
    owner = SimpleNamespace(close=lambda: closed.append("host"))
    with patching.closed_with(owner, lambda: closed.append("ours")):
        wrapped = owner.close
        owner.close = lambda: (closed.append("theirs"), wrapped())
    owner.close()
    assert closed == ["theirs", "host"]


def test_wrappers_of_one_method_leave_in_any_order(webui):
    closed = []
    owner = SimpleNamespace(close=lambda: closed.append("host"))
    host = owner.close
    first = patching.closed_with(owner, lambda: closed.append("first"))
    second = patching.closed_with(owner, lambda: closed.append("second"))
    first.__enter__()
    second.__enter__()
    owner.close()
    first.__exit__(None, None, None)
    owner.close()
    assert closed == ["second", "first", "host", "second", "host"]
    second.__exit__(None, None, None)
    assert owner.close is host


VAE = {"enabled": True, "encoder_tile_size": 256, "decoder_tile_size": 48}


class Redraws(scripts.Script):
    """As a face fixer: draws every picture once more with all scripts, in a hook of its generation."""

    filename = "redraws.py"
    args_from = args_to = 0

    def __init__(self, webui):
        self.webui, self.inner, self.fails = webui, None, False

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def postprocess_image(self, p, pp, *args):
        if p is self.inner:
            return
        self.inner = self.webui.prepare(TILED, VAE, width=512, height=512, steps=1)
        if self.fails:
            self.inner.sample = None
        with contextlib.closing(self.inner):
            processing.process_images(self.inner)


@pytest.fixture
def redraws(webui):
    script = Redraws(webui)
    runner = webui.scripts.scripts_txt2img
    runner.alwayson_scripts.append(script)
    runner.callback_map.clear()  # made anew only when the number of scripts changes
    yield script
    runner.alwayson_scripts.remove(script)
    runner.callback_map.clear()


@pytest.mark.parametrize("fails", [False, True])
def test_a_generation_within_another_leaves_it_its_session(webui, redraws, tiled_calls, monkeypatch, fails):
    shapes, model = [], webui.shared.sd_model
    apply_model = model.apply_model

    def watched(x, *args, **kwargs):
        shapes.append(tuple(x.shape[-2:]))
        return apply_model(x, *args, **kwargs)

    monkeypatch.setattr(model, "apply_model", watched)
    redraws.fails = fails
    plain = vars(model.first_stage_model.decoder).copy()
    processed = webui.draw(TILED, VAE, width=640, height=512, steps=1, n_iter=2)
    assert set(shapes) == {(16, 16)}
    assert tiled_calls == (["decoder"] * 2 if fails else ["decoder"] * 4)
    assert all("Tiled VAE" in text and "Tiled Diffusion" in text for text in processed.infotexts)
    assert vars(model.first_stage_model.decoder) == plain
    assert "set_sd_model" not in vars(sd_models.model_data)


def told(webui, caplog, **arguments):
    """The warnings of a generation, which are below its pictures too."""
    caplog.clear()
    processed = webui.draw(TILED, steps=1, **arguments)
    warnings = [record.message for record in caplog.records if record.name == "Tiled Diffusion"]
    assert all(sentence in processed.comments for sentence in warnings)
    return " ".join(warnings)


def test_what_does_not_go_with_tiles_is_told(webui, caplog, monkeypatch):
    caplog.set_level("WARNING", "Tiled Diffusion")
    batches = {"n_iter": 2, "width": 192}
    assert told(webui, caplog, **batches) == ""
    assert told(webui, caplog, tiling=True, **batches) == ""  # it makes the picture seamless
    network = SimpleNamespace(restore=lambda: None)
    unit = {"control_model": None, "preprocessor": {"name": "none"}, "hint_cond": torch.zeros(1, 3, 256, 256)}
    unit |= dict.fromkeys(("hr_hint_cond", "used_hint_cond", "used_hint_cond_latent"))
    network.control_params = [
        SimpleNamespace(**unit, control_model_type=SimpleNamespace(name="Controlllite"))
    ]
    with monkeypatch.context() as patch:
        controlnet = webui.scripts.scripts_txt2img.script("ControlNet")
        patch.setattr(
            type(controlnet), "process", lambda self, p, *args: setattr(self, "latest_network", network)
        )
        assert told(webui, caplog, **batches).count("ControlNet-LLLite is on") == 1
    monkeypatch.setitem(webui.shared.opts.data, "hypertile_enable_unet", True)
    assert "Hypertile is on" in told(webui, caplog)
    assert told(webui, caplog, width=256, height=256) == ""  # as square as the tiles


def test_a_script_that_draws_in_its_own_way_is_told(webui, caplog):
    """As "img2img alternative test": no hook of ours is called before it samples."""
    caplog.set_level("WARNING", "Tiled Diffusion")
    p = webui.prepare(TILED, steps=1)
    p.sample = lambda *args, **kwargs: torch.zeros(1, 4, 16, 32)
    processed = webui.process(p)
    assert "nothing was tiled" in caplog.text
    assert "nothing was tiled" in processed.comments


def test_what_another_extension_sets_on_the_model_reaches_the_model(webui, monkeypatch):
    seen = []
    forward = CFGDenoiser.forward

    def watched(self, *args, **kwargs):
        self.inner_model.mark = "theirs"
        seen.append((self.inner_model.mark, self.model_wrap.mark))
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(CFGDenoiser, "forward", watched)
    webui.draw(TILED, steps=1)
    assert seen == [("theirs", "theirs")]


def test_who_else_draws_is_not_written_down_as_ours(webui, monkeypatch):
    """On Forge, where another's wrapper takes the pass after ours was put in."""
    monkeypatch.setattr(a1111.Sampling, "hooked", lambda *_: contextlib.nullcontext())
    assert "Tiled Diffusion" not in webui.draw(TILED).infotexts[0]


@pytest.mark.parametrize(("shape", "factor"), [((1, 16, 1, 16, 32), 8), ((1, 16, 8, 16), 16)])
def test_a_latent_that_tiles_do_not_fit_is_refused_in_words(monkeypatch, shape, factor):
    monkeypatch.setattr(pass_words.host.facts, "latent_factor", lambda: factor)
    with pytest.raises(SettingsError, match=f"{len(shape)} axes and {factor} image pixels"):
        pass_words.check_latent(torch.zeros(shape))
