"""Callbacks that extensions register outside of a script."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from modules import errors, extensions, util


class ImageSaveParams:
    def __init__(self, image: Any, p: Any, filename: str, pnginfo: dict[str, Any]) -> None:
        self.image = image
        self.p = p
        self.filename = filename
        self.pnginfo = pnginfo


class ExtraNoiseParams:
    def __init__(self, noise: Any, x: Any, xi: Any) -> None:
        self.noise = noise
        self.x = x
        self.xi = xi


class CFGDenoiserParams:
    def __init__(
        self,
        x: Any,
        image_cond: Any,
        sigma: Any,
        sampling_step: int,
        total_sampling_steps: int,
        text_cond: Any,
        text_uncond: Any,
        denoiser: Any = None,
    ) -> None:
        self.x = x
        self.image_cond = image_cond
        self.sigma = sigma
        self.sampling_step = sampling_step
        self.total_sampling_steps = total_sampling_steps
        self.text_cond = text_cond
        self.text_uncond = text_uncond
        self.denoiser = denoiser


class CFGDenoisedParams:
    def __init__(self, x: Any, sampling_step: int, total_sampling_steps: int, inner_model: Any) -> None:
        self.x = x
        self.sampling_step = sampling_step
        self.total_sampling_steps = total_sampling_steps
        self.inner_model = inner_model


class AfterCFGCallbackParams:
    def __init__(self, x: Any, sampling_step: int, total_sampling_steps: int) -> None:
        self.x = x
        self.sampling_step = sampling_step
        self.total_sampling_steps = total_sampling_steps


class ImageGridLoopParams:
    def __init__(self, imgs: list[Any], cols: int, rows: int) -> None:
        self.imgs = imgs
        self.cols = cols
        self.rows = rows


class UiTrainTabParams:
    def __init__(self, txt2img_preview_params: Any) -> None:
        self.txt2img_preview_params = txt2img_preview_params


@dataclass
class BeforeTokenCounterParams:
    prompt: str
    steps: int
    styles: list[str]
    is_positive: bool = True


@dataclass
class ScriptCallback:
    """A registered function; `script` is the file that registered it, `name` is unique in its category."""

    script: str
    callback: Any
    name: str = "unnamed"


CATEGORIES = (
    "app_started", "model_loaded", "ui_tabs", "ui_train_tabs", "ui_settings", "before_image_saved",
    "image_saved", "extra_noise", "cfg_denoiser", "cfg_denoised", "cfg_after_cfg", "before_component",
    "after_component", "image_grid", "infotext_pasted", "script_unloaded", "before_ui", "on_reload",
    "list_optimizers", "list_unets", "before_token_counter",
)  # fmt: skip
callback_map: dict[str, list[ScriptCallback]] = {f"callbacks_{category}": [] for category in CATEGORIES}


def _calling_file() -> str:
    """The file, outside of this module, whose code is running."""
    return next((frame.filename for frame in inspect.stack() if frame.filename != __file__), "unknown file")


def add_callback(
    callbacks: list[ScriptCallback],
    fun: Any,
    *,
    name: str | None = None,
    category: str = "unknown",
    filename: str | None = None,
) -> None:
    """Append `fun` under the name extension/file/category, with `name` and a number where that is taken."""
    filename = filename or _calling_file()
    extension = extensions.find_extension(filename)
    parts = [extension.canonical_name if extension else "base", os.path.basename(filename), category]
    full = wanted = "/".join(parts + ([name] if name is not None else []))
    taken = {callback.name for callback in callbacks}
    number = 0
    while full in taken:
        number += 1
        full = f"{wanted}-{number}"
    callbacks.append(ScriptCallback(filename, fun, full))


def sort_callbacks(
    category: str, unordered_callbacks: list[ScriptCallback], *, enable_user_sort: bool = True
) -> list[ScriptCallback]:
    """In the order of registration, but for what the extensions' metadata says."""
    by_name = {callback.name: callback for callback in unordered_callbacks}
    instructions = [
        instruction
        for extension in extensions.extensions
        for instruction in extension.metadata.list_callback_order_instructions()
        if instruction.name in by_name
    ]
    if not instructions:
        return list(unordered_callbacks)
    first: dict[str, list[str]] = {name: [] for name in by_name}
    for instruction in instructions:
        first[instruction.name] += instruction.after
        for later in instruction.before:
            first.get(later, []).append(instruction.name)
    return [by_name[name] for name in util.topological_sort(first)]


