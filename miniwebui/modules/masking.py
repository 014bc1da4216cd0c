"""The region of a mask, and filling masked regions, as `modules.masking` of the WebUI."""

import numpy as np
from PIL import Image, ImageFilter, ImageOps

# (radius of the blur in pixels, times it is laid over), from coarse to sharp
FILL_PASSES = [(256, 1), (64, 1), (16, 2), (4, 4), (2, 2), (0, 1)]


def _as_image(mask) -> Image.Image:
    return mask if isinstance(mask, Image.Image) else Image.fromarray(mask)


def get_crop_region_v2(mask, pad=0) -> tuple[int, int, int, int] | None:
    """(left, top, right, bottom) of what is masked, `pad` pixels wider, inside the image; None if nothing is."""
    mask = _as_image(mask)
    box = mask.getbbox()
    if box is None:
        return None
    left, top, right, bottom = box
    return max(left - pad, 0), max(top - pad, 0), min(right + pad, mask.width), min(bottom + pad, mask.height)


def _widen(low: int, high: int, missing: int, limit: int) -> tuple[int, int]:
    """Make low … high longer by `missing` on both sides, shifted into 0 … limit, cut where it is too long."""
    low -= missing // 2
    high += missing - missing // 2
    if high >= limit:
        low, high = low - (high - limit), limit
    if low < 0:
        low, high = 0, high - low
    return low, min(high, limit)


def expand_crop_region(crop_region, processing_width, processing_height, image_width, image_height):
    """Widen a region on one axis until it has the aspect of the size that it will be drawn at."""
    left, top, right, bottom = crop_region
    width, height = right - left, bottom - top
    aspect = processing_width / processing_height
    if width / height > aspect:
        top, bottom = _widen(top, bottom, int(width / aspect - height), image_height)
    else:
        left, right = _widen(left, right, int(height * aspect - width), image_width)
    return left, top, right, bottom


def fill(image: Image.Image, mask: Image.Image) -> Image.Image:
    """Fill what is masked with the blurred colours around it."""
    visible = Image.new("RGBa", image.size)
    visible.paste(image.convert("RGBA").convert("RGBa"), mask=ImageOps.invert(mask.convert("L")))
    filled = Image.new("RGBA", image.size)
    for radius, repeats in FILL_PASSES:
        blurred = visible.filter(ImageFilter.GaussianBlur(radius)).convert("RGBA")
        for _ in range(repeats):
            filled.alpha_composite(blurred)
    return filled.convert("RGB")


def gaussian_blur(mask: Image.Image, sigma_x: float, sigma_y: float) -> Image.Image:
    """Blur a mask of mode L; kernels of 2.5 sigma, borders mirrored, as OpenCV's GaussianBlur."""
    from scipy.ndimage import correlate1d

    pixels = np.asarray(mask, dtype=np.float64)
    for axis, sigma in ((1, sigma_x), (0, sigma_y)):
        if sigma <= 0:
            continue
        radius = int(2.5 * sigma + 0.5)
        kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
        pixels = correlate1d(pixels, kernel / kernel.sum(), axis=axis, mode="mirror").round()
    return Image.fromarray(pixels.astype(np.uint8))
