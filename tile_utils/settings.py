"""The settings of both scripts, once: the controls, the argument list, infotext, JSON and checks come from here.

A field's metadata holds its `Control`. The order of the fields is the order of the positional arguments, which API
clients rely on: new controls go after the regions.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any, TypeVar

TABS = ("t2i", "i2i")
DEFAULT_MAX_REGIONS = 8
METHODS = ("MultiDiffusion", "Mixture of Diffusers")
BLEND_MODES = ("Background", "Foreground")
QUOTED = 60
"""Letters of a wrong value that an error shows."""


class SettingsError(ValueError):
    """A setting that cannot be used; its text is one sentence for the user."""


@dataclass(frozen=True)
class Control:
    """How a setting looks and what it may be. `elem_id` has places for {tab} and, in a region, {i} (from 1)."""

    label: str
    elem_id: str
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()
    img2img_default: Any = None
    tabs: tuple[str, ...] = TABS

    def allowed(self) -> str:
        """The choices or the range, in words."""
        if self.choices:
            return " or ".join(repr(choice) for choice in self.choices)
        return f"{self.minimum} to {self.maximum}"


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
    seed: int = _control(-1, "Seed", "MD-{tab}-{i}-seed", -1, 2**63 - 1, 1)


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
    upscaler_name: str = _control("None", "Upscaler", "MD-{tab}-upscaler-index", tabs=("i2i",))
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


Settings = TypeVar("Settings", TiledDiffusionSettings, TiledVAESettings, RegionSettings)


def control_fields(cls: type) -> list[Field[Any]]:
    """The fields of `cls` that are single controls, in argument order (regions are not)."""
    return [spec for spec in fields(cls) if "control" in spec.metadata]


def default_for(spec: Field[Any], tab: str) -> Any:
    """The value a control starts with in a tab."""
    control = control_of(spec)
    return control.img2img_default if tab == "i2i" and control.img2img_default is not None else spec.default


def shortened(value: Any) -> str:
    """How a value is quoted to the user."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits; lists in lists in lists
        return "a value too long to show"
    return text if len(text) <= QUOTED else f"{text[:QUOTED]}…"


def checked(spec: Field[Any], value: Any, where: str = "") -> Any:
    """`value` in the field's own type; `where` says for whom, in an error's sentence.

    Raises:
        SettingsError: it is of another type, or out of range.
    """
    control = control_of(spec)
    kind: Any = type(spec.default)
    if value is None and spec.name == "seed":  # an emptied field; the host takes it so too
        return spec.default
    name = f"{where}: '{control.label}'" if where else f"'{control.label}'"
    name, shown = name.replace(" {i}", ""), shortened(value)
    if kind is bool:
        if not isinstance(value, bool):
            raise SettingsError(f"{name} is {shown}; allowed is true or false.")
        return value
    if kind is str:
        if not isinstance(value, str) or (control.choices and value not in control.choices):
            allowed = control.allowed() if control.choices else "a text"
            raise SettingsError(f"{name} is {shown}; allowed is {allowed}.")
        return value
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not control.minimum <= value <= control.maximum:
        raise SettingsError(f"{name} is {shown}; allowed is {control.allowed()}.")
    if kind is int and value != int(value):
        raise SettingsError(f"{name} is {shown}; allowed are whole numbers, {control.allowed()}.")
    return kind(value)


def _from_values(
    cls: type[Settings], values: Mapping[str, Any], where: str, start: Mapping[str, Any] | None = None
) -> Settings:
    specs = {spec.name: spec for spec in control_fields(cls)}
    given = {name: checked(specs[name], value, where) for name, value in values.items()}
    return cls(**{**(start or {}), **given})


def region_label(index: int) -> str:
    """How a region is named to the user; `index` from 0."""
    return f"Region {index + 1}"


def title_of(cls: type) -> str:
    """The script's name, as its panel and the picture's text have it."""
    return control_fields(cls)[0].metadata["control"].label


def from_args(cls: type[Settings], args: Sequence[Any], start: Mapping[str, Any] | None = None) -> Settings:
    """Settings from the host's positional arguments.

    What the list lacks at its end is as in `start`, by name, or else takes its default.

    Raises:
        SettingsError: a value has a wrong type or is out of range, or there are too many.
    """
    specs, title = control_fields(cls), title_of(cls)
    settings = _from_values(cls, {spec.name: arg for spec, arg in zip(specs, args)}, title, start)
    rest = list(args[len(specs) :])
    if not rest:
        return settings
    if not isinstance(settings, TiledDiffusionSettings):
        raise SettingsError(f"{title}: {len(args)} arguments were sent; there are {len(specs)}.")
    names = [spec.name for spec in control_fields(RegionSettings)]
    chunks = [rest[i : i + len(names)] for i in range(0, len(rest), len(names))]
    regions = tuple(
        _from_values(RegionSettings, dict(zip(names, chunk)), f"{title}, {region_label(i)}")
        for i, chunk in enumerate(chunks)
    )
    whole: Any = settings
    return replace(whole, regions=regions)


