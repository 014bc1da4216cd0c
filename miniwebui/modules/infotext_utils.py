"""The text inside pictures: quoting, parsing it back by the real WebUI's rule, and putting it into the page."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import sys
from collections.abc import Callable
from typing import Any

import gradio as gr
from PIL import Image

from modules import (
    errors,
    images,
    prompt_emphasis,
    script_callbacks,
    shared,
    ui_tempdir,
)
from modules.infotext_text import quote, re_imagesize, re_param, re_param_code, unquote  # noqa: F401
from modules.paths import data_path

sys.modules["modules.generation_parameters_copypaste"] = sys.modules[__name__]  # its name before 1.8

type_of_gr_update = type(gr.update())
LONGEST_PROMPT = 20_000
"""Characters of a prompt in which emphasis is looked for."""
GALLERY_PREFIX = "data:image/png;base64,"
ABSENT = {
    "Clip skip": "1",
    "Hires resize-1": 0,
    "Hires resize-2": 0,
    "Hires sampler": "Use same sampler",
    "Hires schedule type": "Use same scheduler",
    "Hires checkpoint": "Use same checkpoint",
    "Hires prompt": "",
    "Hires negative prompt": "",
    "Mask mode": "Inpaint masked",
    "Masked content": "original",
    "Inpaint area": "Whole picture",
    "Masked area padding": 32,
    "RNG": "GPU",
    "Schedule type": "Automatic",
    "Schedule max sigma": 0,
    "Schedule min sigma": 0,
    "Schedule rho": 0,
    "Refiner switch by sampling steps": False,
}
"""What a text means by saying nothing."""


class ParamBinding:
    """A button that fills a tab from a text, a picture or another tab."""

    def __init__(
        self,
        paste_button: Any,
        tabname: str,
        source_text_component: Any = None,
        source_image_component: Any = None,
        source_tabname: str | None = None,
        override_settings_component: Any = None,
        paste_field_names: list[str] | None = None,
    ) -> None:
        self.paste_button = paste_button
        self.tabname = tabname
        self.source_text_component = source_text_component
        self.source_image_component = source_image_component
        self.source_tabname = source_tabname
        self.override_settings_component = override_settings_component
        self.paste_field_names = paste_field_names or []


class PasteField(tuple):
    """A component, what fills it (an infotext key or a function of the parameters), and its API name."""

    def __new__(cls, component: Any, target: str | Callable, *, api: str | None = None) -> PasteField:
        return super().__new__(cls, (component, target))

    def __init__(self, component: Any, target: str | Callable, *, api: str | None = None) -> None:
        self.api = api
        self.component = component
        self.label = target if isinstance(target, str) else None
        self.function = target if callable(target) else None


paste_fields: dict[str, dict[str, Any]] = {}
registered_param_bindings: list[ParamBinding] = []
infotext_to_setting_name_mapping: list[tuple[str, str]] = []
"""(infotext key, option) of extensions that do not use `OptionInfo(infotext=…)`"""


def reset() -> None:
    paste_fields.clear()
    registered_param_bindings.clear()


def image_from_url_text(filedata: Any) -> Image.Image | None:
    """The picture that the page names: a file of gradio's, or base64 (a list: its first).

    Raises:
        ValueError: a file outside of the folders that the page may read.
    """
    if isinstance(filedata, list):
        filedata = filedata[0] if filedata else None
    if filedata is None:
        return None
    if isinstance(filedata, dict) and filedata.get("is_file", False):
        filename = filedata["name"].rsplit("?", 1)[0]
        if not ui_tempdir.check_tmp_file(shared.demo, filename):
            raise ValueError(f"{filename} lies in no folder that the page may read")
        return images.read(filename)
    encoded = filedata.removeprefix(GALLERY_PREFIX)
    return images.read(io.BytesIO(base64.decodebytes(encoded.encode("utf-8"))))


def add_paste_fields(
    tabname: str, init_img: Any, fields: list | None, override_settings_component: Any = None
) -> None:
    """Say what a tab can be filled with."""
    if fields:
        fields[:] = [field if isinstance(field, PasteField) else PasteField(*field) for field in fields]
    paste_fields[tabname] = {
        "init_img": init_img,
        "fields": fields,
        "override_settings_component": override_settings_component,
    }


def create_buttons(tabs_list: list[str]) -> dict[str, gr.Button]:
    return {tab: gr.Button(f"Send to {tab}", elem_id=f"{tab}_tab") for tab in tabs_list}


def register_paste_params_button(binding: ParamBinding) -> None:
    registered_param_bindings.append(binding)


def connect_paste_params_buttons() -> None:
    """Connect the registered buttons, once every tab has said what it can be filled with."""
    for binding in registered_param_bindings:
        target = paste_fields[binding.tabname]
        fields = target["fields"]
        override = binding.override_settings_component or target["override_settings_component"]
        if binding.source_image_component and target["init_img"]:
            _connect_image(binding, target["init_img"], fields)
        if binding.source_text_component is not None and fields is not None:
            connect_paste(
                binding.paste_button, fields, binding.source_text_component, override, binding.tabname
            )
        if binding.source_tabname is not None and fields is not None:
            _connect_tab(binding, fields)
        binding.paste_button.click(
            fn=None, _js=f"switch_to_{binding.tabname}", inputs=None, outputs=None, show_progress=False
        )


def _connect_image(binding: ParamBinding, target: Any, fields: list | None) -> None:
    """The button's picture becomes the tab's, and its size the tab's size."""
    sizes = [next((c for c, name in fields or [] if name == key), None) for key in ("Size-1", "Size-2")]
    with_size = sizes[0] is not None and binding.tabname != "inpaint"
    from_gallery = isinstance(binding.source_image_component, gr.Gallery)
    alone = image_from_url_text if from_gallery else lambda image: image
    binding.paste_button.click(
        fn=send_image_and_dimensions if with_size else alone,
        _js="extract_image_from_gallery" if from_gallery else None,
        inputs=[binding.source_image_component],
        outputs=[target, *sizes] if with_size else [target],
        show_progress=False,
    )


