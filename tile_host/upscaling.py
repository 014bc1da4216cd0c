"""img2img's input before the host takes it up: read rightly, upscaled, its mask with it, and the canvas' size."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from tile_host.door import host
from tile_utils import patching
from tile_utils.settings import SettingsError, TiledDiffusionSettings, control_fields, control_of

logger = logging.getLogger("Tiled Diffusion")
NO_UPSCALER = "None"
MAX_SIDE = 16384
AROUND = 32
"""Pixels that an upscaler is given of the opposite edge, where edges are joined."""
MASKS = ("image_mask", "latent_mask")
EXIF_ORIENTATION = 0x0112
_CONTROLS = {spec.name: control_of(spec) for spec in control_fields(TiledDiffusionSettings)}
_SCALE, _KEEP = _CONTROLS["scale_factor"], _CONTROLS["keep_input_size"]


@contextmanager
def prepared_input(p: Any, settings: TiledDiffusionSettings, wraps: tuple[bool, bool]) -> Iterator[None]:
    """Inside, the processing object holds the flattened and upscaled init images, masks of their size, and the
    canvas' size; afterwards what it held before.

    The canvas has the (upscaled) input's size with `keep_input_size`, else `scale_factor` times the size that the
    page or the client asked for; without an upscaler that is also the size of what is drawn of "Only masked".

    Args:
        wraps: (down, across): edges of the input that are joined.

    Raises:
        SettingsError: there is no image, or an empty one; no such upscaler; a side would pass 16384 pixels.
    """
    check_upscaler(settings.upscaler_name)
    enlarges = settings.upscaler_name != NO_UPSCALER
    scale = settings.scale_factor if enlarges else 1.0
    inputs = _inputs(p, scale)
    crops = not enlarges and getattr(p, "image_mask", None) is not None and p.inpaint_full_res
    keeps = settings.keep_input_size and not crops
    wanted = inputs[0].size if keeps else (p.width, p.height)
    _check_side(wanted, scale, "the input image" if keeps else "the size")
    if enlarges:
        logger.info("Upscaling %dx%d by %g with %s.", *inputs[0].size, scale, settings.upscaler_name)
        inputs = _upscaled(inputs, settings.upscaler_name, scale, wraps)
    multiple = host.facts.size_multiple()
    canvas = inputs[0].size if keeps else tuple(int(side * scale) for side in wanted)
    width, height = (side // multiple * multiple for side in canvas)
    if keeps and (width, height) != (p.width, p.height):
        logger.info(
            "'%s' is on: %dx%d is drawn, not the page's %dx%d.", _KEEP.label, width, height, p.width, p.height
        )
    with ExitStack() as stack:
        stack.enter_context(patching.attribute(p, "init_images", inputs))
        for name in MASKS:
            mask = getattr(p, name, None)
            if mask is not None and mask.size != inputs[0].size:
                # a pixel of the mask becomes a block: what is kept stays kept to the pixel
                larger = mask.resize(inputs[0].size, Image.Resampling.NEAREST)
                stack.enter_context(patching.attribute(p, name, larger))
        for name, side in (("width", width), ("height", height)):
            stack.enter_context(patching.attribute(p, name, side))
        yield


def check_upscaler(name: str) -> None:
    """Raises SettingsError for one that the host does not have."""
    known = host.pictures.upscalers()
    if name not in known:
        raise SettingsError(f"Tiled Diffusion: 'Upscaler' is '{name}'; known are {', '.join(known)}.")


def _inputs(p: Any, scale: float) -> list[Image.Image]:
    """The init images as opaque RGB, each checked; one object stays one."""
    given = p.init_images or [None]
    if any(image is None for image in given):
        raise SettingsError("Tiled Diffusion: there is no image to start from.")
    opaque = {id(image): flattened(image) for image in given}
    for image in opaque.values():
        _check_side(image.size, scale, "the input image")
    return [opaque[id(image)] for image in given]


def _check_side(size: tuple[int, int], scale: float, what: str) -> None:
    """Raises SettingsError for a canvas or image that is nothing, or too large."""
    width, height = size
    shown = f"{what} is {width}x{height} pixels"
    smallest = host.facts.size_multiple()
    if int(min(size) * scale) < smallest:
        raise SettingsError(
            f"Tiled Diffusion: {shown}; allowed are at least {smallest} a side after scaling."
        )
    if int(max(size) * scale) <= MAX_SIDE:
        return
    if max(size) > MAX_SIDE:
        raise SettingsError(f"Tiled Diffusion: {shown}; allowed are at most {MAX_SIDE} a side.")
    step = _SCALE.step or 1
    largest = math.floor(MAX_SIDE / max(size) / step + 1e-9) * step
    raise SettingsError(
        f"Tiled Diffusion: '{_SCALE.label}' is {scale:g} and {shown}; the largest that stays within {MAX_SIDE} "
        f"pixels a side is {largest:.2f}."
    )


def _upscaled(
    inputs: list[Image.Image], upscaler: str, scale: float, wraps: tuple[bool, bool]
) -> list[Image.Image]:
    multiple = host.facts.size_multiple()
    larger = {id(image): image for image in inputs}
    for key, image in larger.items():
        width, height = (int(side * scale) // multiple * multiple for side in image.size)
        larger[key] = enlarged(image, scale, (width, height), upscaler, wraps)
    return [larger[id(image)] for image in inputs]


def enlarged(
    image: Image.Image, scale: float, size: tuple[int, int], upscaler: str, wraps: tuple[bool, bool]
) -> Image.Image:
    """An image, enlarged `scale` times by the host, then fitted to `size`.

    Where it goes on at the opposite edge, the host is given more of it, which is cut again.
    """
    across, down = (min(AROUND, side) * joined for side, joined in zip(image.size, reversed(wraps)))
    padded = image
    if down or across:
        pixels = np.pad(np.asarray(image), ((down, down), (across, across), (0, 0)), mode="wrap")
        padded = Image.fromarray(pixels)
    larger = padded
    if upscaler != NO_UPSCALER:
        larger = host.pictures.upscaled(padded, scale, upscaler)
    x, y = larger.width / padded.width, larger.height / padded.height  # the host rounds sizes
    box = (across * x, down * y, (across + image.width) * x, (down + image.height) * y)
    is_cut = all(side % 1 == 0 for side in box)
    if is_cut and size == (box[2] - box[0], box[3] - box[1]):
        return larger.crop(box)
    return larger.resize(size, Image.Resampling.LANCZOS, box=box)


def flattened(image: Image.Image) -> Image.Image:
    """Opaque RGB of any image: upright, transparent parts in the host's background colour, 16 bits scaled to 8.

    The host's own reading takes a grey picture of 16 bits for white, and grey or indexed ones as opaque.
    """
    if image.width == 0 or image.height == 0:
        return image
    if image.getexif().get(EXIF_ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image) or image
    if image.mode.startswith("I"):
        image = _eight_bits(image)
    if image.mode in ("LA", "La", "PA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode == "RGB":
        return image
    return host.pictures.opaque(image)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits, which Pillow would clip at 255; grey of 8 bits in a wide mode stays as it is."""
    values = np.asarray(image).astype(np.int64)
    if values.max() > 255:
        values = values * 255 // 65535
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))
