"""The options of `python -m miniwebui render`, and the processing object that they describe."""

from __future__ import annotations

import argparse
import difflib
from pathlib import Path
from typing import Any

SIDE = 256  # pixels, of a picture that starts from none
RESIZE_MODES = ("stretch", "crop", "fill", "latent")
FILLS = ("fill", "original", "noise", "nothing")
AREAS = ("whole", "masked")
"""In the order of the numbers that the WebUI has for them."""


class UsageError(Exception):
    """The command line asks for something that does not exist; the text is one sentence."""


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m miniwebui render", description="Draw a picture.")
    made.add_argument("--prompt", default="")
    made.add_argument("--negative", default="")
    size = f"in pixels; of the picture that it starts from, else {SIDE}"
    made.add_argument("--width", type=int, help=size)
    made.add_argument("--height", type=int, help=size)
    made.add_argument("--steps", type=int, default=20)
    made.add_argument("--cfg", type=float, default=4.0)
    made.add_argument("--sampler", default="DPM++ 2M")
    made.add_argument("--scheduler", default="Automatic")
    made.add_argument("--seed", type=int, default=-1)
    made.add_argument("--batch-size", type=int, default=1)
    made.add_argument("--batch-count", type=int, default=1)
    made.add_argument("--denoise", type=float, default=0.75)
    _img2img_options(made.add_argument_group("img2img"))
    _hires_options(made.add_argument_group("hires fix"))
    made.add_argument("--ckpt", help="checkpoint of Stable Diffusion 1.x")
    made.add_argument("--extension", action="append", help="folder of one more extension")
    made.add_argument("--script", nargs=2, action="append", default=[], metavar=("TITLE", "JSON"))
    made.add_argument(
        "--controlnet",
        action="append",
        default=[],
        metavar="JSON",
        help='a unit, such as {"image": "lines.png", "module": "invert", "model": "demo-lines"}; up to three',
    )
    made.add_argument("--out", type=Path, help="where the picture goes (PNG)")
    return made


def _img2img_options(group: Any) -> None:
    group.add_argument("--init", type=Path, help="picture to start from")
    group.add_argument("--resize-mode", choices=RESIZE_MODES, default="stretch", help="into another size")
    group.add_argument("--background", default="#ffffff", help="colour of transparent parts")
    group.add_argument("--mask", type=Path, help="white where the picture may change")
    group.add_argument("--mask-blur", type=int, default=4, help="in pixels")
    group.add_argument("--mask-invert", action="store_true", help="change what is black instead")
    group.add_argument(
        "--inpaint-fill", choices=FILLS, default="original", help="under the mask, at the start"
    )
    group.add_argument("--inpaint-area", choices=AREAS, default="whole", help="what is drawn")
    group.add_argument("--inpaint-padding", type=int, default=32, help="pixels around a masked area")
    group.add_argument("--init-dir", type=Path, help="folder of pictures to start from, one after the other")
    group.add_argument("--mask-dir", type=Path, help="folder of their masks, of the same names")
    group.add_argument("--out-dir", type=Path, help="folder where their results go, under the same names")


def _hires_options(group: Any) -> None:
    group.add_argument("--hires-scale", type=float, help="draw a second pass, this much larger")
    group.add_argument("--hires-width", type=int, default=0, help="instead of a scale; 0: by the height")
    group.add_argument("--hires-height", type=int, default=0, help="instead of a scale; 0: by the width")
    group.add_argument("--hires-steps", type=int, default=0)
    group.add_argument("--hires-upscaler", default="Latent")
    group.add_argument("--hires-sampler")
    group.add_argument("--hires-scheduler")


