"""Pictures before they are latents: the host's upscalers, and its own ways to read and fit an image."""

from __future__ import annotations

from typing import Any

from PIL import Image

from modules import images, shared


def upscalers() -> list[str]:
    return [data.name for data in shared.sd_upscalers]


def upscaled(picture: Image.Image, factor: float, name: str) -> Image.Image:
    data = next(data for data in shared.sd_upscalers if data.name == name)
    return data.scaler.upscale(picture, factor, data.data_path)


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
