"""Whatever a client sends to either script, it gets a picture or one sentence, and the server goes on.

`BODIES=2000 .venv/bin/python -m pytest tests/test_api_bodies.py` tries more than the suite does.
"""

import base64
import io
import json
import os
from dataclasses import replace

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.settings_strategies import diffusion, vae
from tests.test_exchange import json_values
from tile_utils import exchange

BODIES = int(os.environ.get("BODIES", "40"))
SMALL = {"prompt": "sea", "width": 128, "height": 64, "steps": 1, "seed": 5, "sampler_name": "Euler"}
PICTURE = io.BytesIO()
Image.new("RGB", (128, 64), "teal").save(PICTURE, "PNG")


def lists(cls_settings):
    """Argument lists: valid ones, by position or by name, whole, cut, or with other things in a place or at the end."""
    whole = cls_settings.map(lambda values: exchange.to_args(values, 8))
    named = cls_settings.map(lambda values: [exchange.to_dict(values)])
    places = st.integers(0, 101)
    cut = st.builds(lambda args, end, more: [*args[:end], more], whole, places, json_values)
    changed = st.builds(
        lambda args, place, value: [*args[:place], value, *args[place + 1 :]], whole, places, json_values
    )
    return whole | named | cut | changed | st.lists(json_values, max_size=30).map(lambda args: [True, *args])


def quick(values, upscaler):
    """On, and without what takes minutes: 16384 pixels a side, 200 steps backwards."""
    return replace(
        values, enabled=True, overwrite_size=False, image_width=256, image_height=256, upscaler_name=upscaler,
        scale_factor=min(values.scale_factor, 2), noise_inverse_steps=min(values.noise_inverse_steps, 3),
    )  # fmt: skip


DIFFUSION = lists(st.builds(quick, diffusion, st.sampled_from(["None", "Nearest", "no such"])))
VAE = lists(vae.map(lambda values: replace(values, enabled=True)))


@pytest.mark.parametrize("tab", ["txt2img", "img2img"])
def test_a_picture_or_a_sentence(server, tab):
    started = {"init_images": [base64.b64encode(PICTURE.getvalue()).decode()]} if tab == "img2img" else {}
    told = {}

    @settings(max_examples=BODIES // 2)
    @given(DIFFUSION, VAE)
    def ask(diffusion_args, vae_args):
        scripts = {"Tiled Diffusion": {"args": diffusion_args}, "Tiled VAE": {"args": vae_args}}
        body = json.dumps({**SMALL, **started, "alwayson_scripts": scripts})
        answer = requests.post(f"{server.url}/{tab}", data=body, timeout=300)
        told[answer.status_code] = told.get(answer.status_code, 0) + 1
        if answer.status_code == 200:
            assert len(answer.json()["images"]) == 1
        elif answer.status_code == 422:  # half of a character somewhere
            assert answer.json()["detail"].startswith("'alwayson_scripts.Tiled ")
        else:
            assert answer.json()["error"] == "SettingsError", answer.text
            assert answer.json()["errors"].startswith(("Tiled Diffusion", "Tiled VAE"))

    ask()
    print(tab, told)
    assert {200, 500} <= set(told)
