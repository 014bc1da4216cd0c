"""The built-in ControlNet: the face of sd-webui-controlnet, and what a unit does to the UNet."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image, ImageDraw

FACTS = json.loads((Path(__file__).parents[1] / "data/controlnet-1.1.455.json").read_text())


@pytest.fixture(scope="module")
def lines():
    """A drawing: black on white, 128×64."""
    picture = Image.new("RGB", (128, 64), "white")
    ImageDraw.Draw(picture).ellipse((20, 10, 70, 50), outline="black", width=3)
    return picture


@pytest.fixture(scope="module")
def folder(webui, tmp_path_factory):
    """Two ControlNets with random weights for the test checkpoint, zero convolutions included."""
    from painted_world.checkpoint_file import save_controlnet
    from painted_world.controlnet import make_controlnet

    webui.prepare()
    unet = webui.shared.sd_model.model.diffusion_model.unet
    path = tmp_path_factory.mktemp("controlnet")
    for seed, name in enumerate(("first", "second")):
        network = make_controlnet(unet)
        generator = torch.Generator().manual_seed(seed)
        for layer in [*network.controlnet_down_blocks, network.controlnet_mid_block]:
            layer.weight.data.normal_(0, 0.1, generator=generator)
        network.controlnet_cond_embedding.conv_out.weight.data.normal_(0, 0.3, generator=generator)
        save_controlnet(path / f"{name}.safetensors", network, {})
    return path


@pytest.fixture
def host(webui, folder, monkeypatch):
    """`draw(units, ...)` -> Processed; `calls`: (x, hint, result) of every call of a control network."""
    models = sys.modules["controlnet_models"]
    monkeypatch.setattr(webui.shared.cmd_opts, "controlnet_dir", str(folder))
    monkeypatch.setattr(webui.shared.opts, "data", dict(webui.shared.opts.data))
    known = dict(models.cn_models)
    models.update_cn_models()
    calls = []
    original = models.PlugableControlModel.forward

    def forward(self, x, hint, timesteps, context, **more):
        result = original(self, x=x, hint=hint, timesteps=timesteps, context=context, **more)
        calls.append(SimpleNamespace(x=x, hint=hint, context=context, result=result))
        return result

    monkeypatch.setattr(models.PlugableControlModel, "forward", forward)

    def prepare(*units, **arguments):
        p = webui.prepare(**{"width": 128, "height": 64, **arguments})
        args, script = list(p.script_args), p.scripts.script("ControlNet")
        for number, unit in enumerate(units):
            args[script.args_from + number] = {"enabled": True, "model": "first", **unit}
        p.script_args = tuple(args)
        return p

    def draw(*units, **arguments):
        return webui.process(prepare(*units, **arguments))

    yield SimpleNamespace(
        prepare=prepare, draw=draw, calls=calls, opts=webui.shared.opts, process=webui.process, models=models
    )
    models.cn_models.clear()
    models.cn_models.update(known)


@pytest.fixture
def during(host, monkeypatch):
    """What `look(p)` gives in the middle of a pass that draws with these units."""
    from modules import script_callbacks

    def run(look, *units, **arguments):
        seen = []
        p = host.prepare(*units, **arguments)

        def callback(_):
            seen.append(look(p))

        script_callbacks.on_cfg_denoiser(callback)
        try:
            host.process(p)
        finally:
            script_callbacks.remove_callbacks_for_function(callback)
        return seen

    return run


def picture(processed, index=0):
    return np.asarray(processed.images[index]).astype(int)


def script_of(p):
    return p.scripts.script("ControlNet")


def test_attributes_are_those_of_the_real_one(during, lines, webui):
    unet = webui.shared.sd_model.model.diffusion_model

    def look(p):
        script, network = script_of(p), script_of(p).latest_network
        (params,) = network.control_params
        for names, owner in (
            (FACTS["script_attributes"], script),
            (FACTS["process_attributes"], p),
            (FACTS["hook_attributes"] + FACTS["hook_methods"], network),
            (FACTS["unet_attributes"], unet),
            (FACTS["params"] + FACTS["params_methods"], params),
        ):
            assert [name for name in names if not hasattr(owner, name)] == []
        assert list(params.preprocessor) == FACTS["preprocessor"]
        assert params.control_model_type.is_controlnet
        assert params.hint_cond.shape == (1, 3, 64, 128)
        assert params.hr_hint_cond is None
        assert network.model is unet
        return True

    assert during(look, {"image": lines}) == [True, True]
    assert webui.scripts.scripts_txt2img.script("controlnet").title() == FACTS["title"]
    assert not hasattr(unet, "_original_forward")


def test_fields_options_and_infotext_are_those_of_the_real_one(host, lines, webui):
    unit = sys.modules["controlnet_unit"].ControlNetUnit
    assert vars(unit()) == FACTS["unit_defaults"]
    assert vars(unit.from_dict({"lowvram": True, "guidance": 0.5, "pulid_mode": "Fidelity"})) == {
        **FACTS["unit_defaults"], "low_vram": True, "guidance_end": 0.5,
    }  # fmt: skip
    for name, value in FACTS["options"].items():
        assert webui.shared.opts.get_default(name) == value
    text = host.draw({"image": lines}).infotexts[0]
    note = text.partition('ControlNet 0: "')[2].partition('"')[0]
    assert [entry.partition(": ")[0] for entry in note.split(", ")] == FACTS["infotext_fields"]


def test_the_hook_is_there_from_process_to_postprocess(host, lines, webui):
    unet = webui.shared.sd_model.model.diffusion_model
    host.draw({"image": lines})
    script = webui.scripts.scripts_txt2img.script("ControlNet")
    assert script.latest_network is None
    p = host.prepare({"image": lines})

    def fail(*_args, **_kwargs):
        raise RuntimeError("on purpose")

    p.post_sample = p.scripts.post_sample
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(p.scripts, "post_sample", fail)
        with pytest.raises(RuntimeError, match="on purpose"):
            host.process(p)
    left = script.latest_network  # as in the real one: until the tab's next job
    assert left is not None
    assert hasattr(unet, "_original_forward")
    plain = picture(host.draw())
    assert script.latest_network is None
    assert left.control_params is None
    assert not hasattr(unet, "_original_forward")
    assert np.array_equal(plain, picture(host.draw()))


def test_another_hint_is_used_from_the_next_call(during, host, lines):
    def look(p):
        (params,) = script_of(p).latest_network.control_params
        if params.used_hint_cond is None:
            return
        params.used_hint_cond_latent = torch.ones(1)
        params.hint_cond = torch.zeros_like(params.hint_cond)
        assert params.used_hint_cond is params.used_hint_cond_latent is None

    during(look, {"image": lines})
    assert [float(call.hint.sum()) > 0 for call in host.calls] == [True, False]


def test_a_unit_changes_the_picture_and_none_does_not(host, lines):
    plain = picture(host.draw())
    assert not np.array_equal(plain, picture(host.draw({"image": lines})))
    for off in ({"weight": 0.0}, {"enabled": False}, {"effective_region_mask": Image.new("L", (128, 64))}):
        assert np.array_equal(plain, picture(host.draw({"image": lines, **off})))


def test_two_units_add_up(host, lines):
    half = {"image": lines, "weight": 0.5}
    one, two = picture(host.draw({"image": lines})), picture(host.draw(half, half))
    assert np.abs(one - two).max() <= 1
    other = host.draw({"image": lines}, {"image": lines, "model": "second", "module": "invert"})
    assert np.abs(one - picture(other)).max() > 5


def test_a_unit_acts_in_its_part_of_the_steps(host, lines):
    host.draw({"image": lines, "guidance_start": 0.3, "guidance_end": 0.6}, steps=10)
    assert len(host.calls) == 4  # 3/10 … 6/10
    host.calls.clear()
    host.draw({"image": lines, "guidance_start": 1.0}, steps=3)
    assert not host.calls


def test_every_row_of_every_call_is_controlled(host, lines):
    """Batches, parts of AND, prompts and negative prompts together and apart, a skipped negative prompt."""
    together = host.draw(
        {"image": lines}, prompt="sea AND night", negative_prompt="fog", batch_size=2, steps=1
    )
    assert [len(call.x) for call in host.calls] == [6]
    assert [part.shape[0] for part in host.calls[0].result] == [6] * len(host.calls[0].result)
    host.calls.clear()
    host.opts.set("batch_cond_uncond", False)
    apart = host.draw({"image": lines}, prompt="sea AND night", negative_prompt="fog", batch_size=2, steps=1)
    assert [len(call.x) for call in host.calls] == [2, 2, 2]
    assert np.abs(picture(together, 1) - picture(apart, 1)).max() <= 1
    host.opts.set("batch_cond_uncond", True)
    host.calls.clear()
    host.draw({"image": lines}, s_min_uncond=20.0, steps=4)
    assert sorted({len(call.x) for call in host.calls}) == [1, 2]
    assert host.calls[0].context.shape[1] % 77 == 0, "the mark is not for the networks"


@pytest.fixture
def added(host, monkeypatch):
    """What was added to the UNet's skip connections, call by call."""
    unet, seen = host.prepare().sd_model.model.diffusion_model.unet, []
    original = unet.forward

    def forward(*args, **kwargs):
        seen.append(kwargs["down_block_additional_residuals"])
        return original(*args, **kwargs)

    monkeypatch.setattr(unet, "forward", forward)
    return seen


