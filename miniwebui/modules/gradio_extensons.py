"""Hooks into gradio's components (the real WebUI spells the name so): scripts see each one made; tooltips; pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any

import gradio as gr

from modules import images, script_callbacks, scripts


def _with_hooks(make: Callable[..., None]) -> Callable[..., None]:
    """An `__init__` that tells scripts before and after, and keeps `tooltip`, which gradio does not know."""

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        self.webui_tooltip = kwargs.pop("tooltip", None)
        current = scripts.scripts_current
        if current is not None:
            current.before_component(self, **kwargs)
        script_callbacks.before_component_callback(self, **kwargs)
        make(self, *args, **kwargs)
        script_callbacks.after_component_callback(self, **kwargs)
        if current is not None:
            current.after_component(self, **kwargs)

    return init


def _with_tooltip(get_config: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    def config(self: Any) -> dict[str, Any]:
        found = get_config(self)
        if tooltip := getattr(self, "webui_tooltip", None):
            found["webui_tooltip"] = tooltip
        return found

    return config


def _read_picture(encoding: str) -> Any:
    """A picture that the page sent as a `data:` address; what is none is told there in words."""
    try:
        return images.read(io.BytesIO(base64.b64decode(encoding.rpartition(",")[2])))
    except images.PictureSizeError as error:
        raise gr.Error(str(error)) from error
    except (OSError, ValueError, SyntaxError) as error:
        raise gr.Error("That is no picture that can be read: PNG, JPEG or WebP.") from error


gr.processing_utils.decode_base64_to_image = _read_picture
gr.components.IOComponent.__init__ = _with_hooks(gr.components.IOComponent.__init__)
gr.blocks.BlockContext.__init__ = _with_hooks(gr.blocks.BlockContext.__init__)
gr.blocks.Block.get_config = _with_tooltip(gr.blocks.Block.get_config)
