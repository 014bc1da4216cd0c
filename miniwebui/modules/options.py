"""Options of the settings page, with their defaults."""

from __future__ import annotations

import json
from typing import Any


class OptionInfo:
    """One option: its default and how it is shown."""

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

    def info(self, info: str) -> OptionInfo:
        self.comment_after += f"<span class='info'>({info})</span>"
        return self


class Options:
    """Values by attribute; an unknown name is an AttributeError, as in the real WebUI."""

    def __init__(self, data_labels: dict[str, OptionInfo], restricted_opts: set[str]) -> None:
        self.data_labels = data_labels
        self.data = {key: info.default for key, info in data_labels.items()}
        self.restricted_opts = restricted_opts

    def __setattr__(self, key: str, value: Any) -> None:
        if key in ("data", "data_labels", "restricted_opts"):
            super().__setattr__(key, value)
        else:
            self.data[key] = value

    def __getattr__(self, item: str) -> Any:
        data = self.__dict__.get("data", {})
        if item in data:
            return data[item]
        raise AttributeError(f"'Options' object has no attribute '{item}'")

    def set(self, key: str, value: Any, is_api: bool = False, run_callbacks: bool = True) -> bool:
        """Set an option; True when its value changed."""
        if key not in self.data_labels or self.data.get(key) == value:
            return False
        self.data[key] = value
        info = self.data_labels[key]
        if run_callbacks and info.onchange is not None:
            info.onchange()
        return True

    def get_default(self, key: str) -> Any:
        info = self.data_labels.get(key)
        return info.default if info else None

    def add_option(self, key: str, info: OptionInfo) -> None:
        self.data_labels[key] = info
        self.data.setdefault(key, info.default)

    def onchange(self, key: str, func: Any, call: bool = True) -> None:
        self.data_labels[key].onchange = func
        if call:
            func()

    def dumpjson(self) -> str:
        return json.dumps({key: self.data.get(key, info.default) for key, info in self.data_labels.items()})
