"""The HTTP API as clients use it: `webuiapi` from the package registry, and plain requests for what is wrong."""

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
import webuiapi
from PIL import Image

from examples import api_client

SMALL = {"prompt": "sea, day", "width": 128, "height": 64, "steps": 2, "seed": 5, "sampler_name": "Euler"}
MEBIBYTE = 2**20
PICTURE = webuiapi.webuiapi.raw_b64_img(Image.new("RGB", (8, 8)))


@pytest.fixture
def post(server):
    def send(path, timeout=120, **body):
        return requests.post(f"{server.url}/{path}", json=body, timeout=timeout)

    yield send
    drawn = send("txt2img", **SMALL)  # whatever was sent before, the server goes on
    assert drawn.status_code == 200
    assert len(drawn.json()["images"]) == 1


@pytest.fixture
def client(server):
    return server.client


def script_info(client, script, is_img2img=False):
    infos = requests.get(f"{client.baseurl}/script-info", timeout=30).json()
    return next(info for info in infos if info["name"] == script.lower() and info["is_img2img"] == is_img2img)


def by_label(client, script, is_img2img=False, **wanted):
    """The whole argument list, as clients build it that know labels: what is wanted, else the start value."""
    args = script_info(client, script, is_img2img)["args"]
    return [wanted.get(arg["label"], arg["value"]) for arg in args]


def tiled(client, tab="txt2img", **values):
    small = {"Latent tile width": 16, "Latent tile height": 16, "Latent tile overlap": 4}
    args = by_label(
        client, "Tiled Diffusion", tab == "img2img", **{"Tiled Diffusion": True, **small, **values}
    )
    return {"Tiled Diffusion": {"args": args}}


def test_a_client_draws_a_tiled_panorama_with_regions(client):
    region = {"Enable Region 1": True, "Enable Control": True, "Draw full canvas background": True}
    scripts = tiled(client, **region)
    result = client.txt2img(**{**SMALL, "width": 512}, alwayson_scripts=scripts)
    assert result.image.size == (512, 64)
    text = result.info["infotexts"][0]
    assert "Tiled Diffusion" in text
    assert "regions" in text
    assert result.image.info["parameters"] == text


def test_the_example_of_the_readme(server, tmp_path, capsys):
    out = tmp_path / "panorama.png"
    api_client.main(["--port", str(server.port), "--width", "512", "--steps", "1", "--out", str(out)])
    assert Image.open(out).size == (512, 256)
    assert re.fullmatch(rf"Wrote {out}; the region's seed was \d+\.\n", capsys.readouterr().out)


def test_positions_and_names_are_the_same_thing(client):
    by_name = client.txt2img(
        **{**SMALL, "width": 256}, alwayson_scripts=tiled(client, Method="MultiDiffusion")
    )
    positions = [True, "MultiDiffusion", False, True, 1024, 1024, 16, 16, 4]
    by_place = client.txt2img(
        **{**SMALL, "width": 256}, alwayson_scripts={"Tiled Diffusion": {"args": positions}}
    )
    assert by_name.image.tobytes() == by_place.image.tobytes()
    assert by_name.info["infotexts"] == by_place.info["infotexts"]


PUBLIC = [
    True, "Mixture of Diffusers", False, True, 512, 256, 32, 32, 16, 4, "None", 2, False, 30, 1, 0, 64, False,
    False, False, False,
]  # fmt: skip
"""As clients of the original send them, in place of regions with one more argument."""


@pytest.mark.parametrize("trailing", [None, [], {}])
@pytest.mark.parametrize("tab", ["txt2img", "img2img"])
def test_clients_of_the_original_that_send_nothing_in_place_of_regions(post, tab, trailing):
    picture = webuiapi.webuiapi.b64_img(Image.new("RGB", (256, 64), "teal"))
    body = {**SMALL, "width": 256, **({"init_images": [picture]} if tab == "img2img" else {})}
    plain, more = (
        post(tab, **body, alwayson_scripts={"Tiled Diffusion": {"args": args}}).json()
        for args in (PUBLIC, [*PUBLIC, trailing])
    )
    assert plain["images"] == more["images"]