def ordered_callbacks(
    category: str, unordered_callbacks: list[ScriptCallback] | None = None, *, enable_user_sort: bool = True
) -> list[ScriptCallback]:
    """A copy, so that a callback may remove itself; see `sort_callbacks`."""
    if unordered_callbacks is None:
        unordered_callbacks = callback_map.get(f"callbacks_{category}", [])
    return sort_callbacks(category, unordered_callbacks, enable_user_sort=enable_user_sort)


def enumerate_callbacks() -> Iterator[tuple[str, list[ScriptCallback]]]:
    for category, callbacks in callback_map.items():
        yield category.removeprefix("callbacks_"), callbacks


def report_exception(c: ScriptCallback, job: str) -> None:
    errors.report(f"The callback {job} of {c.script} failed", exc_info=True)


def clear_callbacks() -> None:
    for callbacks in callback_map.values():
        callbacks.clear()


def remove_current_script_callbacks() -> None:
    """Forget what the calling file registered."""
    file = _calling_file()
    for callbacks in callback_map.values():
        callbacks[:] = [callback for callback in callbacks if callback.script != file]


def remove_callbacks_for_function(callback_func: Callable) -> None:
    for callbacks in callback_map.values():
        callbacks[:] = [callback for callback in callbacks if callback.callback != callback_func]


LAST_FIRST = ("script_unloaded", "before_ui")
"""Categories whose callbacks are called in reverse."""


def _call(category: str, *args: Any, **kwargs: Any) -> list[Any]:
    """Call everyone; what a callback raises is reported and the rest go on. -> what they returned."""
    results = []
    callbacks = ordered_callbacks(category)
    for c in reversed(callbacks) if category in LAST_FIRST else callbacks:
        try:
            results.append(c.callback(*args, **kwargs))
        except Exception:
            report_exception(c, f"{category}_callback")
    return results


def _joined(category: str, *args: Any) -> list[Any]:
    """Of callbacks that return lists: all entries."""
    return [entry for result in _call(category, *args) for entry in result or []]


def _register(category: str, callback: Callable, name: str | None) -> None:
    add_callback(callback_map[f"callbacks_{category}"], callback, name=name, category=category)


def app_started_callback(demo: Any, app: Any) -> None:
    _call("app_started", demo, app)


def app_reload_callback() -> None:
    _call("on_reload")


def model_loaded_callback(sd_model: Any) -> None:
    _call("model_loaded", sd_model)


def ui_tabs_callback() -> list[tuple[Any, str, str]]:
    return _joined("ui_tabs")


def ui_train_tabs_callback(params: UiTrainTabParams) -> None:
    _call("ui_train_tabs", params)


def ui_settings_callback() -> None:
    _call("ui_settings")


def before_image_saved_callback(params: ImageSaveParams) -> None:
    _call("before_image_saved", params)


def image_saved_callback(params: ImageSaveParams) -> None:
    _call("image_saved", params)


def extra_noise_callback(params: ExtraNoiseParams) -> None:
    _call("extra_noise", params)


def cfg_denoiser_callback(params: CFGDenoiserParams) -> None:
    _call("cfg_denoiser", params)


def cfg_denoised_callback(params: CFGDenoisedParams) -> None:
    _call("cfg_denoised", params)


def cfg_after_cfg_callback(params: AfterCFGCallbackParams) -> None:
    _call("cfg_after_cfg", params)


def before_component_callback(component: Any, **kwargs: Any) -> None:
    _call("before_component", component, **kwargs)


def after_component_callback(component: Any, **kwargs: Any) -> None:
    _call("after_component", component, **kwargs)


def image_grid_callback(params: ImageGridLoopParams) -> None:
    _call("image_grid", params)


def infotext_pasted_callback(infotext: str, params: dict[str, Any]) -> None:
    _call("infotext_pasted", infotext, params)


