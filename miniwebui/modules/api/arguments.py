"""From a request to the arguments of a generation and of its scripts."""

from __future__ import annotations

import math
from typing import Any

import gradio as gr
from fastapi.exceptions import HTTPException

from modules import infotext_utils, sd_samplers

NOT_FOR_PROCESSING = (
    "include_init_images", "script_name", "script_args", "alwayson_scripts", "infotext", "send_images",
    "save_images", "force_task_id",
)  # fmt: skip
"""Fields of a request that the processing class does not know."""


def script_name_to_index(name: str, scripts: list[Any]) -> int:
    for index, script in enumerate(scripts):
        if script.title().casefold() == name.casefold():
            return index
    raise HTTPException(status_code=422, detail=f"There is no script '{name}'.")


def refuse_unreadable(value: Any, place: str) -> None:
    """Refuse numbers and texts that no answer could hold: the request comes back in it, as JSON."""
    if isinstance(value, dict):
        for key, entry in value.items():
            refuse_unreadable(key, place)
            refuse_unreadable(entry, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            refuse_unreadable(entry, f"{place}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise HTTPException(status_code=422, detail=f"'{place}' is {value}; allowed is a finite number.")
    elif isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            shown = ascii(place)[1:-1]
            detail = (
                f"'{shown}' has half of a character (a lone surrogate); allowed is text that a file can hold."
            )
            raise HTTPException(status_code=422, detail=detail) from error


def _given_args(name: str, given: Any) -> list[Any]:
    """The list of an entry of `alwayson_scripts`."""
    args = given.get("args", []) if isinstance(given, dict) else None
    if not isinstance(args, list):
        detail = f"'{name}' in alwayson_scripts is {given!r:.100}; allowed is {{\"args\": [...]}}."
        raise HTTPException(status_code=422, detail=detail)
    return args


def validate_sampler_name(name: str) -> str:
    if name in sd_samplers.all_samplers_map:
        return name
    raise HTTPException(status_code=400, detail=f"There is no sampler '{name}'.")


def processing_args(request: Any) -> dict[str, Any]:
    """The arguments of the processing class that a request gives. An unknown sampler is an HTTP error."""
    wanted = request.sampler_name or request.sampler_index
    sampler, scheduler = sd_samplers.get_sampler_and_scheduler(wanted, request.scheduler)
    if not _names_sampler(wanted, sampler):
        validate_sampler_name(wanted)  # the real one draws with its first sampler, which is easily missed
    args = {name: value for name, value in vars(request).items() if name not in NOT_FOR_PROCESSING}
    args |= {
        "sampler_name": sampler,
        "sampler_index": None,
        "do_not_save_samples": not request.save_images,
        "do_not_save_grid": not request.save_images,
    }
    for name in ("hr_checkpoint_name", "hr_sampler_name", "hr_scheduler"):
        if str(args.get(name)).startswith("Use same "):  # an infotext's way to say nothing
            args[name] = None
    if not args.get("scheduler") and scheduler != "Automatic":
        args["scheduler"] = scheduler
    return args


def _names_sampler(wanted: str, sampler: str) -> bool:
    """Whether the sampler was found by its name, which may end with a schedule's."""
    return wanted == sampler or wanted.startswith(f"{sampler} ")


def field_value(field: Any, params: dict[str, Any]) -> Any:
    """What an infotext says for a field, in the type of its component; None where it says nothing."""
    read = field.function or (lambda known: known.get(field.label))
    value = read(params)
    if isinstance(value, dict) and value.get("__type__") in ("update", "generic_update"):
        value = value.get("value")
    kind = type(field.component.value)
    if value is None or kind is type(None) or isinstance(value, kind):
        return value
    if kind is bool:
        return value not in ("False", "false", "0", 0)
    try:
        return kind(float(value)) if kind is int else kind(value)
    except (TypeError, ValueError, OverflowError):
        return None  # as on the page, what does not fit changes nothing


class ScriptArguments:
    """The part of the API that makes the list of the scripts' arguments."""

    # -- scripts and their arguments

    def get_selectable_script(self, script_name: str | None, script_runner: Any) -> tuple[Any, int | None]:
        if not script_name:
            return None, None
        always_on = [script.title() for script in script_runner.alwayson_scripts]
        if script_name.casefold() in map(str.casefold, always_on):
            detail = (
                f"'{script_name}' is always on: send its arguments under alwayson_scripts, not script_args."
            )
            raise HTTPException(status_code=422, detail=detail)
        index = script_name_to_index(script_name, script_runner.selectable_scripts)
        return script_runner.selectable_scripts[index], index

    def get_script(self, script_name: str, script_runner: Any) -> Any:
        return script_runner.scripts[script_name_to_index(script_name, script_runner.scripts)]

    def init_default_script_args(self, script_runner: Any) -> list[Any]:
        """The argument list with every control at its start value, from components made for this alone.

        `ui` is called twice a script: so often does the real WebUI, and scripts must bear it.
        """
        script_args: list[Any] = [0] + [None] * (len(script_runner.inputs) - 1)
        with gr.Blocks():
            for script in script_runner.scripts:
                made = [script.ui(script.is_img2img) for _ in range(2)]
                values = [control.value for control in made[-1] or []]
                script_args[script.args_from : script.args_from + len(values)] = values
        return script_args

    def init_script_args(
        self,
        request: Any,
        default_script_args: list[Any],
        selectable_scripts: Any,
        selectable_idx: int | None,
        script_runner: Any,
        *,
        input_script_args: dict[int, Any] | None = None,
    ) -> list[Any]:
        """The argument list: start values, then the infotext's, then the request's for each script it names."""
        script_args = list(default_script_args)
        for index, value in (input_script_args or {}).items():
            script_args[index] = value
        if selectable_scripts:
            first, end = selectable_scripts.args_from, selectable_scripts.args_to
            given = (request.script_args or [])[: end - first]
            script_args[first : first + len(given)] = given
            script_args[0] = selectable_idx + 1
        for name, given in (request.alwayson_scripts or {}).items():
            script = self.get_script(name, script_runner)
            if script.alwayson is False:
                detail = f"'{name}' is chosen by script_name; alwayson_scripts takes always-on scripts only"
                raise HTTPException(status_code=422, detail=detail)
            # what is left out keeps its start value, what is too much is not looked at
            args = _given_args(name, given)
            for offset, value in enumerate(args[: script.args_to - script.args_from]):
                script_args[script.args_from + offset] = value
        return script_args

    def apply_infotext(
        self,
        request: Any,
        tabname: str,
        *,
        script_runner: Any = None,
        mentioned_script_args: dict[int, Any] | None = None,
    ) -> dict[str, Any]:
        """Fill what the request leaves open from its `infotext`; `mentioned_script_args` gets {place: value}."""
        if not request.infotext:
            return {}
        fields = infotext_utils.paste_fields[tabname]["fields"]
        params = infotext_utils.parse_generation_parameters(request.infotext)
        for field in fields:
            if field.api and field.api not in request.model_fields_set:
                value = field_value(field, params)
                if value is not None:
                    setattr(request, field.api, value)
        request.override_settings = request.override_settings or {}
        for _, setting, value in infotext_utils.get_override_settings(params):
            request.override_settings.setdefault(setting, value)
        if script_runner is not None and mentioned_script_args is not None:
            places = {component: place for place, component in enumerate(script_runner.inputs)}
            for field in fields:
                value = field_value(field, params) if field.component in places else None
                if value is not None:
                    mentioned_script_args[places[field.component]] = value
        return params