def test_settings_by_name_draw_what_the_same_values_by_position_draw(client):
    tiles = {
        "tile_width": 16,
        "tile_height": 16,
        "overlap": 4,
        "method": "MultiDiffusion",
        "draw_background": True,
    }
    region = {"x": 0.5, "y": 0, "w": 0.5, "h": 1, "prompt": "meadow", "seed": 4}
    place = [True, "MultiDiffusion", False, True, 1024, 1024, 16, 16, 4, 4, "None", 2.0, False, 10, 1, 1, 64]
    place += [False, True, True, False, True, 0.5, 0, 0.5, 1, "meadow", "", "Background", 0.2, 4]
    named = {**tiles, "regions": [region]}
    every = [control["value"] for control in script_info(client, "tiled diffusion")["args"][:-1]]

    def drawn(args):
        scripts = {"Tiled Diffusion": {"args": args}}
        result = client.txt2img(**{**SMALL, "width": 256}, alwayson_scripts=scripts)
        return result.image.tobytes(), result.info["infotexts"]

    expected = drawn(place)
    for args in (
        [named],
        [True, named],
        [True, *every[1:], named],
        [*place[:1], "Mixture of Diffusers", named],
    ):
        assert drawn(args) == expected


def test_tiled_vae_by_name_after_all_its_values_by_position(client):
    every = [True, *[control["value"] for control in script_info(client, "tiled vae")["args"][1:-1]]]
    named = {"decoder_tile_size": 48, "fast_decoder": True}
    texts = set()
    for args in ([named], [*every, named], [True, named]):
        texts |= set(
            client.txt2img(**SMALL, alwayson_scripts={"Tiled VAE": {"args": args}}).info["infotexts"]
        )
    (text,) = texts
    assert 'decoder_tile_size\\": 48' in text


def test_info_tells_the_first_pictures_settings(client):
    region = {"x": 0, "y": 0, "w": 0.5, "h": 1, "seed": 40}
    args = [{"tile_width": 16, "tile_height": 16, "overlap": 4, "regions": [region]}]
    scripts = {"Tiled Diffusion": {"args": args}}
    result = client.txt2img(**{**SMALL, "steps": 1, "batch_size": 2}, n_iter=2, alwayson_scripts=scripts)
    told = json.loads(result.info["extra_generation_params"]["Tiled Diffusion"])
    assert told["regions"][0]["seed"] == 40
    assert told["tile_width"] == 16
    texts = result.info["infotexts"][result.info["index_of_first_image"] :]
    assert [json.loads(parsed(text)["Tiled Diffusion"])["regions"][0]["seed"] for text in texts] == [
        40,
        41,
        42,
        43,
    ]


def parsed(text):
    from modules import infotext_utils

    return infotext_utils.parse_generation_parameters(text, [])


def test_progress_rises_and_an_interrupt_stops(client, server):
    def draw():
        return client.txt2img(**{**SMALL, "steps": 40, "width": 256}, alwayson_scripts=tiled(client))

    def watch(job, until=lambda progress: False):
        seen = []
        while not job.done():
            progress = client.get_progress()
            if progress["state"]["job_count"]:
                seen.append(progress["progress"])
                if until(progress):
                    requests.post(f"{server.url}/interrupt", timeout=10)
            time.sleep(0.02)
        return seen

    with ThreadPoolExecutor() as pool:
        seen = watch(pool.submit(draw))
        assert seen == sorted(seen)
        assert seen[0] < 0.3
        assert seen[-1] > 0.9
        assert client.get_progress()["progress"] == 0

        job = pool.submit(draw)
        watch(job, until=lambda progress: progress["state"]["sampling_step"] >= 2)
        assert job.result().image.size == (256, 64)
    assert client.get_progress()["state"]["job_count"] == 0


