"""The settings of both scripts, once: the controls, the argument list, infotext, JSON and checks come from here.

A field's metadata holds its `Control`. The order of the positional arguments, which API clients rely on, is
`argument_places`: new controls go after the regions, where their place depends on how many of these the page has.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from itertools import takewhile
from typing import Any

from tile_utils import masks, tile_words

TABS = ("t2i", "i2i")
DEFAULT_MAX_REGIONS = 8
METHODS = ("MultiDiffusion", "Mixture of Diffusers")
BLEND_MODES = ("Background", "Foreground")
SEAMLESS = {
    "Off": (False, False),
    "Horizontal": (False, True),
    "Vertical": (True, False),
    "Both": (True, True),
}
"""Which opposite edges of the picture are joined: (top and bottom, left and right)."""
QUOTED = 60
"""Letters of a wrong value that an error shows."""


class SettingsError(ValueError):
    """A setting that cannot be used; its text is one sentence for the user."""


@dataclass(frozen=True)
class Control:
    """How a setting looks and what it may be. `elem_id` has places for {tab} and, in a region, {i} (from 1).
    `null_means_default`: a client's null says so too, not that a value was lost. `late`, of a region's: its argument
    stands after all others. `form` brings a text into the form that is kept; a ValueError of it ends the sentence about
    the control. `takes_list`: a client's list stands for its JSON text."""

    label: str
    elem_id: str
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()
    img2img_default: Any = None
    tabs: tuple[str, ...] = TABS
    null_means_default: bool = False
    late: bool = False
    form: Callable[[str], str] | None = None
    takes_list: bool = False


def _control(default: Any, label: str, elem_id: str, *number_range: float, **more: Any) -> Any:
    minimum, maximum, step = number_range or (None, None, None)
    return field(
        default=default,
        metadata={"control": Control(label, elem_id, minimum, maximum, step, **more)},
    )


def control_of(spec: Field[Any]) -> Control:
    """How the setting of this field looks; for `control_fields` only."""
    return spec.metadata["control"]


@dataclass(frozen=True)
class RegionSettings:
    """A box the user drew, as fractions of the canvas, with its own prompt."""

    enable: bool = _control(False, "Enable Region {i}", "MD-bbox-{tab}-{i}-enable")
    x: float = _control(0.4, "x", "MD-{tab}-{i}-x", 0, 1, 0.0001)
    y: float = _control(0.4, "y", "MD-{tab}-{i}-y", 0, 1, 0.0001)
    w: float = _control(0.2, "w", "MD-{tab}-{i}-w", 0, 1, 0.0001)
    h: float = _control(0.2, "h", "MD-{tab}-{i}-h", 0, 1, 0.0001)
    prompt: str = _control("", "Prompt", "MD-{tab}-{i}-prompt")
    neg_prompt: str = _control("", "Negative prompt", "MD-{tab}-{i}-neg-prompt")
    blend_mode: str = _control("Background", "Type", "MD-{tab}-{i}-blend-mode", choices=BLEND_MODES)
    feather_ratio: float = _control(0.2, "Feather", "MD-{tab}-{i}-feather", 0, 1, 0.05)
    seed: int = _control(-1, "Seed", "MD-{tab}-{i}-seed", -1, 2**63 - 1, 1, null_means_default=True)
    strength: float = _control(
        1.0, "Strength", "MD-{tab}-{i}-strength", 0, 1, 0.05, null_means_default=True, late=True
    )
    mask: str = _control(
        "", "Mask", "MD-{tab}-{i}-mask", null_means_default=True, late=True, form=masks.compact
    )


