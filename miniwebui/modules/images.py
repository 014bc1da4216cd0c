"""Resizing, grids, and saving pictures with their parameters, as `modules.images` of the WebUI."""

import datetime
import math
import os
import re
import warnings
from pathlib import Path

from PIL import Image, ImageColor, ImageOps

from modules import errors, script_callbacks, shared
from modules.image_infotext import (  # noqa: F401
    IGNORED_INFO_KEYS,
    exif_with_comment,
    png_text,
    read_info_from_image,
)
from modules.image_tiles import Grid, combine_grid, split_grid  # noqa: F401
from modules.shared import opts

LANCZOS = Image.Resampling.LANCZOS
LONGEST_SIDE = {"jpg": 65535, "jpeg": 65535, "webp": 16383}
"""In pixels, of the formats that have one."""


def image_grid(imgs, batch_size=1, rows=None) -> Image.Image:
    """The pictures side by side; each in the middle of a cell of the largest one's size."""
    rows = rows or round(math.sqrt(len(imgs)))
    params = script_callbacks.ImageGridLoopParams(imgs, math.ceil(len(imgs) / rows), rows)
    script_callbacks.image_grid_callback(params)

    cell_width = max(img.width for img in imgs)
    cell_height = max(img.height for img in imgs)
    background = ImageColor.getcolor(opts.grid_background_color, "RGB")
    grid = Image.new("RGB", (params.cols * cell_width, params.rows * cell_height), background)
    for index, img in enumerate(params.imgs):
        row, column = divmod(index, params.cols)
        left = column * cell_width + (cell_width - img.width) // 2
        top = row * cell_height + (cell_height - img.height) // 2
        grid.paste(img, (left, top))
    return grid


def _resize(im: Image.Image, width: int, height: int, upscaler_name) -> Image.Image:
    """im in this size; enlarged by the upscaler, brought to the exact size by Lanczos."""
    if upscaler_name in (None, "None") or im.mode == "L":
        return im.resize((width, height), resample=LANCZOS)
    scale = max(width / im.width, height / im.height)
    if scale > 1.0:
        upscaler = next((data for data in shared.sd_upscalers if data.name == upscaler_name), None)
        if upscaler is None:
            upscaler = shared.sd_upscalers[0]
            errors.report(f"Upscaler {upscaler_name!r} not found; using {upscaler.name}")
        im = upscaler.scaler.upscale(im, scale, upscaler.data_path)
    return im if im.size == (width, height) else im.resize((width, height), resample=LANCZOS)


def resize_image(resize_mode, im, width, height, upscaler_name=None) -> Image.Image:
    """im in a size. resize_mode 0: stretched, 1: cropped, 2: fitted in, the borders' colours drawn out.

    `upscaler_name` None is the setting `upscaler_for_img2img`.
    """
    upscaler_name = upscaler_name or opts.upscaler_for_img2img
    if resize_mode == 0:
        return _resize(im, width, height, upscaler_name)

    ratio, src_ratio = width / height, im.width / im.height
    fill_width = ratio > src_ratio if resize_mode == 1 else ratio < src_ratio
    src_w = width if fill_width else im.width * height // im.height
    src_h = im.height * width // im.width if fill_width else height

    resized = _resize(im, src_w, src_h, upscaler_name)
    res = Image.new("RGB", (width, height))
    left, top = width // 2 - src_w // 2, height // 2 - src_h // 2
    res.paste(resized, (left, top))
    if resize_mode != 1:
        _draw_out_borders(res, resized, left, top)
    return res


def _draw_out_borders(res: Image.Image, resized: Image.Image, left: int, top: int) -> None:
    """Fill the bars beside a picture with its outermost pixels."""
    width, height = resized.size
    if top > 0:
        bar = (res.width, top)
        res.paste(resized.resize(bar, box=(0, 0, width, 0)), (0, 0))
        res.paste(resized.resize(bar, box=(0, height, width, height)), (0, top + height))
    elif left > 0:
        bar = (left, res.height)
        res.paste(resized.resize(bar, box=(0, 0, 0, height)), (0, 0))
        res.paste(resized.resize(bar, box=(width, 0, width, height)), (left + width, 0))


def flatten(img: Image.Image, bgcolor) -> Image.Image:
    """An RGB image; what is transparent becomes `bgcolor` ("#ffffff")."""
    if img.mode == "RGBA":
        on_colour = Image.new("RGBA", img.size, bgcolor)
        on_colour.paste(img, mask=img)
        return on_colour.convert("RGB")
    return img.convert("RGB")


