"""ControlNets: the mini WebUI's small stand-in for sd-webui-controlnet, with its public face."""

from __future__ import annotations

from typing import Any

import gradio as gr
import numpy as np
from controlnet_api import controlnet_api
from controlnet_hint import LEAST_RESOLUTION, PREPROCESSORS, as_hint, detect, fitted, picture_of
from controlnet_hook import ControlParams, UnetHook
from controlnet_models import ControlModelType, ModelCache, cn_models, path_of, update_cn_models
from controlnet_unit import BALANCED, BOTH, CONTROL, RESIZE_MODES, ControlNetUnit, read_note
from PIL import Image

from modules import script_callbacks, scripts, shared
from modules.options import OptionInfo
from modules.processing import StableDiffusionProcessingTxt2Img

SECTION = ("control_net", "ControlNet")
shared.opts.add_option(
    "control_net_unit_count",
    OptionInfo(3, "Multi-ControlNet: ControlNet unit number", section=SECTION).needs_reload_ui(),
)
shared.opts.add_option(
    "control_net_no_detectmap", OptionInfo(False, "Do not append detectmap to output", section=SECTION)
)
ON_PAGE = ("enabled", "image", "module", "model", "weight", "guidance_start", "guidance_end")
"""The fields that the page has controls for; the API has them all."""
CALLED = {"enabled": True, "save_detected_map": False}
"""What a unit is that is named in a call: it is wanted, and its hint is known."""
SLIDERS = (
    ("Control Weight", "weight", 2, 1.0),
    ("Starting Control Step", "start", 1, 0.0),
    ("Ending Control Step", "end", 1, 1.0),
)
networks = ModelCache()


