"""What can be drawn: the least and the most of every setting, and texts that a file can hold."""

from modules.processing_base import MAX_SIDE, StableDiffusionProcessing, opt_f

LIMITS = {
    "width": ("Width", opt_f, MAX_SIDE),  # what is over a multiple is cut off
    "height": ("Height", opt_f, MAX_SIDE),
    "steps": ("Sampling steps", 1, 1000),
    "batch_size": ("Batch size", 1, 1024),
    "n_iter": ("Batch count", 1, 10_000),
    "cfg_scale": ("CFG scale", -1000, 1000),
    "denoising_strength": ("Denoising strength", 0, 1),
    "subseed_strength": ("Variation strength", -1000, 1000),
    "seed_resize_from_w": ("Resize seed from width", -1, MAX_SIDE),
    "seed_resize_from_h": ("Resize seed from height", -1, MAX_SIDE),
    "hr_scale": ("Upscale by", 0.01, 64),
    "hr_resize_x": ("Resize width to", 0, MAX_SIDE),
    "hr_resize_y": ("Resize height to", 0, MAX_SIDE),
    "hr_second_pass_steps": ("Hires steps", 0, 1000),
    "mask_blur_x": ("Mask blur", 0, 1024),
    "mask_blur_y": ("Mask blur", 0, 1024),
    "inpaint_full_res_padding": ("Masked area padding", 0, MAX_SIDE),
    "inpainting_fill": ("Masked content", 0, 3),
    "resize_mode": ("Resize mode", 0, 3),
    "initial_noise_multiplier": ("Noise multiplier", -1000, 1000),
}
"""Attributes of a processing object: what the page calls them, the least and the most."""
TEXTS = {
    "prompt": "The prompt", "negative_prompt": "The negative prompt", "hr_prompt": "The hires prompt",
    "hr_negative_prompt": "The negative hires prompt",
}  # fmt: skip


def check_settings(p: StableDiffusionProcessing) -> None:
    """Raise ValueError, one sentence, for what cannot be drawn."""
    for name, (label, low, high) in LIMITS.items():
        value = getattr(p, name, low)
        if name == "denoising_strength" and value is None and not getattr(p, "enable_hr", False):
            continue
        if not isinstance(value, (int, float)) or not low <= value <= high:
            raise ValueError(f"'{label}' is {value}; allowed is {low:g} to {high:g}.")
    if p.width * p.height * p.batch_size > MAX_SIDE**2:
        pictures = f"{p.batch_size} pictures of {p.width}x{p.height} pixels"
        raise ValueError(f"A batch has {pictures}; allowed are {MAX_SIDE}x{MAX_SIDE} pixels in all.")
    for name, label in TEXTS.items():
        given = getattr(p, name, "")
        for text in given if isinstance(given, list) else [given]:
            _check_text(text, label)


def _check_text(text, label: str) -> None:
    if not isinstance(text, str):
        raise ValueError(f"{label} is {text!r:.100}; allowed is a text.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{label} has half of a character (a lone surrogate) at place {error.start + 1}; no file can hold it."
        ) from error