@dataclass(frozen=True)
class TiledDiffusionSettings:
    """Everything the Tiled Diffusion panel holds."""

    enabled: bool = _control(False, "Tiled Diffusion", "MD-{tab}-enabled")
    method: str = _control("Mixture of Diffusers", "Method", "MD-{tab}-method", choices=METHODS)
    overwrite_size: bool = _control(
        False, "Overwrite image size", "MD-{tab}-overwrite-image-size", tabs=("t2i",)
    )
    keep_input_size: bool = _control(True, "Keep input image size", "MD-{tab}-keep-input-size", tabs=("i2i",))
    image_width: int = _control(
        1024, "Image width", "MD-overwrite-width-{tab}", 256, 16384, 16, tabs=("t2i",)
    )
    image_height: int = _control(
        1024, "Image height", "MD-overwrite-height-{tab}", 256, 16384, 16, tabs=("t2i",)
    )
    tile_width: int = _control(96, "Latent tile width", "MD-{tab}-latent-tile-width", 16, 256, 16)
    tile_height: int = _control(96, "Latent tile height", "MD-{tab}-latent-tile-height", 16, 256, 16)
    overlap: int = _control(
        48, "Latent tile overlap", "MD-{tab}-latent-tile-overlap", 0, 256, 4, img2img_default=8
    )
    tile_batch_size: int = _control(4, "Latent tile batch size", "MD-{tab}-latent-tile-batch-size", 1, 8, 1)
    upscaler_name: str = _control("None", "Upscaler", "MD-{tab}-upscaler-index", null_means_default=True)
    scale_factor: float = _control(2.0, "Scale Factor", "MD-{tab}-upscaler-factor", 1, 8, 0.05, tabs=("i2i",))
    noise_inverse: bool = _control(False, "Enable Noise Inversion", "MD-{tab}-noise-inverse", tabs=("i2i",))
    noise_inverse_steps: int = _control(
        10, "Inversion steps", "MD-{tab}-noise-inverse-steps", 1, 200, 1, tabs=("i2i",)
    )
    noise_inverse_retouch: float = _control(
        1.0, "Retouch", "MD-{tab}-noise-inverse-retouch", 1, 100, 0.1, tabs=("i2i",)
    )
    noise_inverse_renoise_strength: float = _control(
        1.0, "Renoise strength", "MD-{tab}-noise-inverse-renoise-strength", 0, 2, 0.01, tabs=("i2i",)
    )
    noise_inverse_renoise_kernel: int = _control(
        64, "Renoise kernel size", "MD-{tab}-noise-inverse-renoise-kernel", 2, 512, 1, tabs=("i2i",)
    )
    control_tensor_cpu: bool = _control(
        False, "Move ControlNet tensor to CPU (if applicable)", "MD-{tab}-control-tensor-cpu"
    )
    enable_bbox_control: bool = _control(False, "Enable Control", "MD-{tab}-enable-bbox-control")
    draw_background: bool = _control(False, "Draw full canvas background", "MD-{tab}-draw-background")
    causal_layers: bool = _control(False, "Causalize layers", "MD-{tab}-causal-layers")
    regions: tuple[RegionSettings, ...] = ()
    shift_tiles: bool = _control(
        False, "Shift tiles every step", "MD-{tab}-shift-tiles", null_means_default=True
    )
    composition_first: bool = _control(
        False, "Composition first", "MD-{tab}-composition-first", tabs=("t2i",), null_means_default=True
    )
    composition_strength: float = _control(
        0.5,
        "Composition strength",
        "MD-{tab}-composition-strength",
        0,
        1,
        0.05,
        tabs=("t2i",),
        null_means_default=True,
    )
    hold_colours: bool = _control(False, "Hold colours", "MD-{tab}-hold-colours", null_means_default=True)
    tile_prompts: str = _control(
        "",
        "Words for each tile",
        "MD-{tab}-tile-prompts",
        null_means_default=True,
        form=tile_words.compact,
        takes_list=True,
    )
    seamless: str = _control(
        "Off", "Seamless", "MD-{tab}-seamless", choices=tuple(SEAMLESS), null_means_default=True
    )


@dataclass(frozen=True)
class TiledVAESettings:
    """Everything the Tiled VAE panel holds. Tile sizes: pixels for the encoder, latent for the decoder."""

    enabled: bool = _control(False, "Tiled VAE", "MDV-{tab}-enabled")
    encoder_tile_size: int = _control(960, "Encoder Tile Size", "MDV-{tab}-encoder-tile-size", 256, 4096, 16)
    decoder_tile_size: int = _control(64, "Decoder Tile Size", "MDV-{tab}-decoder-tile-size", 48, 512, 16)
    vae_to_gpu: bool = _control(True, "Move VAE to GPU (if possible)", "MDV-{tab}-vae-to-gpu")
    fast_decoder: bool = _control(False, "Fast Decoder", "MDV-{tab}-fast-decoder")
    fast_encoder: bool = _control(False, "Fast Encoder", "MDV-{tab}-fast-encoder")
    color_fix: bool = _control(False, "Fast Encoder Color Fix", "MDV-{tab}-color-fix")