def test_two_calls_at_once_are_drawn_one_after_the_other(client):
    alone = client.txt2img(**SMALL).image.tobytes()
    with ThreadPoolExecutor() as pool:
        both = list(pool.map(lambda _: client.txt2img(**SMALL), range(2)))
    assert [result.image.tobytes() for result in both] == [alone, alone]


def test_img2img_and_png_info_and_infotext(client, post):
    picture = Image.new("RGB", (256, 64), "teal")
    result = client.img2img(
        images=[picture], **{**SMALL, "width": 256}, alwayson_scripts=tiled(client, "img2img")
    )
    assert result.image.size == (256, 64)
    text = client.png_info(result.image).info
    assert text == result.info["infotexts"][0]
    info = post("png-info", image=webuiapi.webuiapi.b64_img(result.image)).json()
    assert info["parameters"]["Seed"] == "5"
    again = post("txt2img", infotext=text, width=64).json()
    assert again["parameters"]["steps"] == 2
    assert '"width": 64' in again["info"]
    assert "Tiled Diffusion" in again["info"]


def test_what_a_client_may_ask_for(client, server, webui, tmp_path, monkeypatch):
    monkeypatch.setattr(webui.shared, "config_filename", str(tmp_path / "config.json"))
    assert "Euler a" in [sampler["name"] for sampler in client.get_samplers()]
    assert "Karras" in [scheduler["label"] for scheduler in client.get_schedulers()]
    assert {"None", "Lanczos"} <= {upscaler["name"] for upscaler in client.get_upscalers()}
    assert any(model["title"].startswith("random") for model in client.get_sd_models())
    assert {"tiled diffusion", "tiled vae", "x/y/z plot"} <= set(client.get_scripts()["txt2img"])
    assert client.get_cmd_flags()["md_max_regions"] >= 1
    before = client.get_options()["send_seed"]
    client.set_options({"send_seed": not before})
    assert client.get_options()["send_seed"] is not before
    assert '"send_seed"' in (tmp_path / "config.json").read_text()
    client.set_options({"send_seed": before})
    for path in (
        "sd-vae", "hypernetworks", "face-restorers", "realesrgan-models", "prompt-styles", "embeddings", "memory",
        "latent-upscale-modes",
    ):  # fmt: skip
        assert requests.get(f"{server.url}/{path}", timeout=30).status_code == 200


def test_a_client_draws_an_x_y_z_plot(client):
    axes = {"X type": 1, "X values": "1, 2, 3", "Y type": 0, "Z type": 0}  # numbers of the choices
    args = by_label(client, "X/Y/Z plot", **axes)
    result = client.txt2img(**SMALL, script_name="X/Y/Z plot", script_args=args)
    assert 'X Values: "1, 2, 3"' in result.info["infotexts"][0]
    assert result.image.width >= 3 * 128


