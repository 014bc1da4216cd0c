"""The page's side of the script runner: each script's components, and its hooks on the page's components."""

from __future__ import annotations

import os
from dataclasses import dataclass

import gradio as gr

from modules import errors


@dataclass
class OnComponent:
    """What a callback of `Script.on_before_component` and `on_after_component` gets."""

    component: gr.blocks.Block


def wrap_call(func, filename, funcname, *args, default=None, **kwargs):
    """func(*args, **kwargs); what it raises is reported, and `default` comes back."""
    try:
        return func(*args, **kwargs)
    except Exception:
        errors.report(f"{funcname} of {filename} failed", exc_info=True)
    return default


def _api_info(script, controls):
    """What the API tells clients of a script's arguments, in their order."""
    from modules.api import models

    return models.ScriptInfo(
        name=script.name,
        is_alwayson=script.alwayson,
        is_img2img=script.is_img2img,
        args=[_api_arg(models.ScriptArg, control) for control in controls],
    )


def _api_arg(make, control):
    given = {name: getattr(control, name, None) for name in ("value", "minimum", "maximum", "step")}
    choices = getattr(control, "choices", None)
    if choices is not None:
        given["choices"] = [str(c[0] if isinstance(c, tuple) else c) for c in choices]
    return make(
        label=control.label or "", **{name: value for name, value in given.items() if value is not None}
    )


class ScriptComponents:
    """Mixed into ScriptRunner, whose lists of scripts, inputs and infotext fields it fills and reads."""

    def prepare_ui(self):
        """Forget the components of an earlier page."""
        self.inputs = [None]
        self.infotext_fields.clear()
        self.paste_field_names.clear()

    def default_args(self):
        """The argument list with every control at its start value; the components are made if there are none."""
        if len(self.inputs) == 1:
            with gr.Blocks():
                for section in dict.fromkeys(script.section for script in self.alwayson_scripts):
                    if section is not None:
                        self.setup_ui_for_section(section)
                self.setup_ui()
        return [0] + [control.value for control in self.inputs[1:]]

    def create_script_ui(self, script):
        """The script's components; its slice of the argument list is set. What it raises is reported."""
        script.args_from = script.args_to = len(self.inputs)
        wrap_call(self.create_script_ui_inner, script.filename, "ui", script)

    def create_script_ui_inner(self, script):
        controls = wrap_call(script.ui, script.filename, "ui", script.is_img2img)
        script.controls = controls
        if controls is None:
            return
        script.name = wrap_call(script.title, script.filename, "title", default=script.filename).lower()
        for control in controls:
            control.custom_script_source = os.path.basename(script.filename)
        script.api_info = _api_info(script, controls)
        self.infotext_fields += script.infotext_fields or []
        self.paste_field_names += script.paste_field_names or []
        self.inputs += controls
        script.args_to = len(self.inputs)

    def setup_ui_for_section(self, section, scriptlist=None):
        """Components of the always-on scripts of that section, or of the given scripts."""
        for script in self.alwayson_scripts if scriptlist is None else scriptlist:
            if script.alwayson and script.section != section:
                continue
            if not script.create_group:
                self.create_script_ui(script)
                continue
            with gr.Group(visible=script.alwayson) as group:
                self.create_script_ui(script)
            script.group = group

    def setup_ui(self):
        """Always-on scripts without a section, then the choice of one selectable script; inside of gr.Blocks."""
        titles = [wrap_call(s.title, s.filename, "title", default=s.filename) for s in self.scripts]
        self.title_map = {title.lower(): script for title, script in zip(titles, self.scripts)}
        self.titles = [
            title for title, script in zip(titles, self.scripts) if script in self.selectable_scripts
        ]
        self.setup_ui_for_section(None)
        choice = gr.Dropdown(
            label="Script",
            elem_id="script_list",
            choices=["None", *self.titles],
            value="None",
            type="index",
            visible=bool(self.titles),
        )
        self.inputs[0] = choice
        self.setup_ui_for_section(None, self.selectable_scripts)
        if self.titles:
            self._follow(choice)
        self.apply_on_before_component_callbacks()
        return self.inputs

    def _follow(self, choice):
        """Show the components of the chosen script only."""

        def shown(chosen):
            updates = [gr.update(visible=chosen == number + 1) for number in range(len(self.titles))]
            return updates if len(updates) > 1 else updates[0]

        groups = [script.group for script in self.selectable_scripts]
        choice.change(shown, inputs=[choice], outputs=groups, show_progress=False)
        self.infotext_fields.append((choice, lambda params: gr.update(value=params.get("Script", "None"))))

    def apply_on_before_component_callbacks(self):
        """Take over what scripts registered by element id since the last time."""
        for script in self.scripts:
            for registered, known in (
                (script.on_before_component_elem_id, self.on_before_component_elem_id),
                (script.on_after_component_elem_id, self.on_after_component_elem_id),
            ):
                for elem_id, callback in registered or []:
                    known.setdefault(elem_id, []).append((callback, script))
                if registered:
                    registered.clear()

    def before_component(self, component, **kwargs):
        registered = self.on_before_component_elem_id.get(kwargs.get("elem_id"), [])
        self._component_hooks("before_component", component, registered, kwargs)

    def after_component(self, component, **kwargs):
        registered = self.on_after_component_elem_id.get(component.elem_id, [])
        self._component_hooks("after_component", component, registered, kwargs)

    def _component_hooks(self, hook, component, registered, kwargs):
        for callback, script in registered:
            wrap_call(callback, script.filename, f"on_{hook}", OnComponent(component))
        for script in self.ordered_scripts(hook):
            wrap_call(getattr(script, hook), script.filename, hook, component, **kwargs)

    def set_named_arg(self, args, script_name, arg_elem_id, value, fuzzy=False):
        """`args` with one value changed (a list is changed itself): that of the control with that element id.

        With `fuzzy`, part of the id is enough.

        Raises:
            RuntimeError: there is no such script or control.
        """
        script = next((script for script in self.scripts if script.name == script_name), None)
        if script is None:
            raise RuntimeError(f"There is no script '{script_name}'.")
        for index, control in enumerate(script.controls or []):
            elem_id = control.elem_id or ""
            if arg_elem_id == elem_id or (fuzzy and arg_elem_id in elem_id):
                place = script.args_from + index
                if isinstance(args, list):
                    args[place] = value
                    return args
                return (*args[:place], value, *args[place + 1 :])
        raise RuntimeError(f"The script '{script_name}' has no control '{arg_elem_id}'.")
