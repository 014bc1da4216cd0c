"""Callbacks that extensions register outside of a script.

For every category of the table below there is `on_CATEGORY(callback, *, name=None)`, which registers, and
`CATEGORY_callback(…)`, which calls them all. An extension may register what never happens here.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from modules import errors, extensions, util


@dataclass
class ImageSaveParams:
    image: Any
    p: Any
    filename: str
    pnginfo: dict[str, Any]


@dataclass
class ExtraNoiseParams:
    noise: Any
    x: Any
    xi: Any


@dataclass
class CFGDenoiserParams:
    x: Any
    image_cond: Any
    sigma: Any
    sampling_step: int
    total_sampling_steps: int
    text_cond: Any
    text_uncond: Any
    denoiser: Any = None


@dataclass
class CFGDenoisedParams:
    x: Any
    sampling_step: int
    total_sampling_steps: int
    inner_model: Any


@dataclass
class AfterCFGCallbackParams:
    x: Any
    sampling_step: int
    total_sampling_steps: int


@dataclass
class ImageGridLoopParams:
    imgs: list[Any]
    cols: int
    rows: int


CATEGORIES: dict[str, Callable[..., None]] = {
    "app_started": lambda demo, app: None,  # once the server runs; `app` is FastAPI's
    "model_loaded": lambda sd_model: None,
    "ui_tabs": lambda: None,  # each returns a list of (gr.Blocks, title, element id), or None
    "ui_settings": lambda: None,  # the place for `shared.opts.add_option`
    "before_image_saved": lambda params: None,  # ImageSaveParams, which may be changed
    "image_saved": lambda params: None,
    "extra_noise": lambda params: None,  # ExtraNoiseParams
    "cfg_denoiser": lambda params: None,  # CFGDenoiserParams, before the model calls of each step
    "cfg_denoised": lambda params: None,  # CFGDenoisedParams, after them
    "cfg_after_cfg": lambda params: None,  # AfterCFGCallbackParams, after cond and uncond are combined
    "before_component": lambda component, **kwargs: None,  # with the arguments that it is made with
    "after_component": lambda component, **kwargs: None,
    "image_grid": lambda params: None,  # ImageGridLoopParams, which may be changed
    "infotext_pasted": lambda infotext, params: None,  # `params` may be changed
    "before_ui": lambda: None,
}
"""What happens here, and the parameters of its callbacks."""
NEVER = (
    "before_reload", "script_unloaded", "ui_train_tabs", "list_optimizers", "list_unets", "before_token_counter",
)  # fmt: skip
LAST_FIRST = ("before_ui",)
"""Categories whose callbacks are called in reverse."""


@dataclass
class ScriptCallback:
    """A registered function; `script` is the file that registered it, `name` is unique in its category."""

    script: str
    callback: Any
    name: str = "unnamed"


callback_map: dict[str, list[ScriptCallback]] = {f"callbacks_{name}": [] for name in (*CATEGORIES, *NEVER)}


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


def clear_callbacks() -> None:
    for callbacks in callback_map.values():
        callbacks.clear()


def remove_callbacks_for_function(callback_func: Callable) -> None:
    for callbacks in callback_map.values():
        callbacks[:] = [callback for callback in callbacks if callback.callback != callback_func]


def _call(category: str, *args: Any, **kwargs: Any) -> list[Any]:
    """Call everyone; what a callback raises is reported and the rest go on. -> what they returned."""
    results = []
    callbacks = sort_callbacks(
        category, callback_map[f"callbacks_{category}"]
    )  # a copy: one may remove itself
    for c in reversed(callbacks) if category in LAST_FIRST else callbacks:
        try:
            results.append(c.callback(*args, **kwargs))
        except Exception:
            errors.report(f"The callback {category}_callback of {c.script} failed", exc_info=True)
    return results


def _registrar(category: str) -> Callable:
    def on(callback: Callable, *, name: str | None = None) -> None:
        add_callback(callback_map[f"callbacks_{category}"], callback, name=name, category=category)

    return on


def _caller(category: str, like: Callable) -> Callable:
    signature = inspect.signature(like)

    def call(*args: Any, **kwargs: Any) -> list[Any]:
        bound = signature.bind(*args, **kwargs)
        return _call(category, *bound.args, **bound.kwargs)

    call.__signature__ = signature
    return call


globals().update({f"on_{name}": _registrar(name) for name in (*CATEGORIES, *NEVER)})
globals().update({f"{name}_callback": _caller(name, like) for name, like in CATEGORIES.items()})
