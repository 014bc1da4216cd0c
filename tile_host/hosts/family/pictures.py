"""Pictures before they are latents: the host's upscalers, and its own ways to read and fit an image."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PIL import Image

from modules import images, shared

CLIP, DEEPBOORU = "CLIP", "DeepBooru"


def upscalers() -> list[str]:
    return [data.name for data in shared.sd_upscalers]


def upscaled(picture: Image.Image, factor: float, name: str) -> Image.Image:
    data = next(data for data in shared.sd_upscalers if data.name == name)
    return data.scaler.upscale(picture, factor, data.data_path)


def interrogators() -> list[str]:
    has_tags = importlib.util.find_spec("modules.deepbooru") is not None
    names = {CLIP: getattr(shared, "interrogator", None) is not None, DEEPBOORU: has_tags}
    return [name for name, is_there in names.items() if is_there]


@contextmanager
def _job_kept() -> Iterator[None]:
    """Inside, what begins and ends a job of its own leaves the one at hand as it is, but for a request to stop."""
    state = vars(shared.state)
    before = dict(state)
    try:
        yield
    finally:
        asked = {name: True for name in ("interrupted", "skipped") if state.get(name)}
        state.clear()
        state.update(before | asked)


def caption(name: str, picture: Image.Image) -> str | None:
    with _job_kept():
        if name == DEEPBOORU:
            return str(importlib.import_module("modules.deepbooru").model.tag(picture))
        text = str(shared.interrogator.interrogate(picture))
    return None if "<error>" in text else text  # the host's mark; it has told why


def opaque(picture: Image.Image) -> Image.Image:
    return images.flatten(picture, shared.opts.img2img_background_color)


def encoded(p: Any) -> list[Image.Image]:
    found = []
    for image in map(opaque, p.init_images):
        if p.paste_to is not None:  # inpainting "only masked"
            left, top, width, height = p.paste_to
            cropped = image.crop((left, top, left + width, top + height))
            found.append(images.resize_image(2, cropped, p.width, p.height))
        else:
            found.append(images.resize_image(p.resize_mode % 3, image, p.width, p.height))
    return found