def test_pictures_of_a_selected_script_share_a_list(post, monkeypatch):
    from modules import processing, scripts

    seen = []

    def run(p, *args):
        seen.append(p.script_args)
        return processing.process_images(p)

    monkeypatch.setattr(scripts.scripts_txt2img, "run", run)
    assert post("txt2img", **SMALL, script_name="X/Y/Z plot", script_args=[]).status_code == 200
    assert isinstance(seen[0], list)


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("txt2img", {"steps": "many"}, 422, "steps"),
        ("txt2img", {"alwayson_scripts": "Tiled VAE"}, 422, "alwayson_scripts"),
        ("txt2img", {"sampler_name": "Euler b"}, 400, "There is no sampler 'Euler b'"),
        ("txt2img", {"script_name": "no such"}, 422, "There is no script 'no such'"),
        ("txt2img", {"alwayson_scripts": {"no such": {"args": []}}}, 422, "There is no script 'no such'"),
        (
            "txt2img",
            {"alwayson_scripts": {"x/y/z plot": {"args": []}}},
            422,
            "'x/y/z plot' is chosen by script_name",
        ),
        ("txt2img", {"alwayson_scripts": {"tiled diffusion": {"args": 5}}}, 422, "allowed is {"),
        (
            "txt2img",
            {"alwayson_scripts": {"tiled diffusion": {"args": [True, "Mix"]}}},
            500,
            "'Method' is 'Mix'; allowed is",
        ),
        (
            "txt2img",
            {"alwayson_scripts": {"tiled diffusion": {"args": [True, "MultiDiffusion", *["x"] * 400]}}},
            500,
            "allowed is true or false",
        ),
        (
            "txt2img",
            {"alwayson_scripts": {"tiled diffusion": {"args": [{"tile_width": "32"}]}}},
            500,
            "'Latent tile width' is '32', a text; allowed is a number, 16 to 256",
        ),
        (
            "txt2img",
            {"alwayson_scripts": {"tiled diffusion": {"args": [{"regions": [{"prompt": "\ud800"}]}]}}},
            422,
            "'alwayson_scripts.tiled diffusion.args[0].regions[0].prompt' has half of a character",
        ),
        (
            "txt2img",
            {
                "alwayson_scripts": {
                    "tiled diffusion": {"args": [{"regions": [{"prompt": "<lora:snow:nan>"}]}]}
                }
            },
            500,
            "'Prompt' holds the number 'nan'; allowed are finite ones.",
        ),
        ("txt2img", {"width": 4}, 500, "'Width' is 4; allowed is 8 to 16384"),
        ("txt2img", {"width": None}, 500, "'Width' is None; allowed is 8 to 16384"),
        ("txt2img", {"script_name": "Tiled Diffusion"}, 422, "send its arguments under alwayson_scripts"),
        ("txt2img", {"override_settings": {"no_such": 1}}, 500, "There is no option 'no_such' here"),
        ("txt2img", {"override_settings": {"CLIP_stop_at_last_layers": 99}}, 500, "allowed is 1 to 12"),
        ("options", {"no_such": 1}, 500, "There is no option 'no_such' here"),
        ("options", {"send_seed": "yes"}, 500, "'send_seed' is 'yes'; allowed is a bool"),
        ("img2img", {"init_images": [None]}, 422, "A picture is None; allowed is a text in base64"),
        (
            "extra-single-image",
            {"image": PICTURE, "upscaling_resize": 1e9},
            422,
            "allowed are 1 to 16384 pixels",
        ),
        ("img2img", {}, 404, "There is no init image"),
        ("img2img", {"init_images": ["bm90aGluZw=="]}, 500, "That is no picture in base64"),
        ("img2img", {"init_images": ["http://127.0.0.1/x.png"]}, 500, "An address is not fetched"),
        ("png-info", {"image": "%"}, 500, "That is no picture in base64"),
        ("options", {"sd_model_checkpoint": "nowhere"}, 500, "There is no checkpoint 'nowhere'"),
    ],
)
def test_what_is_wrong_is_said(post, path, body, status, words):
    answer = post(path, **{**(SMALL if path.endswith("2img") else {}), **body})
    assert answer.status_code == status
    assert words in answer.text


def test_fewer_arguments_than_the_script_has(post):
    answer = post("txt2img", **SMALL, alwayson_scripts={"Tiled Diffusion": {"args": [True]}})
    assert answer.status_code == 200


@pytest.mark.parametrize("field", ["init_images", "mask", "steps"])
def test_a_body_of_fifty_megabytes(post, field):
    large = "A" * (50 * MEBIBYTE)
    body = {"init_images": [large]} if field == "init_images" else {"init_images": ["A"], field: large}
    answer = post("img2img", **{**SMALL, **body})
    assert answer.status_code == (422 if field == "steps" else 500)
    assert len(answer.content) < MEBIBYTE
