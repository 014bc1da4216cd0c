"""The settings page: one tab for each section of the options, applied and saved together."""

from __future__ import annotations

import itertools
from typing import Any

import gradio as gr

from modules import script_callbacks, shared
from modules.call_queue import wrap_gradio_call_no_job
from modules.shared import opts
from modules.ui_common import create_refresh_button
from modules.ui_components import FormRow

COMPONENT_OF = {str: gr.Textbox, int: gr.Number, float: gr.Number, bool: gr.Checkbox}


def _arguments(key: str) -> dict[str, Any]:
    info = opts.data_labels[key]
    return (info.component_args() if callable(info.component_args) else info.component_args) or {}


def get_value_for_setting(key: str) -> Any:
    """What brings an option's component up to date."""
    arguments = {name: value for name, value in _arguments(key).items() if name != "precision"}
    return gr.update(value=getattr(opts, key), **arguments)


def create_setting_component(key: str, is_quicksettings: bool = False) -> Any:
    """The component of an option, of the kind that it asks for, else of its default's.

    Raises:
        TypeError: there is no component for that kind of value.
    """
    info = opts.data_labels[key]
    make = info.component or COMPONENT_OF.get(type(info.default))
    if make is None:
        raise TypeError(f"The option '{key}' has no component: {type(info.default).__name__}")
    own = {"label": info.label, "value": getattr(opts, key), "elem_id": f"setting_{key}", **_arguments(key)}
    if info.refresh is None:
        return make(**own)
    with FormRow():
        component = make(**own)
        create_refresh_button(component, info.refresh, info.component_args, f"refresh_{key}")
    return component


class UiSettings:
    """The page's settings tab; `component_dict` has the component of every option that is shown."""

    submit: Any = None
    result: Any = None
    interface: Any = None
    components: list[Any] | None = None
    component_dict: dict[str, Any] | None = None
    dummy_component: Any = None
    text_settings: Any = None

    def register_settings(self) -> None:
        """Let extensions add theirs."""
        script_callbacks.ui_settings_callback()

    def create_ui(self, loadsave: Any, dummy_component: Any) -> None:
        self.components, self.component_dict = [], {}
        self.dummy_component = dummy_component
        shared.settings_components = self.component_dict
        opts.reorder()
        with gr.Blocks(analytics_enabled=False) as self.interface:
            with gr.Row():
                self.submit = gr.Button("Apply settings", variant="primary", elem_id="settings_submit")
            self.result = gr.HTML(elem_id="settings_result")
            with gr.Tabs(elem_id="settings"):
                for section, entries in itertools.groupby(
                    opts.data_labels.items(), lambda item: item[1].section
                ):
                    self._section(section, [key for key, _ in entries])
            self.text_settings = gr.Textbox(opts.dumpjson, elem_id="settings_json", visible=False)

    def _section(self, section: tuple, keys: list[str]) -> None:
        elem_id, title = section
        if elem_id is None:
            self.components += [self.dummy_component] * len(keys)
            return
        with (
            gr.TabItem(title, elem_id=f"settings_{elem_id}"),
            gr.Column(elem_id=f"column_settings_{elem_id}", variant="compact"),
        ):
            for key in keys:
                self.component_dict[key] = create_setting_component(key)
                self.components.append(self.component_dict[key])

    def run_settings(self, *args: Any) -> tuple[str, str]:
        """Set and save what was changed -> (every option as JSON, a sentence).

        Raises:
            ValueError: a value is of another type than its option.
        """
        shown = [
            (key, value)
            for key, value, component in zip(opts.data_labels, args, self.components)
            if component is not self.dummy_component
        ]
        for key, value in shown:
            default = opts.data_labels[key].default
            if not opts.same_type(value, default):
                raise ValueError(f"The option '{key}' is {value!r}; allowed is a {type(default).__name__}.")
        changed = [key for key, value in shown if opts.set(key, value)]
        opts.save(shared.config_filename)
        named = f": {', '.join(changed)}" if changed else ""
        return opts.dumpjson(), f"{len(changed)} settings changed{named}."

    def add_functionality(self, demo: Any) -> None:
        """Connect the button; show the present values whenever the page is loaded."""
        self.submit.click(
            fn=wrap_gradio_call_no_job(self.run_settings, extra_outputs=[gr.update()]),
            inputs=self.components,
            outputs=[self.text_settings, self.result],
        )
        keys = list(self.component_dict)
        demo.load(
            fn=lambda: [get_value_for_setting(key) for key in keys],
            inputs=[],
            outputs=[self.component_dict[key] for key in keys],
            queue=False,
            show_progress=False,
        )
