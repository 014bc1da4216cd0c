"""Options of the settings page: what each one is, its value, and the file they are kept in."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from modules import errors, util


class OptionInfo:
    """One option: its default and how it is shown. `section` is (id, title); one without an id is not shown."""

    def __init__(
        self,
        default: Any = None,
        label: str = "",
        component: Any = None,
        component_args: Any = None,
        onchange: Any = None,
        section: Any = None,
        refresh: Any = None,
        comment_before: str = "",
        comment_after: str = "",
        infotext: Any = None,
        restrict_api: bool = False,
        category_id: Any = None,
    ) -> None:
        self.default = default
        self.label = label
        self.component = component
        self.component_args = component_args
        self.onchange = onchange
        self.section = section
        self.category_id = category_id
        self.refresh = refresh
        self.do_not_save = False
        self.comment_before = comment_before
        self.comment_after = comment_after
        self.infotext = infotext
        self.restrict_api = restrict_api

    def link(self, label: str, url: str) -> OptionInfo:
        self.comment_before += f"[<a href='{url}' target='_blank'>{label}</a>]"
        return self

    def js(self, label: str, js_func: str) -> OptionInfo:
        self.comment_before += f"[<a onclick='{js_func}(); return false'>{label}</a>]"
        return self

    def info(self, info: str) -> OptionInfo:
        return self.html(f"<span class='info'>({info})</span>")

    def html(self, html: str) -> OptionInfo:
        self.comment_after += html
        return self

    def needs_restart(self) -> OptionInfo:
        return self.html(" <span class='info'>(requires restart)</span>")

    def needs_reload_ui(self) -> OptionInfo:
        return self.html(" <span class='info'>(requires Reload UI)</span>")


class OptionHTML(OptionInfo):
    """A paragraph between the options."""

    def __init__(self, text: str) -> None:
        super().__init__(str(text).strip(), label="", component=_paragraph)
        self.do_not_save = True


def _paragraph(**kwargs: Any) -> Any:
    import gradio as gr

    return gr.HTML(elem_classes="settings-info", **kwargs)


def options_section(section_identifier: tuple, options_dict: dict[str, OptionInfo]) -> dict[str, OptionInfo]:
    """Put options into a section: (id, title) or (id, title, id of a category)."""
    for info in options_dict.values():
        info.section = tuple(section_identifier[:2])
        if len(section_identifier) == 3:
            info.category_id = section_identifier[2]
    return options_dict


options_builtin_fields = {"data_labels", "data", "restricted_opts", "typemap"}


class Options:
    """Values by attribute; an unknown name is an AttributeError, as in the real WebUI."""

    typemap: dict[type, type] = {int: float}

    def __init__(self, data_labels: dict[str, OptionInfo], restricted_opts: set[str]) -> None:
        self.data_labels = data_labels
        self.data = {key: info.default for key, info in data_labels.items() if not info.do_not_save}
        self.restricted_opts = restricted_opts

    def __setattr__(self, key: str, value: Any) -> None:
        """Raises RuntimeError for an option that the page does not show."""
        if key in options_builtin_fields or (key not in self.data and key not in self.data_labels):
            super().__setattr__(key, value)
            return
        info = self.data_labels.get(key)
        if info is not None and info.do_not_save:
            return
        arguments = info.component_args if info is not None else None
        if isinstance(arguments, dict) and arguments.get("visible", True) is False:
            raise RuntimeError(f"The option '{key}' cannot be set from here.")
        self.data[key] = value

    def __getattr__(self, item: str) -> Any:
        data, labels = self.__dict__.get("data", {}), self.__dict__.get("data_labels", {})
        if item in data:
            return data[item]
        if item in labels:
            return labels[item].default
        raise AttributeError(f"There is no option '{item}'.")

    def set(self, key: str, value: Any, is_api: bool = False, run_callbacks: bool = True) -> bool:
        """Set an option; True when its value changed. A callback that fails takes the change back.

        Raises:
            KeyError: there is no such option.
        """
        before = self.data.get(key)
        if before == value:
            return False
        info = self.data_labels[key]
        if info.do_not_save or (is_api and info.restrict_api):
            return False
        try:
            setattr(self, key, value)
        except RuntimeError:
            return False
        if run_callbacks and info.onchange is not None:
            try:
                info.onchange()
            except Exception as error:
                errors.display(error, f"changing setting {key} to {value}")
                setattr(self, key, before)
                return False
        return True

    def get_default(self, key: str) -> Any:
        info = self.data_labels.get(key)
        return info.default if info else None

    def save(self, filename: str) -> None:
        """Write every value; the file is there whole or as it was."""
        util.write_text(filename, json.dumps(self.data, indent=4, ensure_ascii=False))

    def load(self, filename: str) -> None:
        """Take the values of a file over the defaults. One that cannot be read is put aside, with a message."""
        try:
            with open(filename, encoding="utf8") as file:
                loaded = json.load(file)
            if not isinstance(loaded, dict):
                raise ValueError("it holds no object")
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            aside = f"{filename}.corrupt"
            errors.report(f"Could not load settings from {filename} ({error}); it is kept as {aside}")
            os.replace(filename, aside)
            return
        self.data.update(loaded)
        for key, value in self.data.items():
            info = self.data_labels.get(key)
            if info is not None and not self.same_type(info.default, value):
                kinds = f"a {type(value).__name__}, not a {type(info.default).__name__}"
                errors.report(f"In {filename} the option '{key}' is {value!r}: {kinds}.")

    def check(self, key: str, value: Any) -> None:
        """Raises ValueError, one sentence, if there is no such option or it cannot have this value."""
        info = self.data_labels.get(key)
        if info is None:
            raise ValueError(f"There is no option '{key}' here.")
        if info.default is None:
            fits, allowed = (
                value is None or isinstance(value, (str, int, float)),
                "a text, a number or nothing",
            )
        else:
            fits = value is not None and self.same_type(value, info.default)
            allowed = f"a {type(info.default).__name__}"
        if fits and isinstance(value, float):
            fits, allowed = math.isfinite(value), "a finite number"
        limits = (info.component_args() if callable(info.component_args) else info.component_args) or {}
        low, high = limits.get("minimum", -math.inf), limits.get("maximum", math.inf)
        if fits and isinstance(value, (int, float)) and not low <= value <= high:
            fits, allowed = False, f"{low:g} to {high:g}"
        if fits and isinstance(info.default, str) and value not in limits.get("choices", [value]):
            fits, allowed = False, f"one of {', '.join(map(str, limits['choices']))}"
        if not fits:
            raise ValueError(f"The option '{key}' is {value!r:.100}; allowed is {allowed}.")

    def same_type(self, x: Any, y: Any) -> bool:
        """Whether two values are of one type; whole and other numbers count as one, None as any."""
        if x is None or y is None:
            return True
        kinds = [self.typemap.get(type(value), type(value)) for value in (x, y)]
        return kinds[0] == kinds[1]

    def cast_value(self, key: str, value: Any) -> Any:
        """`value` in the type of the option: "12" -> 12. None stays None."""
        default = self.data_labels[key].default
        if default is None:
            default = getattr(self, key, None)
        if value is None or default is None:
            return None
        if type(default) is bool and value == "False":
            return False
        return type(default)(value)

    def onchange(self, key: str, func: Callable[[], Any], call: bool = True) -> None:
        self.data_labels[key].onchange = func
        if call:
            func()

    def dumpjson(self) -> str:
        """Values, comments and the order of sections, for the page's scripts."""
        shown = self.data_labels
        values: dict[str, Any] = {key: self.data.get(key, info.default) for key, info in shown.items()}
        values["_comments_before"] = {key: info.comment_before for key, info in shown.items()}
        values["_comments_after"] = {key: info.comment_after for key, info in shown.items()}
        heads: dict[str, str] = {}
        for info in shown.values():
            if info.section[0] is not None:
                category = categories.mapping.get(info.category_id)
                heads.setdefault(category.label if category else "Uncategorized", info.section[1])
        values["_categories"] = [[title, label] for label, title in heads.items()]
        return json.dumps(values, default=str)

    def add_option(self, key: str, info: OptionInfo) -> None:
        self.data_labels[key] = info
        if key not in self.data and not info.do_not_save:
            self.data[key] = info.default

    def reorder(self) -> None:
        """Sections of one category together, categories as they were registered, sections by title."""
        first: dict[Any, Any] = {}
        for info in self.data_labels.values():
            info.section = info.section or (None, "Hidden options")
            info.category_id = first.setdefault(info.section, info.category_id)
        rank = {category: number for number, category in enumerate(categories.mapping)}
        in_order = sorted(
            self.data_labels.items(),
            key=lambda item: (rank.get(item[1].category_id, len(rank)), item[1].section[1]),
        )
        self.data_labels = dict(in_order)


@dataclass
class OptionsCategory:
    id: str
    label: str


class OptionsCategories:
    """Headings over the sections of the settings page."""

    def __init__(self) -> None:
        self.mapping: dict[str, OptionsCategory] = {}

    def register_category(self, category_id: str, label: str) -> str | None:
        """The id if it was taken already."""
        if category_id in self.mapping:
            return category_id
        self.mapping[category_id] = OptionsCategory(category_id, label)
        return None


categories = OptionsCategories()