def recommended_tile_sizes(memory: int | None) -> dict[str, int]:
    """Tile sizes of Tiled VAE for a device of `memory` MiB; None: no GPU. Keys are the settings' names."""
    if memory is None:
        encoder, decoder = 512, 64
    else:
        encoder = next(
            (size for above, size in ((16000, 3072), (12000, 2048), (8000, 1536)) if memory > above), 960
        )
        steps = ((30000, 256), (16000, 192), (12000, 128), (8000, 96))
        decoder = next((size for above, size in steps if memory > above), 64)
    return {"encoder_tile_size": encoder, "decoder_tile_size": decoder}


def control_fields(cls: type) -> list[Field[Any]]:
    """The fields of `cls` that are single controls, in argument order (regions are not)."""
    return [spec for spec in fields(cls) if "control" in spec.metadata]


def argument_places(cls: type, max_regions: int = 0) -> list[tuple[int | None, Field[Any]]]:
    """What stands in each place of the arguments: (region from 0, its setting) or (None, a setting of `cls`).

    First what stands before the regions, then these, then what stands after them, then the regions' late settings.
    """
    leading = list(takewhile(lambda spec: "control" in spec.metadata, fields(cls)))
    trailing = control_fields(cls)[len(leading) :]
    of_regions = control_fields(RegionSettings)
    early, late = ([spec for spec in of_regions if control_of(spec).late is late] for late in (False, True))
    regions = range(max_regions if cls is TiledDiffusionSettings else 0)
    return [
        *((None, spec) for spec in leading),
        *((region, spec) for region in regions for spec in early),
        *((None, spec) for spec in trailing),
        *((region, spec) for region in regions for spec in late),
    ]


def default_for(spec: Field[Any], tab: str) -> Any:
    """The value a control starts with in a tab."""
    control = control_of(spec)
    return control.img2img_default if tab == "i2i" and control.img2img_default is not None else spec.default


def shortened(value: Any) -> str:
    """How a value is quoted to the user."""
    if value is None:
        return "null"  # 'None' is what an upscaler may be called
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits; lists in lists in lists
        return "a value too long to show"
    return text if len(text) <= QUOTED else f"{text[:QUOTED]}…"


def _kind_of(value: Any) -> str:
    """What a value of JSON is, in words."""
    kinds: tuple[tuple[Any, str], ...] = (
        (bool, "a truth value"),
        ((int, float), "a number"),
        (str, "a text"),
        (Mapping, "an object"),
        ((list, tuple), "a list"),
    )
    return next((words for kind, words in kinds if isinstance(value, kind)), type(value).__name__)


def _allowed(control: Control, kind: str) -> str:
    """What a control whose values are of a kind takes, in words."""
    if control.choices:
        return " or ".join(repr(choice) for choice in control.choices)
    if control.minimum is not None:
        return f"{control.minimum} to {control.maximum}"
    return "true or false" if kind == "a truth value" else kind


TILE_PROMPTS = next(spec for spec in control_fields(TiledDiffusionSettings) if spec.name == "tile_prompts")
"""The words for each tile, which region files hold too."""


def checked(spec: Field[Any], value: Any, where: str = "") -> Any:
    """`value` in the field's own type; `where` says for whom, in an error's sentence.

    Raises:
        SettingsError: it is of another type, or out of range.
    """
    control, default = control_of(spec), spec.default
    if value is None and control.null_means_default:
        return default
    name = f"{where}: '{control.label}'" if where else f"'{control.label}'"
    name, shown = name.replace(" {i}", ""), shortened(value)
    if control.takes_list and isinstance(value, (list, tuple)):
        value = json.dumps(value)
    kind, wanted = _kind_of(value), _kind_of(default)
    if kind != wanted:
        shown = shown if value is None else f"{shown}, {kind}"
        number = f"{wanted}, " if wanted == "a number" else ""
        raise SettingsError(f"{name} is {shown}; allowed is {number}{_allowed(control, wanted)}.")
    within = not control.choices or value in control.choices
    if control.minimum is not None:
        within = control.minimum <= value <= control.maximum
    if not within:
        raise SettingsError(f"{name} is {shown}; allowed is {_allowed(control, wanted)}.")
    if isinstance(default, int) and value != int(value):
        raise SettingsError(f"{name} is {shown}; allowed are whole numbers, {_allowed(control, wanted)}.")
    if control.form is not None:
        try:
            return control.form(value)
        except ValueError as error:
            raise SettingsError(f"{name} {error}") from error
    kind_of_default: Any = type(default)
    return kind_of_default(value)


def region_label(index: int) -> str:
    """How a region is named to the user; `index` from 0."""
    return f"Region {index + 1}"


def title_of(cls: type) -> str:
    """The script's name, as its panel and the picture's text have it."""
    return control_fields(cls)[0].metadata["control"].label
