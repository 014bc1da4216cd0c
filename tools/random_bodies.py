"""Bodies for the API's drawing requests, as hypothesis strategies: small pictures, and whatever else somebody may send.

What is allowed is small: one or two steps, sides of up to 128 pixels, so that thousands are drawn in minutes. What is
not is anything: of another type, no number, as long as a book, nested, or from another program.
"""

from __future__ import annotations

import base64
import io
from typing import Any

from hypothesis import strategies as st
from PIL import Image

from tile_utils.settings import (
    RegionSettings,
    TiledDiffusionSettings,
    TiledVAESettings,
    control_fields,
    control_of,
)

NUMBERS = st.one_of(
    st.sampled_from(
        [None, True, -1, 0, 1, 7, -8, 10**9, 10**30, -(10**30), 1e400, -1e400, 0.5, 1e-30, float("nan")]
    ),
    st.floats(),
    st.integers(-(2**70), 0),
)
GOOD_TEXTS = st.sampled_from(
    [
        "",
        "sea",
        "a AND b :1.5",
        "[sea:night:0.5]",
        "[a|b",
        "BREAK",
        "(a:1.2)",
        "<lora:none:1>",
        "sea, day # note",
    ]
)
TEXTS = st.one_of(
    GOOD_TEXTS,
    GOOD_TEXTS,
    GOOD_TEXTS,
    st.text(max_size=20),
    st.sampled_from(["\ud800", "[sea:night:1e400]", "(sea:1.2.3)", "<lora:snow:nan>", "\x00"]),
    st.sampled_from(["[" * 500, "(a" * 200, "a" * 5000]),
)
SCALARS = st.one_of(NUMBERS, TEXTS, st.booleans())
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)


ENTRIES = [
    "Steps: 1e999", "Steps: 1", "Sampler: Euler", "Sampler: none such", "CFG scale: nan", "Seed: 5", "Seed: -1e30",
    "Size: 64x64", "Size: 99999999x8", "Clip skip: 2", "Clip skip: many", "Denoising strength: 0.5", "RNG: CPU",
    "Variation seed: x", "Hires upscale: 2", "Hires upscaler: none such", 'Tiled Diffusion: "{\\"method\\": 5}"',
    "Schedule type: Karras", "Mask blur: -1", "Eta: inf", "Model hash: 0", "Batch size: 2", "ENSD: 1e400", "Tiling: x",
]  # fmt: skip
INFOTEXTS = st.one_of(
    TEXTS, st.lists(st.sampled_from(ENTRIES), max_size=9).map(lambda found: "sea\n" + ", ".join(found))
)


def encoded(image: Image.Image, kind: str = "PNG") -> str:
    buffer = io.BytesIO()
    image.save(buffer, format=kind)
    return base64.b64encode(buffer.getvalue()).decode()


MODES = ("RGB", "RGBA", "L", "1", "P", "LA", "I;16")
GOOD_PICTURES = [encoded(Image.new(mode, size, 1)) for mode in MODES for size in ((64, 64), (1, 9))]
GOOD_PICTURES += [encoded(Image.new("RGB", (64, 48)), kind) for kind in ("JPEG", "WEBP", "GIF", "BMP")]
BAD_PICTURES = [
    "",
    "AAAA",
    "data:image/png;base64,",
    "data:image/svg+xml;utf8,<svg/>",
    "http://127.0.0.1/a.png",
]
PICTURES = st.sampled_from(3 * GOOD_PICTURES + BAD_PICTURES)
SIDES = st.sampled_from([8, 9, 64, 72, 128])
PLAIN = {
    "prompt": TEXTS, "negative_prompt": TEXTS, "width": SIDES, "height": SIDES, "steps": st.integers(1, 2),
    "seed": st.integers(-1, 9), "cfg_scale": st.floats(0, 30), "batch_size": st.integers(1, 2),
    "n_iter": st.integers(1, 2), "denoising_strength": st.floats(0, 1), "styles": st.lists(TEXTS, max_size=2),
    "sampler_name": st.sampled_from(["Euler", "Euler a", "DDIM", "UniPC", "DPM++ 2M", "Heun", "LCM"]),
    "scheduler": st.sampled_from(["Automatic", "Karras", "Beta", "SGM Uniform"]),
    "subseed": st.integers(-1, 9), "subseed_strength": st.floats(0, 1), "eta": st.floats(0, 2),
    "seed_resize_from_w": SIDES, "seed_resize_from_h": SIDES, "tiling": st.booleans(),
    "send_images": st.booleans(), "infotext": INFOTEXTS, "sampler_index": st.sampled_from(["Euler", "Heun"]),
    "refiner_checkpoint": TEXTS, "refiner_switch_at": st.floats(0, 1), "s_churn": st.floats(0, 9),
    "script_name": st.sampled_from([None, None, None, "", "", "X/Y/Z plot", "none such"]),
    "script_args": st.lists(SCALARS, max_size=6),
    "override_settings_restore_afterwards": st.just(True), "do_not_save_samples": st.booleans(),
    "disable_extra_networks": st.booleans(), "restore_faces": st.booleans(),
}  # fmt: skip
HIRES = {
    "enable_hr": st.booleans(), "hr_scale": st.sampled_from([0.5, 1, 1.5, 2]),
    "hr_resize_x": st.sampled_from([0, 64, 130]), "hr_resize_y": st.sampled_from([0, 64]), "hr_prompt": TEXTS,
    "hr_second_pass_steps": st.integers(0, 2), "hr_negative_prompt": TEXTS, "hr_checkpoint_name": TEXTS,
    "hr_upscaler": st.sampled_from(["Latent", "Lanczos", "none such", None]), "hr_scheduler": TEXTS,
    "hr_sampler_name": st.sampled_from(["Euler", "none such", None]), "firstphase_width": st.just(0),
}  # fmt: skip
INIT = {
    "mask": PICTURES, "mask_blur": st.integers(0, 9), "inpainting_fill": st.integers(0, 3),
    "resize_mode": st.integers(0, 3), "inpaint_full_res": st.booleans(), "mask_round": st.booleans(),
    "inpaint_full_res_padding": st.integers(0, 40), "image_cfg_scale": st.floats(0, 9),
    "inpainting_mask_invert": st.integers(0, 1), "initial_noise_multiplier": st.floats(0, 2),
    "include_init_images": st.booleans(),
}  # fmt: skip