def _connect_tab(binding: ParamBinding, fields: list) -> None:
    """The same fields of another tab are copied."""
    names = ["Prompt", "Negative prompt", "Steps", "Face restoration", *binding.paste_field_names]
    if shared.opts.send_seed:
        names.append("Seed")
    binding.paste_button.click(
        fn=lambda *values: values if len(values) != 1 else values[0],
        inputs=[c for c, name in paste_fields[binding.source_tabname]["fields"] if name in names],
        outputs=[c for c, name in fields if name in names],
        show_progress=False,
    )


def send_image_and_dimensions(x: Any) -> tuple[Any, Any, Any]:
    """(picture, width, height), the sizes only if the settings send them."""
    image = x if isinstance(x, Image.Image) else image_from_url_text(x)
    if shared.opts.send_size and isinstance(image, Image.Image):
        return image, image.width, image.height
    return image, gr.update(), gr.update()


def _split_prompts(lines: list[str]) -> tuple[str, str]:
    parts: list[list[str]] = [[], []]
    place = 0
    for line in lines:
        line = line.strip()
        if line.startswith("Negative prompt:"):
            place, line = 1, line.removeprefix("Negative prompt:").strip()
        parts[place].append(line)
    # the first line of a part is added to nothing, without a line break, even if it is empty
    return tuple(_joined(part) for part in parts)


def _joined(lines: list[str]) -> str:
    text = ""
    for line in lines:
        text += ("\n" if text else "") + line
    return text


def parse_generation_parameters(x: str, skip_fields: list[str] | None = None) -> dict[str, Any]:
    """Prompt, negative prompt and every `Key: value` of the last line; a size also as Key-1 and Key-2.

    What the text does not say is filled in where saying nothing has a meaning. `skip_fields` are left out; None
    is the setting `infotext_skip_pasting`.
    """
    *lines, last = x.strip().split("\n")
    if len(re_param.findall(last)) < 3:
        lines.append(last)
        last = ""
    prompt, negative = _split_prompts(lines)
    res: dict[str, Any] = {}
    for key, value in re_param.findall(last):
        if not value:
            continue
        value = unquote(value)
        if size := re_imagesize.match(value):
            res[f"{key}-1"], res[f"{key}-2"] = size.groups()
        else:
            res[key] = value

    res["Prompt"], res["Negative prompt"] = prompt, negative
    if "Hypernet" in res:
        res["Prompt"] += f"<hypernet:{res['Hypernet']}:{res.get('Hypernet strength', '1.0')}>"
    res = {**res, **{key: value for key, value in ABSENT.items() if key not in res}}
    if "Emphasis" not in res and _emphasises(prompt, negative):
        res["Emphasis"] = "Original"
    for key in shared.opts.infotext_skip_pasting if skip_fields is None else skip_fields:
        res.pop(key, None)
    return res


