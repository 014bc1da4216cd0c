"""What nobody types and somebody sends: texts of megabytes, pictures of gigapixels, numbers that are none."""

import base64
import contextlib
import io
import json
import re
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

MANY = 10**6
REAL_PARAM = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:$|,)')
REAL_WEIGHT = re.compile(r"\A(.*?)(?:\s*:\s*([+-]?(?:\d+\.?\d*|\.\d+)))?\s*\Z", re.DOTALL)
"""The WebUI's own expressions, whose time grows with the square of a text's length."""
LONG = {
    "a word": "a" * MANY,
    "spaces": "a" + " " * MANY + "b",
    "tabs": "\t" * MANY + "b",
    "base64": "data:image/svg+xml;base64," + "PHN2/ab+" * (MANY // 8),
    "opened brackets": "(a" * (MANY // 2),
    "dashes": "-/" * (MANY // 2) + ":x",
    "mentions": "<lora:" * (MANY // 6),
    "digits": "a:" + "1" * MANY + "x",
    "a size": "aa: " + "1" * MANY + "x1, bb: 2, cc: 3",
    "BREAK": "BREAK " * (MANY // 6),
}


@given(st.text(alphabet='ab-/ :,"\\\n\té(1)', max_size=24))
def test_parameters_are_those_that_the_real_expression_finds(webui, text):
    from modules.infotext_text import re_param

    assert re_param.findall(text) == REAL_PARAM.findall(text)


@given(st.text(alphabet="a :.1-+\n", max_size=14))
def test_weights_of_and_are_those_that_the_real_expression_finds(webui, text):
    from modules.prompt_parser import re_weight

    assert re_weight.search(text).groups() == REAL_WEIGHT.search(text).groups()


@given(
    st.lists(st.sampled_from(["a", "(", ")", "[", "]", ":1.2", ":1.2.3)", " ", "BREAK", "\\", "\n"])).map(
        "".join
    )
)
def test_emphasis_keeps_every_text(webui, text):
    from modules.prompt_emphasis import parse_prompt_attention

    if ":1.2.3)" in text:  # a weight where a bracket is open, else text
        with contextlib.suppress(ValueError):
            parse_prompt_attention(text)
        return
    pieces = parse_prompt_attention(text)
    kept = "".join(piece for piece, _ in pieces).replace("BREAK", "")
    assert kept.count("a") == text.count("a")
    assert all(before[1] != after[1] for before, after in zip(pieces, pieces[1:]))


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_a_megabyte_is_read_once(webui, text):
    """A time that grows with the square of the length would be hours."""
    from modules import extra_networks, infotext_utils, prompt_parser

    read = infotext_utils.parse_generation_parameters(text)
    assert read["Prompt"] or read["Negative prompt"] == ""
    assert prompt_parser.get_multicond_prompt_list([text])[1]
    assert extra_networks.parse_prompt(text)[0] == text


def test_brackets_deeper_than_functions_may_be_are_text(webui):
    from modules.prompt_parser import get_learned_conditioning_prompt_schedules

    deep = "[" * 3000 + "a:b:0.5" + "]" * 3000
    assert get_learned_conditioning_prompt_schedules([deep], 10) == [[[10, deep]]]


@pytest.mark.parametrize(("when", "step"), [("1e400", 10), ("-1e400", 10), ("1e400.", 10), ("3", 3)])
def test_a_change_after_the_last_step_never_comes(webui, when, step):
    from modules.prompt_parser import get_learned_conditioning_prompt_schedules

    (found,) = get_learned_conditioning_prompt_schedules([f"[a:b:{when}]"], 10)
    assert found[0][0] == step


def one_bit_png(side, **texts):
    """A PNG of side × side black pixels that is small as a file."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    row = bytes(1 + (side + 7) // 8)
    rows = b"".join([packer.compress(row * 100) for _ in range(side // 100)] + [packer.flush()])
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("side", "pixels"), [(12000, 144), (60000, 3600)])
def test_a_picture_is_refused_by_its_pixels(webui, tmp_path, side, pixels):
    import gradio as gr
    from fastapi.exceptions import HTTPException

    from miniwebui import render_options
    from modules.api.pictures import decode_base64_to_image

    sentence = f"The picture has {pixels} megapixels; allowed are 89."
    data = one_bit_png(side)
    encoded = base64.b64encode(data).decode()
    with pytest.raises(HTTPException) as refused:
        decode_base64_to_image(encoded)
    assert (refused.value.status_code, refused.value.detail) == (422, sentence)
    with pytest.raises(gr.Error) as shown:
        gr.Image(type="pil").preprocess(f"data:image/png;base64,{encoded}")
    assert shown.value.message == sentence
    (tmp_path / "large.png").write_bytes(data)
    with pytest.raises(render_options.UsageError, match=sentence):
        render_options._picture(tmp_path / "large.png", "--init")


@pytest.mark.parametrize(
    "data", [b"<svg xmlns='http://www.w3.org/2000/svg'/>" * 1000, b"", b"\x89PNG\r\n\x1a\n"]
)
def test_what_is_no_picture_is_told_on_the_page(webui, data):
    import gradio as gr

    with pytest.raises(gr.Error) as shown:
        gr.Image(type="pil").preprocess(f"data:image/svg+xml;base64,{base64.b64encode(data).decode()}")
    assert shown.value.message == "That is no picture that can be read: PNG, JPEG or WebP."


def test_png_info_of_a_text_of_a_megabyte(webui):
    from modules.api.models import PNGInfoRequest
    from modules.api.questions import Questions

    info, buffer = PngImagePlugin.PngInfo(), io.BytesIO()
    info.add_text("parameters", "a" * (MANY - 1))
    Image.new("RGB", (8, 8)).save(buffer, format="PNG", pnginfo=info)
    request = PNGInfoRequest(image=base64.b64encode(buffer.getvalue()).decode())
    assert len(Questions().pnginfoapi(request).info) == MANY - 1


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("img2img_color_correction", True, "There is no option 'img2img_color_correction' here."),
        ("sd_vae_decode_method", "TAESD", "There is no option 'sd_vae_decode_method' here."),
        ("CLIP_stop_at_last_layers", 99, "'CLIP_stop_at_last_layers' is 99; allowed is 1 to 12."),
        ("CLIP_stop_at_last_layers", None, "'CLIP_stop_at_last_layers' is None; allowed is a int."),
        ("randn_source", "TPU", "'randn_source' is 'TPU'; allowed is one of GPU, CPU, NV."),
        ("eta_ancestral", float("nan"), "'eta_ancestral' is nan; allowed is a finite number."),
        ("tiling", "yes", "'tiling' is 'yes'; allowed is a bool."),
        (
            "sd_model_checkpoint",
            ["a"],
            "'sd_model_checkpoint' is ['a']; allowed is a text, a number or nothing.",
        ),
    ],
)
def test_an_option_is_checked_before_anything_is_drawn(webui, key, value, sentence):
    webui.draw()  # which loads the checkpoint
    before = dict(webui.shared.opts.data)
    with pytest.raises(ValueError, match=re.escape(sentence)):
        webui.draw(override_settings={"send_seed": False, key: value})
    assert webui.shared.opts.data == before


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"width": None}, "'Width' is None; allowed is 8 to 16384."),
        ({"cfg_scale": float("nan")}, "'CFG scale' is nan; allowed is -1000 to 1000."),
        ({"prompt": "sea \ud800"}, "The prompt has half of a character (a lone surrogate) at place 5"),
        ({"negative_prompt": None}, "The negative prompt is None; allowed is a text."),
        ({"seed": 10**30}, "The seed is 1000000000000000000000000000000; allowed is"),
        (
            {"batch_size": 1000, "width": 4096, "height": 4096},
            "A batch has 1000 pictures of 4096x4096 pixels",
        ),
        (
            {"enable_hr": True, "hr_scale": 60.0, "width": 1024},
            "Hires. fix makes 61440x7680; allowed are 8 to",
        ),
        ({"override_settings": {"CLIP_stop_at_last_layers": 12}}, "Clip skip is 12; allowed is 1 to"),
        ({"prompt": "(sea:1.2.3)"}, "A weight in the prompt is '1.2.3'"),
    ],
)
def test_settings_that_cannot_be_drawn_are_named(webui, arguments, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        webui.draw(**arguments)


@pytest.mark.parametrize("weight", ["nan", "inf", "much"])
def test_a_lora_whose_weight_is_no_number_is_left_out_in_words(webui, weight):
    plain = webui.draw(prompt="sea")
    drawn = webui.draw(prompt=f"sea<lora:snow:{weight}>")
    assert drawn.images[0].tobytes() == plain.images[0].tobytes()
    assert f"<lora:snow:{weight}> is left out: its numbers are none." in drawn.comments


def test_a_file_is_written_whole_or_stays_as_it_was(webui, tmp_path, monkeypatch):
    from modules import options, paths, util

    path = tmp_path / "config.json"
    path.write_text("before")
    saved = options.Options({"a": options.OptionInfo("half \ud800")}, set())
    for write in (lambda: saved.save(str(path)), lambda: util.write_text(path, "half \ud800")):
        with pytest.raises(UnicodeEncodeError):
            write()
        assert [file.name for file in tmp_path.iterdir()] == ["config.json"]
        assert path.read_text() == "before"
    util.write_text(path, "after")
    assert path.read_text() == "after"

    monkeypatch.setattr(paths, "data_path", str(tmp_path))
    monkeypatch.setattr(webui.shared.cmd_opts, "no_prompt_history", False)
    webui.draw(prompt="remembered")
    kept = (tmp_path / "params.txt").read_text()
    monkeypatch.setattr(webui.shared.sd_model.sd_checkpoint_info, "name_for_extra", "half \ud800")
    with pytest.raises(UnicodeEncodeError):
        webui.draw(prompt="lost")
    assert (tmp_path / "params.txt").read_text() == kept


def test_a_picture_that_cannot_be_saved_leaves_nothing(webui, tmp_path):
    from modules import images

    with pytest.raises(UnicodeEncodeError):
        images.save_image(
            Image.new("RGB", (8, 8)), str(tmp_path), "", 1, "sea", info="half \ud800", save_to_dirs=False
        )
    assert list(tmp_path.iterdir()) == []


def test_the_body_of_a_request_must_fit_into_its_answer(webui):
    from fastapi.exceptions import HTTPException

    from modules.api.arguments import refuse_unreadable

    body = json.loads('{"script_args": [1, {"deep": "\\ud800"}]}')
    for value, sentence in (
        (body, "'script_args[1].deep' has half of a character"),
        ({"eta": float("nan")}, "'eta' is nan; allowed is a finite number."),
        ({"alwayson_scripts": {"\ud800": 1}}, "'alwayson_scripts' has half of a character"),
    ):
        with pytest.raises(HTTPException) as refused:
            refuse_unreadable(value, "")
        assert refused.value.status_code == 422
        assert sentence in refused.value.detail