def _control(cls: type, name: str) -> Any:
    spec = next(spec for spec in control_fields(cls) if spec.name == name)
    control = control_of(spec)
    if control.choices:
        return st.sampled_from(control.choices)
    if isinstance(spec.default, bool):
        return st.booleans()
    if isinstance(spec.default, str):
        return st.sampled_from(["None", "Lanczos", "sea", "none such"])
    low, high = control.minimum, min(control.maximum, control.minimum + 64)
    return st.integers(int(low), int(high)) if isinstance(spec.default, int) else st.floats(low, min(high, 2))


def _settings(cls: type, **more: Any) -> Any:
    """Some of a script's settings by name; now and then one is anything."""
    names = [spec.name for spec in control_fields(cls)]
    usual = st.fixed_dictionaries({}, optional={name: _control(cls, name) for name in names} | more)
    odd = st.dictionaries(st.sampled_from(names), ANYTHING, max_size=1)
    return st.tuples(usual, odd).map(lambda two: two[0] | two[1])


def _by_name(settings: Any) -> Any:
    return st.fixed_dictionaries({"args": st.tuples(settings).map(list)})


REGIONS = st.lists(_settings(RegionSettings), max_size=3)
SCRIPTS = st.dictionaries(
    st.sampled_from(["Tiled Diffusion", "Tiled Diffusion", "tiled vae", "Tiled VAE", "Seed", "none such"]),
    st.one_of(
        ANYTHING,
        st.fixed_dictionaries({"args": st.lists(SCALARS, max_size=8)}),
        st.just({"args": [True, "Mixture of Diffusers", False, True, 64, 64, 16, 16, 4]}),
        _by_name(_settings(TiledDiffusionSettings, regions=REGIONS)),
        _by_name(_settings(TiledVAESettings)),
    ),
    max_size=2,
)


def bodies(tab: str, options: list[str]) -> Any:
    """Of `txt2img` or `img2img`; `options`: the names of the options that may be overridden for the picture."""
    fields = PLAIN | (INIT if tab == "img2img" else HIRES) | {"alwayson_scripts": SCRIPTS}
    overridden = st.dictionaries(st.sampled_from(options), ANYTHING, max_size=2)
    fields["override_settings"] = st.one_of(st.just({}), st.just({"CLIP_stop_at_last_layers": 2}), overridden)
    sure = {name: fields[name] for name in ("width", "height", "steps", "n_iter", "batch_size")}
    if tab == "img2img":
        sure["init_images"] = st.one_of(
            st.lists(PICTURES, min_size=1, max_size=2), st.lists(ANYTHING, max_size=2)
        )
    sizes = {"width", "height", "hr_scale", "hr_resize_x", "hr_resize_y", "batch_size", "n_iter", "steps"}
    odd = st.dictionaries(st.sampled_from(sorted(set(fields) - sizes)), ANYTHING, min_size=1, max_size=2)
    odd_sizes = st.dictionaries(
        st.sampled_from(sorted(sizes & set(fields))),
        st.sampled_from([None, 0, -8, 7.5, 10**9, 10**30, "many", "64", [], {}, True, float("nan")]),
        min_size=1,
        max_size=1,
    )
    usual = st.fixed_dictionaries(sure, optional={name: fields[name] for name in fields if name not in sure})
    wrong = st.one_of(st.just({}), st.just({}), odd, odd_sizes)
    return st.tuples(usual, wrong).map(lambda parts: parts[0] | parts[1])