def test_the_mark_tells_prompts_from_negative_ones(host, lines, added):
    """`ControlNet is more important` draws negative prompts without; other modes weigh deeper layers more."""
    for mode in ("Balanced", "My prompt is more important", "ControlNet is more important"):
        host.draw({"image": lines, "control_mode": mode}, negative_prompt="fog", steps=1)
    balanced, prompt, control = ([part.abs().amax((1, 2, 3)) for part in layers] for layers in added)
    soft = FACTS["soft_weight_of_a_layer_over_the_next"]
    for depth, (plain, softer, without) in enumerate(
        zip(reversed(balanced), reversed(prompt), reversed(control))
    ):
        assert torch.allclose(softer, plain * soft ** (depth + 1))
        assert torch.allclose(without, softer * torch.tensor([1.0, 0.0]))


def test_the_mark_is_put_once(during, lines):
    def look(p):
        tokens = p.c.batch[0][0].schedules[0].cond
        assert (tokens[0] == FACTS["mark_of_a_prompt"]).all()
        assert not (tokens[1].abs() == FACTS["mark_of_a_prompt"]).any()
        assert (p.uc[0][0].cond[0] == -FACTS["mark_of_a_prompt"]).all()

    hires = {"enable_hr": True, "hr_scale": 2.0, "hr_upscaler": "Latent", "denoising_strength": 0.9}
    assert during(look, {"image": lines}, n_iter=2, **hires)