def read(fp, **kwargs) -> Image.Image:
    """Open an image, turned as its EXIF says.

    Raises:
        PictureSizeError: it has more pixels than fit into memory once they are unpacked.
        OSError, ValueError, SyntaxError: it is no picture.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            return fix_image(Image.open(fp, **kwargs))
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            limit = Image.MAX_IMAGE_PIXELS / 1e6
            found = re.search(r"\d+", str(error)).group()
            raise PictureSizeError(
                f"The picture has {int(found) / 1e6:.0f} megapixels; allowed are {limit:.0f}."
            ) from error


class PictureSizeError(ValueError):
    """A picture of too many pixels; the text is one sentence."""


def fix_image(image: Image.Image | None) -> Image.Image | None:
    if image is None:
        return None
    return fix_png_transparency(ImageOps.exif_transpose(image))


def fix_png_transparency(image: Image.Image) -> Image.Image:
    """A palette or RGB image with a transparent colour -> RGBA."""
    colours = image.info.get("transparency") if image.mode in ("P", "RGB") else None
    return image.convert("RGBA") if isinstance(colours, bytes) else image


def save_image_with_geninfo(
    image, geninfo, filename, extension=None, existing_pnginfo=None, pnginfo_section_name="parameters"
) -> None:
    """Write an image; its parameters go into PNG text, or EXIF in JPEG and WebP."""
    extension = (extension or os.path.splitext(filename)[1]).lower()
    arguments = {"format": Image.registered_extensions()[extension], "quality": opts.jpeg_quality}
    keep_info = opts.enable_pnginfo
    if extension == ".png":
        if keep_info:
            entries = {**(existing_pnginfo or {}), pnginfo_section_name: geninfo}
            arguments["pnginfo"] = png_text({k: v for k, v in entries.items() if v is not None})
    elif extension in (".jpg", ".jpeg", ".webp", ".avif"):
        image = image.convert("RGB") if image.mode == "RGBA" and extension != ".avif" else image
        if keep_info and geninfo is not None:
            arguments["exif"] = exif_with_comment(geninfo)
        if extension == ".webp":
            arguments["lossless"] = opts.webp_lossless
    elif extension == ".gif":
        arguments["comment"] = geninfo
    image.save(filename, **arguments)


def _filled(pattern: str, p, seed) -> str:
    """A pattern of file names, or of folders, for one picture."""
    number = p.iteration * p.batch_size + p.batch_index + 1 if "[generation_number]" in pattern else 0
    parts = {"[seed]": seed, "[generation_number]": number, "[date]": datetime.date.today().isoformat()}
    for name, value in parts.items():
        pattern = pattern.replace(name, str(value))
    return pattern


def _next_number(path: str, prefix: str) -> int:
    """One more than the highest number that files of a folder have after the prefix."""
    numbers = [
        re.match(r"\d{1,9}", name[len(prefix) :]) for name in os.listdir(path) if name.startswith(prefix)
    ]
    return max((int(number.group()) for number in numbers if number), default=-1) + 1


def _choose_path(path, basename, extension, decoration) -> str:
    """A file name: numbered where the settings say so."""
    if decoration and not opts.save_images_add_number:
        return os.path.join(path, f"{decoration}.{extension}")
    prefix = f"{basename}-" if basename else ""
    name = f"{prefix}{_next_number(path, prefix):05}{'-' if decoration else ''}{decoration}"
    return os.path.join(path, f"{name}.{extension}")


def _free_path(path: str) -> str:
    if opts.save_images_replace_action == "Replace" or not os.path.exists(path):
        return path
    stem, extension = os.path.splitext(path)
    number = 1
    while os.path.exists(f"{stem}-{number}{extension}"):
        number += 1
    return f"{stem}-{number}{extension}"


def save_image(
    image,
    path,
    basename,
    seed=None,
    prompt=None,
    extension="png",
    info=None,
    short_filename=False,
    no_prompt=False,
    grid=False,
    pnginfo_section_name="parameters",
    p=None,
    existing_info=None,
    forced_filename=None,
    suffix="",
    save_to_dirs=None,
) -> tuple[str, str | None]:
    """Save a picture under a name made by the settings -> (its path, None)."""
    if max(image.size) > LONGEST_SIDE.get(extension, math.inf):
        extension = "png"
    if save_to_dirs is None:
        save_to_dirs = opts.grid_save_to_dirs if grid else opts.save_to_dirs and not no_prompt
    if save_to_dirs:
        path = os.path.join(path, _filled("[date]", p, seed))
    os.makedirs(path, exist_ok=True)
    decoration = "" if short_filename or seed is None else _filled(opts.samples_filename_pattern, p, seed)
    fullfn = _choose_path(path, basename, extension, decoration + suffix)
    if forced_filename is not None:
        fullfn = os.path.join(path, f"{forced_filename}.{extension}")

    pnginfo = {**(existing_info or {})}
    if info is not None:
        pnginfo[pnginfo_section_name] = info
    params = script_callbacks.ImageSaveParams(image, p, fullfn, pnginfo)
    script_callbacks.before_image_saved_callback(params)
    params.filename = _write(params, pnginfo_section_name)
    params.image.already_saved_as = params.filename
    script_callbacks.image_saved_callback(params)
    return params.filename, None


def _write(params, pnginfo_section_name: str) -> str:
    """Write under a temporary name first: nobody reads half a file, and none is left of what cannot be written."""
    stem, extension = os.path.splitext(params.filename)
    temporary = f"{stem}.tmp"
    info = params.pnginfo.get(pnginfo_section_name)
    try:
        save_image_with_geninfo(
            params.image, info, temporary, extension, params.pnginfo, pnginfo_section_name
        )
        target = _free_path(params.filename)
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return target