def script_unloaded_callback() -> None:
    _call("script_unloaded")


def before_ui_callback() -> None:
    _call("before_ui")


def list_optimizers_callback() -> list[Any]:
    found: list[Any] = []
    _call("list_optimizers", found)
    return found


def list_unets_callback() -> list[Any]:
    found: list[Any] = []
    _call("list_unets", found)
    return found


def before_token_counter_callback(params: BeforeTokenCounterParams) -> None:
    _call("before_token_counter", params)


def on_app_started(callback: Callable, *, name: str | None = None) -> None:
    """callback(demo, app), once the server runs; `app` is FastAPI's."""
    _register("app_started", callback, name)


def on_before_reload(callback: Callable, *, name: str | None = None) -> None:
    """callback(), before the page is made anew."""
    _register("on_reload", callback, name)


def on_model_loaded(callback: Callable, *, name: str | None = None) -> None:
    """callback(sd_model), when a checkpoint is in place."""
    _register("model_loaded", callback, name)


def on_ui_tabs(callback: Callable, *, name: str | None = None) -> None:
    """callback() -> list of (gr.Blocks, title, element id), or None."""
    _register("ui_tabs", callback, name)


def on_ui_train_tabs(callback: Callable, *, name: str | None = None) -> None:
    """callback(UiTrainTabParams)."""
    _register("ui_train_tabs", callback, name)


def on_ui_settings(callback: Callable, *, name: str | None = None) -> None:
    """callback(), before the page is made: the place for `shared.opts.add_option`."""
    _register("ui_settings", callback, name)


def on_before_image_saved(callback: Callable, *, name: str | None = None) -> None:
    """callback(ImageSaveParams), which may change them."""
    _register("before_image_saved", callback, name)


def on_image_saved(callback: Callable, *, name: str | None = None) -> None:
    """callback(ImageSaveParams), after the file is written."""
    _register("image_saved", callback, name)


def on_extra_noise(callback: Callable, *, name: str | None = None) -> None:
    """callback(ExtraNoiseParams)."""
    _register("extra_noise", callback, name)


def on_cfg_denoiser(callback: Callable, *, name: str | None = None) -> None:
    """callback(CFGDenoiserParams), before the model calls of each step."""
    _register("cfg_denoiser", callback, name)


def on_cfg_denoised(callback: Callable, *, name: str | None = None) -> None:
    """callback(CFGDenoisedParams), after the model calls of each step."""
    _register("cfg_denoised", callback, name)


def on_cfg_after_cfg(callback: Callable, *, name: str | None = None) -> None:
    """callback(AfterCFGCallbackParams), after cond and uncond are combined."""
    _register("cfg_after_cfg", callback, name)


def on_before_component(callback: Callable, *, name: str | None = None) -> None:
    """callback(component, **kwargs), with the keyword arguments the component is made with."""
    _register("before_component", callback, name)


def on_after_component(callback: Callable, *, name: str | None = None) -> None:
    """callback(component, **kwargs)."""
    _register("after_component", callback, name)


def on_image_grid(callback: Callable, *, name: str | None = None) -> None:
    """callback(ImageGridLoopParams), which may change them."""
    _register("image_grid", callback, name)


def on_infotext_pasted(callback: Callable, *, name: str | None = None) -> None:
    """callback(infotext, params); `params` may be changed."""
    _register("infotext_pasted", callback, name)


def on_script_unloaded(callback: Callable, *, name: str | None = None) -> None:
    """callback(), before scripts are loaded anew."""
    _register("script_unloaded", callback, name)


def on_before_ui(callback: Callable, *, name: str | None = None) -> None:
    """callback(), before the page is made."""
    _register("before_ui", callback, name)


def on_list_optimizers(callback: Callable, *, name: str | None = None) -> None:
    """callback(found), which appends."""
    _register("list_optimizers", callback, name)


def on_list_unets(callback: Callable, *, name: str | None = None) -> None:
    """callback(found), which appends."""
    _register("list_unets", callback, name)


def on_before_token_counter(callback: Callable, *, name: str | None = None) -> None:
    """callback(BeforeTokenCounterParams), which may change them."""
    _register("before_token_counter", callback, name)