def test_the_hires_pass_has_a_hint_of_its_own(host, lines):
    hires = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.9}
    host.draw({"image": lines}, **hires)
    sizes = [tuple(call.hint.shape[-2:]) for call in host.calls]
    assert sizes == [(64, 128)] * 2 + [(96, 192)] * (len(sizes) - 2)
    assert sizes[-1] == (96, 192)
    for option, expected in (("Low res only", (64, 128)), ("High res only", (96, 192))):
        host.calls.clear()
        host.draw({"image": lines, "hr_option": option}, **hires)
        assert {tuple(call.hint.shape[-2:]) for call in host.calls} == {expected}


def test_a_region_mask_limits_what_is_added(host, lines, added):
    mask = np.zeros((64, 128, 3), np.uint8)
    mask[:, 64:] = 255
    host.draw({"image": lines, "effective_region_mask": mask}, steps=1)
    host.draw({"image": lines}, steps=1)
    masked, whole = added
    for part, all_of_it in zip(masked, whole):
        middle = part.shape[-1] // 2
        assert not part[..., : middle - 1].any()
        assert torch.equal(part[..., middle + 1 :], all_of_it[..., middle + 1 :])


def test_an_inpainting_hint_is_masked_for_the_network(during, host, lines):
    def look(p):
        (params,) = script_of(p).latest_network.control_params
        mask = torch.zeros(1, 1, 64, 128)
        mask[..., :64] = 1
        params.hint_cond = torch.cat([params.hint_cond[:, :3], mask], 1)

    during(look, {"image": lines}, steps=1)
    (call,) = host.calls
    assert (call.hint[..., :64] == -1).all()
    assert (call.hint[..., 64:] >= 0).all()