def nearest(name: str, known: list[str]) -> str:
    """A hint at the known name that is meant, or all of them."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.3)
    return f"did you mean '{near[0]}'?" if near else f"known are: {', '.join(known) or 'none'}."


def check(options: argparse.Namespace) -> None:
    """Refuse, in one sentence, what no generation could draw. Raises UsageError."""
    from modules import sd_samplers, sd_schedulers

    _check_paths(options)
    _check_numbers(options)
    for kind, known in (
        ("sampler", sd_samplers.all_samplers_map),
        ("scheduler", sd_schedulers.schedulers_map),
    ):
        for wanted in (getattr(options, kind), getattr(options, f"hires_{kind}")):
            if wanted is not None and wanted not in known:
                raise UsageError(f"There is no {kind} '{wanted}'; {nearest(wanted, list(known))}")
    _check_colour(options.background)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _check_paths(options: argparse.Namespace) -> None:
    for name in ("ckpt", "init", "mask"):
        path = getattr(options, name)
        if path is not None and not Path(path).is_file():
            raise UsageError(f"--{name} is {path}; there is no such file.")
    for name in ("init_dir", "mask_dir", "out_dir"):
        path = getattr(options, name)
        if path is not None and not path.is_dir():
            raise UsageError(f"{_flag(name)} is {path}; there is no such folder.")
    wanted = "out_dir" if options.init_dir else "out"
    if getattr(options, wanted) is None:
        raise UsageError(f"{_flag(wanted)} is missing: where the result goes.")
    if wanted == "out" and options.out.suffix.lower() != ".png":
        raise UsageError(f"--out is {options.out}; allowed is a name that ends with .png.")
    if wanted == "out" and not options.out.resolve().parent.is_dir():
        raise UsageError(f"--out is {options.out}; there is no folder {options.out.resolve().parent}.")


def _check_numbers(options: argparse.Namespace) -> None:
    for name in ("width", "height", "hires_width", "hires_height"):
        size = getattr(options, name)
        if size and (size < 64 or size % 8) or (size == 0 and not name.startswith("hires")):
            raise UsageError(f"{_flag(name)} is {size}; allowed are multiples of 8 from 64.")
    for name in ("steps", "batch_size", "batch_count"):
        if getattr(options, name) < 1:
            raise UsageError(f"{_flag(name)} is {getattr(options, name)}; allowed is 1 or more.")
    for name in ("mask_blur", "inpaint_padding", "hires_steps"):
        if getattr(options, name) < 0:
            raise UsageError(f"{_flag(name)} is {getattr(options, name)}; allowed is 0 or more.")
    if not 0 <= options.denoise <= 1:
        raise UsageError(f"--denoise is {options.denoise:g}; allowed is 0 to 1.")


def _check_colour(colour: str) -> None:
    from PIL import ImageColor

    try:
        ImageColor.getrgb(colour)
    except ValueError as error:
        raise UsageError(
            f"--background is {colour!r}; allowed is a colour such as #ffffff or teal."
        ) from error


def is_img2img(options: argparse.Namespace) -> bool:
    return options.init is not None or options.init_dir is not None


def processing_object(options: argparse.Namespace) -> Any:
    """The host's processing object for checked options, without its scripts. Raises UsageError."""
    return _img2img(options) if is_img2img(options) else _txt2img(options)


def _common(options: argparse.Namespace) -> dict[str, Any]:
    from modules import shared

    return {
        "sd_model": shared.sd_model,
        "prompt": options.prompt,
        "negative_prompt": options.negative,
        "steps": options.steps,
        "cfg_scale": options.cfg,
        "sampler_name": options.sampler,
        "scheduler": options.scheduler,
        "seed": options.seed,
        "batch_size": options.batch_size,
        "n_iter": options.batch_count,
        "denoising_strength": options.denoise,
        "do_not_save_samples": options.init_dir is None,
        "do_not_save_grid": True,
    }


def _txt2img(options: argparse.Namespace) -> Any:
    from modules import processing

    hires: dict[str, Any] = {}
    if options.hires_scale or options.hires_width or options.hires_height:
        hires = {
            "enable_hr": True,
            "hr_scale": options.hires_scale or 1.0,
            "hr_resize_x": options.hires_width,
            "hr_resize_y": options.hires_height,
            "hr_second_pass_steps": options.hires_steps,
            "hr_upscaler": options.hires_upscaler,
            "hr_sampler_name": options.hires_sampler,
            "hr_scheduler": options.hires_scheduler,
        }
    size = {"width": options.width or SIDE, "height": options.height or SIDE}
    return processing.StableDiffusionProcessingTxt2Img(**_common(options), **size, **hires)


def _img2img(options: argparse.Namespace) -> Any:
    from modules import processing

    image = _picture(options.init, "--init") if options.init else None
    mask = _picture(options.mask, "--mask") if options.mask else None
    if image is not None and mask is not None and mask.size != image.size:
        mask = mask.resize(image.size, resample=0)  # a pixel becomes a block
    width, height = image.size if image is not None else (SIDE, SIDE)
    return processing.StableDiffusionProcessingImg2Img(
        **_common(options),
        width=options.width or width // 8 * 8,
        height=options.height or height // 8 * 8,
        init_images=[image],
        resize_mode=RESIZE_MODES.index(options.resize_mode),
        mask=mask,
        mask_blur=options.mask_blur,
        inpainting_mask_invert=int(options.mask_invert),
        inpainting_fill=FILLS.index(options.inpaint_fill),
        inpaint_full_res=options.inpaint_area == "masked",
        inpaint_full_res_padding=options.inpaint_padding,
        override_settings={
            "img2img_background_color": options.background,
            "save_images_add_number": False,
        },
    )


def _picture(path: Path, flag: str) -> Any:
    """A picture, upright, loaded whole. Raises UsageError for a file that is none."""
    from modules import images

    try:
        image = images.read(path)
        image.load()
    except images.PictureSizeError as error:
        raise UsageError(f"{flag} is {path}. {error}") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise UsageError(f"{flag} is {path}; it cannot be read as a picture ({error}).") from error
    return image
