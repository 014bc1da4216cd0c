"""img2img over a folder of pictures, as `modules.img2img.process_batch` of the WebUI."""

import logging
import os
from pathlib import Path

from PIL import UnidentifiedImageError

from modules import images, processing, scripts, shared
from modules.infotext_utils import parse_generation_parameters
from modules.sd_models import get_closet_checkpoint_match
from modules.shared import opts, state

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")

logger = logging.getLogger(__name__)


def process_batch(
    p,
    input,
    output_dir,
    inpaint_mask_dir,
    args,
    to_scale=False,
    scale_by=1.0,
    use_png_info=False,
    png_info_props=None,
    png_info_dir=None,
):
    """Draw every picture of a folder (or list of uploaded files) with one processing object.

    Each is saved into `output_dir` under its own name; empty: where img2img saves. `to_scale`: in its own size times
    `scale_by`, else in that of `p`. A mask is that of the picture's name in `inpaint_mask_dir`, or the only one there.
    Returns the results as one Processed, or None if there was nothing to draw.
    """
    processing.fix_seed(p)
    if isinstance(input, str):
        paths = list(shared.walk_files(input, allowed_extensions=PICTURES))
    else:
        paths = [os.path.abspath(upload.name) for upload in input]
    masks = shared.listfiles(inpaint_mask_dir) if inpaint_mask_dir else []
    typed = _Typed(p)
    results = None
    state.job_count = len(paths) * p.n_iter
    for number, path in enumerate(paths):
        state.job = f"{number + 1} out of {len(paths)}"
        state.skipped = False
        if state.interrupted or state.stopping_generation:
            break
        if not _take_up(p, path, masks, scale_by if to_scale else None):
            continue
        if use_png_info:
            folder = png_info_dir or os.path.dirname(path)
            typed.add_to(p, os.path.join(folder, os.path.basename(path)), png_info_props or [])
        _name_results(p, output_dir.strip(), Path(path).stem)
        drawn = scripts.scripts_img2img.run(p, *args)
        if drawn is None:
            p.override_settings.pop("save_images_replace_action", None)
            drawn = processing.process_images(p)
        results = _together(results, drawn)
    return results


def _take_up(p, path: str, masks: list[str], scale_by: float | None) -> bool:
    """Put a picture and its mask into `p`; False if it cannot be drawn."""
    try:
        image = images.read(path)
    except UnidentifiedImageError as error:
        logger.warning("%s", error)
        return False
    mask = next((file for file in masks if len(masks) == 1 or Path(file).stem == Path(path).stem), None)
    if masks and mask is None:
        logger.warning("There is no mask for %s; it is left out.", path)
        return False
    if mask is not None:
        p.image_mask = images.read(mask)
    if scale_by is not None:
        # whole latent pixels: the WebUI cuts off the rest after drawing
        p.width, p.height = (int(side * scale_by) for side in image.size)
    p.init_images = [image] * p.batch_size
    return True


class _Typed:
    """What the page holds, to which each picture's own parameters are added."""

    def __init__(self, p) -> None:
        self._prompts = {"prompt": p.prompt, "negative_prompt": p.negative_prompt}
        self._numbers = {name: getattr(p, name) for name in ("seed", "cfg_scale", "sampler_name", "steps")}
        self._checkpoint = p.override_settings.get("sd_model_checkpoint")

    def add_to(self, p, path: str, names: list[str]) -> None:
        """Prompts are appended, the others replaced; `names` are those to take from the picture's text."""
        try:
            text, _ = images.read_info_from_image(images.read(path))
        except OSError:
            text = None
        found = {key: value for key, value in parse_generation_parameters(text or "").items() if key in names}
        for name, key in (("prompt", "Prompt"), ("negative_prompt", "Negative prompt")):
            setattr(p, name, f"{self._prompts[name]} {found[key]}" if key in found else self._prompts[name])
        keys = {"seed": "Seed", "cfg_scale": "CFG scale", "sampler_name": "Sampler", "steps": "Steps"}
        for name, key in keys.items():
            before = self._numbers[name]
            setattr(p, name, type(before)(found[key]) if key in found else before)
        checkpoint = get_closet_checkpoint_match(found.get("Model hash"))
        name = checkpoint.name if checkpoint else self._checkpoint
        if name:
            p.override_settings["sd_model_checkpoint"] = name
        else:
            p.override_settings.pop("sd_model_checkpoint", None)


def _name_results(p, output_dir: str, stem: str) -> None:
    """The results are saved under the picture's name."""
    if not output_dir:
        return
    p.outpath_samples = output_dir
    several = p.n_iter > 1 or p.batch_size > 1
    p.override_settings["save_to_dirs"] = False
    p.override_settings["save_images_replace_action"] = "Add number suffix"
    p.override_settings["samples_filename_pattern"] = f"{stem}-[generation_number]" if several else stem


def _together(results, drawn):
    """One Processed of both; the settings limit how many pictures it keeps."""
    limit = opts.img2img_batch_show_results_limit
    if results is None:
        return drawn
    if 0 <= limit <= len(results.images):
        return results
    results.images.extend(drawn.images)
    results.infotexts.extend(drawn.infotexts)
    if limit >= 0:
        del results.images[limit:], results.infotexts[limit:]
    return results