def test_img2img_gives_its_picture_where_a_unit_has_none(host, lines):
    host.draw({"module": "invert"}, init_images=[lines], steps=4, denoising_strength=0.5)
    assert torch.equal(host.calls[0].hint[0, 0, :2, 0], torch.zeros(2))
    assert host.calls[0].hint.max() > 0.9


@pytest.mark.parametrize(
    ("mode", "corner", "width"),
    [("Just Resize", 1, 128), ("Crop and Resize", 1, 160), ("Resize and Fill", 0, 64)],
)
def test_pictures_of_other_shapes_are_fitted(host, mode, corner, width):
    """A white square on a black picture of 160×160, on a canvas of 128×64."""
    square = Image.new("RGB", (160, 160), "black")
    square.paste("white", (10, 10, 150, 150))
    host.draw({"image": square, "resize_mode": mode}, steps=1)
    hint = host.calls[0].hint[0, 0]
    assert hint.shape == (64, 128)
    assert hint[32, 64] > 0.9
    assert float(hint[32, 24] > 0.5) == corner
    bright = float((hint > 0.5).float().mean())
    expected = {"Just Resize": 0.875**2, "Crop and Resize": 0.875, "Resize and Fill": 0.5 * 0.875**2}[mode]
    assert abs(bright - expected) < 0.05


def test_preprocessors(host, lines):
    hint = sys.modules["controlnet_hint"]
    pixels = np.asarray(lines)
    assert np.array_equal(hint.detect(pixels, "invert", -1, -1, -1), 255 - pixels)
    edges = hint.detect(pixels, "canny", -1, -1, -1)
    assert set(np.unique(edges)) == {0, 255}
    assert 60 < (edges[..., 0] > 0).sum() < 400
    assert hint.detect(pixels, "canny", 128, -1, -1).shape == (128, 256, 3)
    step = np.full((64, 64, 3), 100, np.uint8)
    step[:, 32:] = 130  # a step of 30: about 120 of OpenCV's gradient
    assert hint.detect(step, "canny", -1, 20, 90).any()
    assert not hint.detect(step, "canny", -1, 20, 200).any()


@pytest.mark.parametrize(
    ("unit", "sentence"),
    [
        ({"model": "third"}, "ControlNet's model is 'third'; known are: first"),
        ({"image": None}, "ControlNet is on and has no picture: give the unit one."),
        ({"image": "no such file.png"}, "ControlNet's image is 'no such file.png'; allowed is"),
        ({"image": 5}, "ControlNet's image is a int; allowed is a picture or base64."),
        ({"module": "depth"}, "ControlNet's module is 'depth'; allowed is none, canny, invert."),
        ({"weight": 3}, "ControlNet's weight is 3; allowed is 0 to 2."),
        ({"control_mode": "Mine"}, "ControlNet's control_mode is 'Mine'; allowed is Balanced, My prompt"),
        (
            {"guidance_start": 0.5, "guidance_end": 0.4},
            "guidance_start is 0.5; allowed is up to its guidance_end",
        ),
    ],
)
def test_what_cannot_be_used_is_said(host, lines, unit, sentence):
    with pytest.raises(ValueError, match="ControlNet") as error:
        host.draw({"image": lines, **unit})
    assert sentence in str(error.value)
    host.draw()  # the next one is drawn