def canvas_sizes(p: Any) -> list[tuple[int, int]]:
    """(width, height) of the passes, in pixels."""
    sizes = [(p.width // 8 * 8, p.height // 8 * 8)]
    if isinstance(p, StableDiffusionProcessingTxt2Img) and p.enable_hr:
        x, y = p.hr_resize_x, p.hr_resize_y
        if not x and not y:
            x, y = int(p.width * p.hr_scale), int(p.height * p.hr_scale)
        sizes.append(((x or y * p.width // p.height) // 8 * 8, (y or x * p.height // p.width) // 8 * 8))
    return sizes


class Script(scripts.Script):
    """`latest_network` hooks the UNet from `process` to `postprocess`."""

    def __init__(self) -> None:
        self.latest_network: UnetHook | None = None
        self.enabled_units: list[ControlNetUnit] = []
        self.detected_map: list[tuple[np.ndarray, str]] = []

    def title(self):
        return "ControlNet"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        """One place a unit, which the API fills, then the controls of the page."""
        count, controls = shared.opts.control_net_unit_count, []
        places = [gr.State(None) for _ in range(count)]
        self.infotext_fields = []
        with gr.Accordion("ControlNet", open=False, elem_id=self.elem_id("accordion")), gr.Tabs():
            for number in range(count):
                with gr.Tab(f"ControlNet Unit {number}"):
                    made = self._unit_controls(number)
                    self.infotext_fields += [
                        (control, _reader(number, name)) for name, control in made.items() if name != "image"
                    ]
                    controls += made.values()
        return [*places, *controls]

    def _unit_controls(self, number: int) -> dict[str, Any]:
        """The controls of one unit by the names of their fields, in the order of ON_PAGE."""
        models, modules = list(cn_models), list(PREPROCESSORS)
        name = self.elem_id(f"unit_{number}_") + "{}"
        with gr.Row(variant="compact"):
            made = [
                gr.Checkbox(False, label="Enable", elem_id=name.format("enable")),
                gr.Dropdown(modules, value="none", label="Preprocessor", elem_id=name.format("module")),
                gr.Dropdown(models, value=models[-1], label="Model", elem_id=name.format("model")),
            ]
        made.insert(1, gr.Image(label="Image", type="numpy", elem_id=name.format("image"), height=240))
        with gr.Row(variant="compact"):
            for label, field, top, value in SLIDERS:
                made.append(gr.Slider(0, top, value, step=0.05, label=label, elem_id=name.format(field)))
        return dict(zip(ON_PAGE, made))

    def args_from_settings(self, *units: dict[str, Any]) -> list[Any]:
        """The argument list with these units on. Raises ValueError if one of them is not allowed."""
        places = shared.opts.control_net_unit_count
        if len(units) > places:
            raise ValueError(f"There are {len(units)} ControlNet units; allowed is up to {places}.")
        made = [ControlNetUnit.from_dict({**CALLED, **unit}) for unit in units]
        for unit in made:
            path_of(unit.model), unit.picture()
        return made + [control.value for control in self.controls[len(made) :]]

    def process(self, p, *args):
        if p.refiner_checkpoint is None:
            self._start(p, args)

    def before_process_batch(self, p, *args, **kwargs):
        if p.refiner_checkpoint is not None:  # each batch begins with the first checkpoint again
            self._start(p, args)

    def postprocess(self, p, processed, *args):
        self.enabled_units.clear()
        if self.latest_network is None:
            return
        if not shared.opts.control_net_no_detectmap:
            processed.images.extend(Image.fromarray(found) for found, _ in self.detected_map)
        self.latest_network.restore()
        self.latest_network = None
        self.detected_map.clear()

    def _start(self, p: Any, args: tuple[Any, ...]) -> None:
        if self.latest_network is not None:
            self.latest_network.restore()
            self.latest_network = None
        self.detected_map.clear()
        try:
            self.enabled_units = [unit for unit in self._units(args) if unit.enabled]
            params = [self._params(p, unit) for unit in self.enabled_units]
        except ValueError as error:
            _refuse(p, error)
            return
        if not params:
            return
        for number, unit in enumerate(self.enabled_units):
            p.extra_generation_params[f"ControlNet {number}"] = unit.note()
        self.latest_network = UnetHook(lowvram=any(unit.low_vram for unit in self.enabled_units))
        self.latest_network.hook(p.sd_model.model.diffusion_model, p.sd_model, params, p)

    def _units(self, args: tuple[Any, ...]) -> list[ControlNetUnit]:
        """From the API, else from the page."""
        given = [arg for arg in args if isinstance(arg, (dict, ControlNetUnit))]
        if not given:
            values = args[shared.opts.control_net_unit_count :]
            parts = [values[at : at + len(ON_PAGE)] for at in range(0, len(values), len(ON_PAGE))]
            given = [{**dict(zip(ON_PAGE, part)), "save_detected_map": True} for part in parts]
        return [
            unit if isinstance(unit, ControlNetUnit) else ControlNetUnit.from_dict(unit) for unit in given
        ]

    def _params(self, p: Any, unit: ControlNetUnit) -> ControlParams:
        maps = hint_maps(p, unit)
        if unit.save_detected_map:
            self.detected_map += [(found, unit.module) for found in reversed(maps)]
        hints, region = [as_hint(found) for found in maps], unit.effective_region_mask
        names = {"name": unit.module, "preprocessor_resolution": unit.processor_res}
        return ControlParams(
            hints[0],
            hr_hint_cond=hints[1] if len(hints) > 1 else None,
            control_model=networks.load(unit.model, p.sd_model),
            control_model_type=ControlModelType.ControlNet,
            preprocessor={**names, "threshold_a": unit.threshold_a, "threshold_b": unit.threshold_b},
            weight=unit.weight,
            start_guidance_percent=unit.guidance_start,
            stop_guidance_percent=unit.guidance_end,
            advanced_weighting=unit.advanced_weighting,
            soft_injection=unit.control_mode != BALANCED,
            cfg_injection=unit.control_mode == CONTROL,
            hr_option=unit.hr_option if len(hints) > 1 else BOTH,
            effective_region_mask=None if region is None else as_hint(picture_of(region))[:, :1],
        )


def hint_maps(p: Any, unit: ControlNetUnit) -> list[np.ndarray]:
    """The unit's hint for each pass, as pictures; of what img2img starts from if it has no picture of its own."""
    picture, mode = unit.picture(), unit.resize_mode
    if picture is None:
        started = getattr(p, "init_images", None) or [None]
        if started[0] is None:
            raise ValueError("ControlNet is on and has no picture: give the unit one.")
        picture, mode = picture_of(started[0]), RESIZE_MODES[p.resize_mode % len(RESIZE_MODES)]
    thresholds = unit.threshold_a, unit.threshold_b
    if unit.pixel_perfect or unit.processor_res < LEAST_RESOLUTION:
        return [
            detect(fitted(picture, mode, *size), unit.module, -1, *thresholds) for size in canvas_sizes(p)
        ]
    found = detect(picture, unit.module, unit.processor_res, *thresholds)
    return [fitted(found, mode, *size) for size in canvas_sizes(p)]


def _refuse(p: Any, error: Exception) -> None:
    """Let the drawing end with this error: the WebUI would log it, and draw without the unit."""

    def fail(*_args: Any, **_kwargs: Any) -> Any:
        raise error

    p.sample = fail


def _reader(number: int, name: str) -> Any:
    """What a paste sets the control of this field to."""

    def read(params: dict[str, Any]) -> Any:
        text = params.get(f"ControlNet {number}")
        if name == "enabled":
            return text is not None
        value = read_note(text or "").get(name)
        return gr.update() if value is None else value if name in ("module", "model") else float(value)

    return read


update_cn_models()
script_callbacks.on_app_started(controlnet_api)
