"""The routes of sd-webui-controlnet's API."""

from __future__ import annotations

from typing import Any

from controlnet_hint import CANNY_HIGH, CANNY_LOW, PREPROCESSORS, detect, picture_of
from controlnet_models import cn_models, update_cn_models
from fastapi import FastAPI
from fastapi.exceptions import HTTPException
from PIL import Image
from pydantic import BaseModel

from modules import shared
from modules.api.pictures import encode_pil_to_base64

VERSION = 3


DETAILS: dict[str, dict[str, Any]] = {name: {"model_free": False, "sliders": []} for name in PREPROCESSORS}
DETAILS["canny"]["sliders"] = [
    {"name": name, "min": 1, "max": 255, "step": 1, "value": value}
    for name, value in (("Low Threshold", CANNY_LOW), ("High Threshold", CANNY_HIGH))
]


class Detection(BaseModel):
    """A question for `detect`."""

    controlnet_module: str = "none"
    controlnet_input_images: list[str] = []
    controlnet_processor_res: int = -1
    controlnet_threshold_a: float = -1
    controlnet_threshold_b: float = -1


def controlnet_api(_demo: Any, app: FastAPI) -> None:
    @app.get("/controlnet/version")
    def version():
        return {"version": VERSION}

    @app.get("/controlnet/model_list")
    def model_list(update: bool = True):
        if update:
            update_cn_models()
        return {"model_list": [name for name in cn_models if name != "None"]}

    @app.get("/controlnet/module_list")
    def module_list(alias_names: bool = False):
        return {"module_list": list(PREPROCESSORS), "module_detail": DETAILS}

    @app.get("/controlnet/settings")
    def settings():
        return {"control_net_unit_count": shared.opts.control_net_unit_count}

    @app.post("/controlnet/detect")
    def detected(asked: Detection):
        module, images = asked.controlnet_module, asked.controlnet_input_images
        if module not in PREPROCESSORS:
            raise HTTPException(status_code=422, detail="Module not available")
        if not images:
            raise HTTPException(status_code=422, detail="No image selected")
        thresholds = asked.controlnet_threshold_a, asked.controlnet_threshold_b
        found = [
            detect(picture_of(image), module, asked.controlnet_processor_res, *thresholds) for image in images
        ]
        return {"info": "Success", "images": [encode_pil_to_base64(Image.fromarray(each)) for each in found]}