def test_a_model_for_another_unet_is_said(host, folder, lines):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "first.safetensors")
    key = "control_model.input_blocks.2.0.op.weight"
    save_file({**tensors, key: torch.zeros(64, 64, 3, 3)}, folder / "wide.safetensors")
    save_file({"a": torch.zeros(1)}, folder / "none.safetensors")
    host.models.update_cn_models()
    try:
        with pytest.raises(
            ValueError, match=r"wide.safetensors does not fit .* \[64, 64, 3, 3\].* needs \[32, 32"
        ):
            host.draw({"image": lines, "model": "wide"})
        with pytest.raises(ValueError, match=r"none.safetensors is no ControlNet"):
            host.draw({"image": lines, "model": "none"})
    finally:
        (folder / "wide.safetensors").unlink()
        (folder / "none.safetensors").unlink()


def test_the_page_sets_a_unit_too(host, lines, webui):
    p = host.prepare()
    script, args = script_of(p), list(p.script_args)
    assert len(script.controls) == 3 * (1 + 7)
    values = {"Enable": True, "Image": np.asarray(lines), "Model": "second", "Control Weight": 0.5}
    second = script.args_from + 3 + 7
    for place, control in enumerate(script.controls[3 + 7 : 3 + 14]):
        args[second + place] = values.get(control.label, control.value)
    p.script_args = tuple(args)
    from_page = host.process(p)
    from_api = host.draw({"image": lines, "model": "second", "weight": 0.5})
    assert np.array_equal(picture(from_page), picture(from_api))
    assert len(from_page.images) == 2  # and the hint


def test_the_infotext_comes_back_to_the_page(host, lines, webui):
    from modules import infotext_utils

    unit = {"image": lines, "module": "invert", "model": "second", "weight": 0.5, "guidance_end": 0.8}
    text = host.draw(unit).infotexts[0]
    params = infotext_utils.parse_generation_parameters(text)
    script = webui.scripts.scripts_txt2img.script("ControlNet")
    pasted = {control.label: read(params) for control, read in script.infotext_fields[:6]}
    assert pasted == {
        "Enable": True, "Preprocessor": "invert", "Model": "second", "Control Weight": 0.5,
        "Starting Control Step": 0.0, "Ending Control Step": 0.8,
    }  # fmt: skip
    assert script.infotext_fields[6][1](params) is False


def test_the_routes_of_the_api(host, lines):
    from modules.api.pictures import decode_base64_to_image, encode_pil_to_base64

    app = FastAPI()
    sys.modules["controlnet_api"].controlnet_api(None, app)
    assert {route.path for route in app.routes} >= set(FACTS["routes"])
    client = TestClient(app)
    models = client.get("/controlnet/model_list").json()["model_list"]
    assert [name.partition(" [")[0] for name in models] == ["first", "second"]
    assert client.get("/controlnet/module_list").json()["module_list"] == ["none", "canny", "invert"]
    assert client.get("/controlnet/settings").json() == {"control_net_unit_count": 3}
    image = encode_pil_to_base64(lines).decode()
    asked = {"controlnet_module": "invert", "controlnet_input_images": [image]}
    (found,) = client.post("/controlnet/detect", json=asked).json()["images"]
    assert np.array_equal(np.asarray(decode_base64_to_image(found)), 255 - np.asarray(lines))
    assert client.post("/controlnet/detect", json={"controlnet_module": "x"}).status_code == 422
    drawn = host.draw({"image": image, "model": models[1]})
    assert np.array_equal(picture(drawn), picture(host.draw({"image": lines, "model": "second"})))