def to_args(settings: Any, max_regions: int = 0) -> list[Any]:
    """The positional arguments of `settings`, with `max_regions` regions.

    Raises:
        SettingsError: there are more regions than that.
    """
    args = [getattr(settings, spec.name) for spec in control_fields(type(settings))]
    regions = getattr(settings, "regions", ())
    if len(regions) > max_regions:
        raise SettingsError(
            f"{title_of(type(settings))}: {len(regions)} regions were given; allowed are {max_regions}."
        )
    for region in (*regions, *[RegionSettings()] * (max_regions - len(regions))):
        args += to_args(region)
    return args


def _known_names(cls: type, values: Mapping[str, Any], where: str) -> None:
    known = [spec.name for spec in fields(cls)]
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
            hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(known)}."
            raise SettingsError(f"{where} has no setting '{name}'; {hint}")


def from_dict(
    cls: type[Settings], values: Mapping[str, Any], start: Mapping[str, Any] | None = None
) -> Settings:
    """Settings by name, as a command line or a file gives them.

    What is absent is as in `start`, or else takes its default.

    Raises:
        SettingsError: an unknown name (the nearest is suggested), a value that does not fit its control, or
            an overlap that leaves no stride between tiles.
    """
    title = title_of(cls)
    _known_names(cls, values, title)
    values = dict(values)
    regions = values.pop("regions", [])
    settings = _from_values(cls, values, title, start)
    if not isinstance(settings, TiledDiffusionSettings):
        return settings
    smaller = min(settings.tile_width, settings.tile_height)
    if "overlap" in values and settings.overlap >= smaller:
        raise SettingsError(
            f"{title}: 'Latent tile overlap' is {settings.overlap}; allowed is less than the tile, {smaller}."
        )
    if not isinstance(regions, (list, tuple)):
        raise SettingsError(f"{title}: 'regions' is {shortened(regions)}; allowed is a list of objects.")
    placed = tuple(_region_from_dict(r, i, title) for i, r in enumerate(regions))
    whole: Any = settings
    return replace(whole, regions=placed)


def regions_to_json(regions: Sequence[RegionSettings]) -> str:
    """A region file, readable by the original too."""
    boxes = [_whole(region) for region in regions]
    return json.dumps({"bbox_controls": boxes}, indent=2, ensure_ascii=False)


def regions_from_json(text: str, max_regions: int) -> tuple[RegionSettings, ...]:
    """The regions of a file, ours or the original's.

    Raises:
        SettingsError: it is no such file, holds more than `max_regions`, or a value does not fit its control.
    """
    try:
        boxes = json.loads(text)["bbox_controls"]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise SettingsError("The region file is no JSON object with a list 'bbox_controls'.") from error
    if not isinstance(boxes, list):
        raise SettingsError("The region file's 'bbox_controls' is no list.")
    if len(boxes) > max_regions:
        raise SettingsError(f"The region file holds {len(boxes)} regions; allowed are {max_regions}.")
    return tuple(_region_from_dict(box, index, "The region file") for index, box in enumerate(boxes))


def _region_from_dict(values: Any, index: int, title: str) -> RegionSettings:
    where = f"{title}, {region_label(index)}"
    if not isinstance(values, Mapping):
        raise SettingsError(f"{where} is {shortened(values)}; allowed is an object.")
    _known_names(RegionSettings, values, where)
    return _from_values(RegionSettings, values, where)


def to_dict(settings: Any) -> dict[str, Any]:
    """Every setting that differs from its default, by name.

    `regions` has a place for each region up to the last that differs; those that are switched on are there in full.
    """
    values = _differing(settings)
    regions = [
        _whole(region) if region.enable else _differing(region) for region in getattr(settings, "regions", ())
    ]
    while regions and not regions[-1]:
        regions.pop()
    return values | ({"regions": regions} if regions else {})


def _whole(settings: Any) -> dict[str, Any]:
    return {spec.name: getattr(settings, spec.name) for spec in control_fields(type(settings))}


def _differing(settings: Any) -> dict[str, Any]:
    defaults = {spec.name: spec.default for spec in control_fields(type(settings))}
    return {name: value for name, value in _whole(settings).items() if value != defaults[name]}
