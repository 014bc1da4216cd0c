"""Callbacks that extensions register outside of a script."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from modules import errors


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


@dataclass
class BeforeTokenCounterParams:
    prompt: str
    steps: int
    styles: list[str]
    is_positive: bool = True


class Callback(NamedTuple):
    script: str
    function: Callable


_registered: dict[str, list[Callback]] = {}


def _add(name: str, function: Callable) -> None:
    caller = next((frame.filename for frame in inspect.stack() if frame.filename != __file__), "unknown file")
    _registered.setdefault(name, []).append(Callback(caller, function))


def _call(name: str, *args: Any) -> None:
    for callback in _registered.get(name, []):
        try:
            callback.function(*args)
        except Exception:
            errors.report(f"error executing callback {name} for {callback.script}", exc_info=True)


def clear_callbacks() -> None:
    _registered.clear()


def remove_callbacks_for_function(callback_func: Callable) -> None:
    for name, callbacks in _registered.items():
        _registered[name] = [callback for callback in callbacks if callback.function != callback_func]


def model_loaded_callback(sd_model: Any) -> None:
    _call("model_loaded", sd_model)


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


def image_grid_callback(params: ImageGridLoopParams) -> None:
    _call("image_grid", params)


def before_component_callback(component: Any, **kwargs: Any) -> None:
    _call("before_component", component)


def after_component_callback(component: Any, **kwargs: Any) -> None:
    _call("after_component", component)


def on_model_loaded(callback: Callable, *, name: str | None = None) -> None:
    """callback(sd_model), when a checkpoint is in place."""
    _add("model_loaded", callback)


def on_before_image_saved(callback: Callable, *, name: str | None = None) -> None:
    _add("before_image_saved", callback)


def on_image_saved(callback: Callable, *, name: str | None = None) -> None:
    _add("image_saved", callback)


def on_extra_noise(callback: Callable, *, name: str | None = None) -> None:
    _add("extra_noise", callback)


def on_cfg_denoiser(callback: Callable, *, name: str | None = None) -> None:
    """callback(CFGDenoiserParams), before the model calls of each step."""
    _add("cfg_denoiser", callback)


def on_cfg_denoised(callback: Callable, *, name: str | None = None) -> None:
    _add("cfg_denoised", callback)


def on_cfg_after_cfg(callback: Callable, *, name: str | None = None) -> None:
    _add("cfg_after_cfg", callback)


def on_image_grid(callback: Callable, *, name: str | None = None) -> None:
    _add("image_grid", callback)