def _emphasises(*prompts: str) -> bool:
    """Whether the beginnings of the prompts say so: longer ones than anybody writes would take long to read."""
    begun = [prompt[:LONGEST_PROMPT] for prompt in prompts]
    try:
        parts = [part for prompt in begun for part in prompt_emphasis.parse_prompt_attention(prompt)]
    except ValueError:
        return True
    return any(weight != 1.0 and text != "BREAK" for text, weight in parts)


def _setting_names() -> list[tuple[str, str]]:
    """(infotext key, option) of every option that pictures can tell."""
    known = [(info.infotext, key) for key, info in shared.opts.data_labels.items() if info.infotext]
    return known + infotext_to_setting_name_mapping


def create_override_settings_dict(text_pairs: list[str]) -> dict[str, Any]:
    """['Clip skip: 2', 'ENSD: 31337'] -> {'CLIP_stop_at_last_layers': 2, 'eta_noise_seed_delta': 31337}."""
    params = dict(pair.split(":", maxsplit=1) for pair in text_pairs)
    return {
        setting: shared.opts.cast_value(setting, params[label].strip())
        for label, setting in _setting_names()
        if label in params
    }


def get_override_settings(params: dict[str, Any], *, skip_fields: Any = None) -> list[tuple[str, str, Any]]:
    """(infotext key, option, value) of the options that a picture was made with and that differ now."""
    found = []
    for label, setting in _setting_names():
        if label in (skip_fields or {}) or params.get(label) is None:
            continue
        if setting == "sd_model_checkpoint" and shared.opts.disable_weights_auto_swap:
            continue
        with contextlib.suppress(ValueError, TypeError):  # what does not fit changes nothing
            value = shared.opts.cast_value(setting, params[label])
            if value != getattr(shared.opts, setting, None):
                found.append((label, setting, value))
    return found


def _last_used() -> str:
    """The settings of the last generation, which an empty prompt stands for."""
    try:
        with open(os.path.join(data_path, "params.txt"), encoding="utf8") as file:
            return file.read()
    except OSError:
        return ""


def _pasted(output: Any, key: str | Callable, params: dict[str, Any]) -> Any:
    """What a component is set to: nothing, where the text does not name it or it does not fit."""
    value = params.get(key) if isinstance(key, str) else None
    if callable(key):
        try:
            value = key(params)
        except Exception:
            errors.report(f"Error executing {key}", exc_info=True)
    if value is None or isinstance(value, type_of_gr_update):
        return gr.update() if value is None else value
    kind = type(output.value)
    try:
        if kind is bool and value == "False":
            return gr.update(value=False)
        return gr.update(value=float(value) if kind is int else kind(value))
    except (TypeError, ValueError, OverflowError):
        return gr.update()


def connect_paste(
    button: Any, paste_fields: list, input_comp: Any, override_settings_component: Any, tabname: str
) -> None:
    """A click fills the components from the text: (component, infotext key or function) each."""
    if override_settings_component is not None:
        handled = {key: True for _, key in paste_fields}

        def overrides(params: dict[str, Any]) -> Any:
            found = get_override_settings(params, skip_fields=handled)
            pairs = [f"{label}: {value}" for label, _, value in found]
            return gr.update(value=pairs, choices=pairs, visible=bool(pairs))

        paste_fields = [*paste_fields, (override_settings_component, overrides)]

    def paste(prompt: str) -> list[Any]:
        if not prompt and not shared.cmd_opts.no_prompt_history:
            prompt = _last_used()
        params = parse_generation_parameters(prompt)
        script_callbacks.infotext_pasted_callback(prompt, params)
        return [_pasted(component, key, params) for component, key in paste_fields]

    button.click(
        fn=paste,
        inputs=[input_comp],
        outputs=[component for component, _ in paste_fields],
        show_progress=False,
    )
