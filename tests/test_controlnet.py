"""ControlNet beside tiles: each patch sees its own cut of every hint, and nothing of ours stays behind."""

import contextlib
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from modules import rng, script_callbacks, shared
from tile_host import passes
from tile_host.hosts import controlnet
from tile_methods.joins import is_joined, wraps_of
from tile_utils.settings import SettingsError
from tile_utils.surface import Surface, Window, read

TILES = {"enabled": True, "tile_width": 16, "tile_height": 16, "overlap": 8, "tile_batch_size": 3}
UNIT = {"enabled": True, "model": "pointwise"}


class Pointwise(nn.Module):
    """A control network whose output at a pixel depends on its own hint and x only, at two sizes."""

    def __init__(self, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.by_hint = nn.Parameter(torch.randn(4, 3, 1, 1, generator=generator))

    def forward(self, x, timesteps, context, hint, return_dict=False):
        seen = F.conv2d(F.avg_pool2d(hint, 8), self.by_hint) + 0.1 * x
        return [seen.tanh(), (0.5 * seen).sin()], (seen**2).cos()


def pointwise_unet(
    x, timesteps, context, down_block_additional_residuals=(), mid_block_additional_residual=0, **_
):
    return (0.2 * x + sum(down_block_additional_residuals) + mid_block_additional_residual,)


@pytest.fixture
def controlled(webui, monkeypatch):
    """`prepare(units, settings, ...)` and `draw(...)` with networks that see one pixel each."""
    webui.prepare()
    models = sys.modules["controlnet_models"]
    script = sys.modules["controlnet_models"].PlugableControlModel
    unet = shared.sd_model.model.diffusion_model.unet
    monkeypatch.setattr(unet, "forward", pointwise_unet)
    monkeypatch.setattr(
        models.ModelCache,
        "load",
        lambda self, model, sd_model: script(Pointwise(len(model))).requires_grad_(False),
    )

    def prepare(units=(UNIT,), settings=TILES, **arguments):
        p = webui.prepare(settings, **{"width": 256, "height": 256, "steps": 1, **arguments})
        args, controlnet = list(p.script_args), p.scripts.script("ControlNet")
        for number, unit in enumerate(units):
            args[controlnet.args_from + number] = unit
        p.script_args = tuple(args)
        return p

    def draw(*units, **arguments):
        return webui.process(prepare(units or (with_picture(),), **arguments))

    return SimpleNamespace(prepare=prepare, draw=draw, process=webui.process)


def noise_picture(width=256, height=256, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    return Image.fromarray(pixels)


def with_picture(seed=0, size=(256, 256), **unit):
    return {**UNIT, "image": noise_picture(*size, seed), "resize_mode": "Just Resize", **unit}


@pytest.fixture
def compared(monkeypatch):
    """How far each step's tiled prediction is from that of the whole canvas, which ControlNet itself controls."""
    differences = []
    original = passes.Pass.denoise

    def denoise(self, model, x, sigma, cond, step, asked, after_batch):
        out = original(self, model, x, sigma, cond, step, asked, after_batch)
        whole = model(x, sigma, cond)
        differences.append(float((out - whole).abs().max() / whole.abs().max()))
        return out

    monkeypatch.setattr(passes.Pass, "denoise", denoise)
    return differences


region = st.builds(
    lambda x, y, w, h, foreground, words: {
        "enable": True, "x": x, "y": y, "w": w, "h": h, "prompt": words, "neg_prompt": "",
        "blend_mode": "Foreground" if foreground else "Background", "feather_ratio": 0.3, "seed": 5,
    },
    st.sampled_from((0.0, 0.25, 0.4)), st.sampled_from((0.0, 0.3)), st.sampled_from((0.3, 0.6)),
    st.sampled_from((0.4, 0.7)), st.booleans(), st.sampled_from(("boat", "boat, " * 40)),
)  # fmt: skip
drawings = st.fixed_dictionaries(
    {
        "method": st.sampled_from(("MultiDiffusion", "Mixture of Diffusers")),
        "tile_width": st.sampled_from((16, 20, 28)),
        "tile_height": st.sampled_from((16, 24)),
        "overlap": st.sampled_from((0, 4, 12)),
        "tile_batch_size": st.sampled_from((1, 2, 8)),
        "control_tensor_cpu": st.booleans(),
        "regions": st.lists(region, max_size=2),
    }
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    drawing=drawings,
    two=st.booleans(),
    masked=st.booleans(),
    batch=st.sampled_from((1, 2)),
    prompt=st.sampled_from(("sea", "sea AND night")),
    apart=st.booleans(),
    hires=st.booleans(),
    mode=st.sampled_from(("Balanced", "My prompt is more important", "ControlNet is more important")),
)
def test_tiles_with_their_own_hints_are_the_whole(
    controlled, compared, drawing, two, masked, batch, prompt, apart, hires, mode
):
    compared.clear()
    drawn = {**TILES, **drawing, "enable_bbox_control": bool(drawing["regions"]), "draw_background": True}
    mask = (
        noise_picture(seed=9) if masked and not hires else None
    )  # of another size it is fitted, by two steps not one
    units = [with_picture(control_mode=mode, effective_region_mask=mask)]
    if two:
        units.append(with_picture(seed=1, model="another pointwise", weight=0.7))
    more = (
        {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.9}
        if hires
        else {}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(shared.opts.data, "batch_cond_uncond", not apart)
        controlled.draw(
            *units, settings=drawn, batch_size=batch, prompt=prompt, negative_prompt="fog", **more
        )
    assert compared
    assert max(compared) < 1e-5


@pytest.fixture
def seen(controlled, monkeypatch):
    """Every call of a control network: `x` and `hint`."""
    models, calls = sys.modules["controlnet_models"], []
    original = models.PlugableControlModel.forward

    def forward(self, x, hint, **given):
        calls.append(SimpleNamespace(x=x, hint=hint))
        return original(self, x=x, hint=hint, **given)

    monkeypatch.setattr(models.PlugableControlModel, "forward", forward)
    return calls


@pytest.fixture
def before_step():
    """Registers what is called before every step of a sampler; takes it away again."""
    mine = []

    def register(look):
        script_callbacks.on_cfg_denoiser(look)
        mine.append(look)

    yield register
    for look in mine:
        script_callbacks.remove_callbacks_for_function(look)


def controlnet_of(webui, tab="txt2img"):
    return getattr(webui.scripts, f"scripts_{tab}").script("ControlNet")


FOUR = {**TILES, "tile_width": 16, "tile_height": 16, "overlap": 0, "tile_batch_size": 1}
"""2×2 tiles on a canvas of 32×32."""
CORNERS = [Window(y, x, 16, 16) for y in (0, 16) for x in (0, 16)]


@pytest.mark.parametrize(("size", "channels"), [((48, 64), 3), ((8, 400), 3), ((96, 128), 4)])
def test_a_hint_of_another_size_is_fitted_to_the_canvas(controlled, seen, before_step, webui, size, channels):
    """As another extension may put it in, in the middle of a pass too: smaller, 1:50, with a mask."""
    hint = torch.rand(1, channels, *size, generator=torch.Generator().manual_seed(1))

    def look(_):
        if seen:  # before the second step
            controlnet_of(webui).latest_network.control_params[0].hint_cond = hint

    before_step(look)
    controlled.draw(with_picture(), settings=FOUR, steps=2)
    picture = F.interpolate(hint[:, :3], (256, 256), mode="bilinear", antialias=True)
    if channels == 4:
        mask = (F.interpolate(hint[:, 3:], (256, 256)) > 0.5).float()
        picture = picture * (1 - mask) - mask
    assert len(seen) == 8
    for call, window in zip(seen[4:], CORNERS):
        assert len(call.hint) == len(call.x) == 2
        assert torch.equal(call.hint, read(picture, window, Surface(32, 32), 8).expand(2, -1, -1, -1))


def test_others_see_what_they_would_without_tiles(controlled, before_step, webui):
    states = []

    def look(_):
        (params,) = controlnet_of(webui).latest_network.control_params
        states.append({name: value for name, value in vars(params).items() if not name.startswith("used")})

    before_step(look)
    for tiled in (True, False):
        controlled.draw(with_picture(), settings={**TILES, "enabled": tiled}, steps=2)
    assert len(states) == 4
    for state in states[1:]:
        assert state.keys() == states[0].keys()
        assert torch.equal(state.pop("_hint_cond"), states[0]["_hint_cond"])
        assert {name: repr(value) for name, value in state.items()} == {
            name: repr(value) for name, value in states[0].items() if name != "_hint_cond"
        }


def test_sizes_and_input_are_set_before_hints_are_made(controlled, seen):
    """ControlNet's folder comes first; its hints depend on what ours sets."""
    overwritten = {**FOUR, "overwrite_size": True, "image_width": 320, "image_height": 256}
    controlled.draw(with_picture(), settings=overwritten)
    assert sum(call.hint.shape[-2] * call.hint.shape[-1] for call in seen) >= 320 * 256
    seen.clear()
    square = Image.new("RGB", (64, 48), "white")
    upscaled = {**FOUR, "upscaler_name": "Lanczos", "scale_factor": 4.0, "keep_input_size": True}
    without_picture = {**UNIT, "module": "invert"}
    controlled.draw(without_picture, settings=upscaled, init_images=[square], width=128, height=96, steps=4)
    assert [tuple(call.hint.shape[-2:]) for call in seen[:4]] == [(128, 128)] * 4
    assert all(not call.hint.any() for call in seen)


def test_noise_inversion_sees_the_hints_too(controlled, seen, compared):
    inverting = {**FOUR, "noise_inverse": True, "noise_inverse_steps": 2}
    arguments = {
        "settings": inverting,
        "init_images": [noise_picture()],
        "steps": 2,
        "denoising_strength": 0.6,
    }
    controlled.draw(with_picture(), **arguments)
    assert max(compared) < 1e-5
    calls = len(seen)
    controlled.draw(with_picture(), **arguments)
    kept = len(seen) - calls
    assert kept < calls  # the noise is known
    controlled.draw(with_picture(seed=4), **arguments)
    assert len(seen) == 2 * calls + kept  # and is another's with another hint


def test_a_version_that_is_not_known_is_said(controlled, webui, before_step, monkeypatch):
    hook = sys.modules["controlnet_hook"].UnetHook
    original = hook.hook

    def of_another_version(self, model, sd_ldm, control_params, process):
        original(self, model, sd_ldm, control_params, process)
        del control_params[0].hr_hint_cond

    monkeypatch.setattr(hook, "hook", of_another_version)
    with pytest.raises(
        SettingsError, match=r"its units have no 'hr_hint_cond'\); update sd-webui-controlnet"
    ):
        controlled.draw(with_picture(), settings=FOUR)
    assert controlnet_of(webui).latest_network is None
    assert not hasattr(shared.sd_model.model.diffusion_model, "_original_forward")


def test_units_without_pictures_are_left_alone(controlled, webui, seen, monkeypatch):
    """IP-Adapter and its like: embeddings, which belong to every tile."""
    models = sys.modules["controlnet_models"]
    hints, embedding = [], torch.ones(1, 257, 16)

    def forward(self, x, hint, **_given):
        hints.append(hint)
        return [torch.zeros_like(x)] * 3

    monkeypatch.setattr(models.PlugableControlModel, "forward", forward)
    p = controlled.prepare((with_picture(),), settings=FOUR)
    original = p.scripts.process_before_every_sampling

    def first(p, **kwargs):
        controlnet_of(webui).latest_network.control_params[0].hint_cond = embedding
        original(p, **kwargs)

    monkeypatch.setattr(p.scripts, "process_before_every_sampling", first)
    controlled.process(p)
    assert len(hints) == 4
    assert all(hint is embedding for hint in hints)


class Fault(Exception):
    """On purpose."""


PLACES = ("UNet", "control network", "callback", "hint", "end of a pass", "interrupt")


def break_down(patch, webui, place, call):
    """Let the `call`th use of a place fail."""
    count = iter(range(100))
    unet, models = shared.sd_model.model.diffusion_model.unet, sys.modules["controlnet_models"]

    def fails(original):
        def use(*args, **kwargs):
            if next(count) == call:
                if place == "interrupt":
                    shared.state.interrupt()
                else:
                    raise Fault
            return original(*args, **kwargs)

        return use

    if place in ("UNet", "interrupt"):
        patch.setattr(unet, "forward", fails(unet.forward))
    elif place == "control network":
        patch.setattr(models.PlugableControlModel, "forward", fails(models.PlugableControlModel.forward))
    elif place == "hint":
        patch.setattr(controlnet.Hints, "beside", fails(controlnet.Hints.beside))
    elif place == "callback":
        patch.setattr(controlnet._Unit, "showing", fails(controlnet._Unit.showing))
    else:
        runner = webui.scripts.scripts_txt2img
        patch.setattr(runner, "post_sample", fails(runner.post_sample))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.sampled_from(PLACES), call=st.integers(0, 7), two=st.booleans(), hires=st.booleans())
def test_after_a_fault_the_next_picture_is_right_in_either_tab(controlled, webui, place, call, two, hires):
    units = [with_picture(), with_picture(seed=1, weight=0.5)][: 1 + two]
    more = (
        {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.9}
        if hires
        else {}
    )
    of_tabs = ({"settings": FOUR}, {"settings": FOUR, "init_images": [noise_picture()], "steps": 2})
    if not hasattr(controlled, "right"):
        controlled.right = [np.asarray(controlled.draw(with_picture(), **tab).images[0]) for tab in of_tabs]
    kept = []
    with pytest.MonkeyPatch.context() as patch:
        break_down(patch, webui, place, call)
        p = controlled.prepare(units, settings=FOUR, steps=2, **more)
        original = p.scripts.process_before_every_sampling

        def looked(p, **kwargs):
            params = controlnet_of(webui).latest_network.control_params
            kept.extend((param, dict(vars(param))) for param in params)
            original(p, **kwargs)

        patch.setattr(p.scripts, "process_before_every_sampling", looked)
        with contextlib.suppress(Fault):
            controlled.process(p)
    for param, before in kept:
        names = ("_hint_cond", "hr_hint_cond", "effective_region_mask", "control_model", "cfg_injection")
        assert all(vars(param)[name] is before[name] for name in names)
    assert controlnet_of(webui).latest_network is None
    assert not hasattr(shared.sd_model.model.diffusion_model, "_original_forward")
    for tab, right in zip(of_tabs, controlled.right):
        assert np.array_equal(np.asarray(controlled.draw(with_picture(), **tab).images[0]), right)


def test_seamless_hints_go_on_at_the_opposite_edge(controlled, monkeypatch):
    """What is drawn of a hint that is rolled with the noise is the rolled picture."""
    first, by = rng.ImageRNG.next, [0]
    monkeypatch.setattr(rng.ImageRNG, "next", lambda self: first(self).roll(by[0], -1))

    def drawn(k):
        by[0] = k
        picture = Image.fromarray(np.roll(np.asarray(noise_picture(128, 128)), 4 * k, 1))
        unit = {**UNIT, "image": picture, "resize_mode": "Just Resize"}
        processed = controlled.draw(unit, settings=TILES | {"seamless": "Horizontal"})
        return np.asarray(processed.images[0], dtype=int)

    assert np.abs(drawn(8) - np.roll(drawn(0), 64, 1)).max() <= 1


def test_networks_of_units_are_joined_with_the_unet(controlled, monkeypatch):
    seen, forward = [], Pointwise.forward

    def watched(self, x, *args, **kwargs):
        seen.append(wraps_of(self.looks) if is_joined(self.looks) else None)
        return forward(self, x, *args, **kwargs)

    def with_convolution(self, seed, init=Pointwise.__init__):
        init(self, seed)
        self.looks = nn.Conv2d(1, 1, 3, padding=1)

    monkeypatch.setattr(Pointwise, "forward", watched)
    monkeypatch.setattr(Pointwise, "__init__", with_convolution)
    controlled.draw(with_picture(), settings=TILES | {"seamless": "Both", "tile_height": 64})
    assert set(seen) == {(True, False)}


def test_a_hint_is_resized_across_the_edges_that_are_joined():
    hint = torch.rand(1, 4, 12, 20, generator=torch.Generator().manual_seed(2))
    resized = controlnet._fitted(hint, (24, 40), (False, True))
    rolled = controlnet._fitted(hint.roll(3, -1), (24, 40), (False, True))
    assert rolled.shape == (1, 4, 24, 40)
    assert torch.allclose(rolled, resized.roll(6, -1), atol=1e-6)
    plain = controlnet._fitted(hint, (24, 40), (False, False))
    assert torch.allclose(resized[..., 4:-4], plain[..., 4:-4], atol=1e-6)
    assert not torch.allclose(resized, plain, atol=1e-3)


def test_a_composition_sees_the_hint_in_the_size_of_each_of_its_parts(controlled, monkeypatch):
    """First all of it at a quarter of the area, then the tiles' cuts."""
    monkeypatch.setattr(passes.host.facts, "native_side", lambda: 16)
    hints = []
    forward = Pointwise.forward

    def seen(self, x, timesteps, context, hint, **how):
        hints.append((tuple(x.shape[-2:]), hint.clone()))
        return forward(self, x, timesteps, context, hint, **how)

    monkeypatch.setattr(Pointwise, "forward", seen)
    left = Image.fromarray(
        np.where(np.arange(256)[None, :, None] < 128, 255, 0).astype(np.uint8).repeat(256, 0).repeat(3, 2)
    )
    controlled.draw(
        {**UNIT, "image": left, "resize_mode": "Just Resize"}, settings=TILES | {"composition_first": True}
    )
    assert {size for size, _ in hints} == {(16, 16)}
    whole = hints[0][1][0].mean((0, 1))
    cuts = [row.mean((0, 1)) for _, hint in hints[1:] for row in hint]
    assert float(whole[:60].min()) == 1
    assert float(whole[68:].max()) == 0
    assert {round(float(cut.mean()), 1) for cut in cuts} == {0.0, 0.5, 1.0}
