"""Extensions: the folder that the mini WebUI lies in, those installed, and those named on the command line."""

from __future__ import annotations

import configparser
import importlib.util
import json
import os
import re
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modules import errors
from modules.paths_internal import extensions_builtin_dir, extensions_dir, script_path


@dataclass
class CallbackOrderInfo:
    """Names of callbacks that one comes before, and after."""

    name: str
    before: list[str]
    after: list[str]


class ExtensionMetadata:
    """An extension's `metadata.ini`: `[callbacks/NAME]` with `Before` and `After` says what goes before what."""

    filename = "metadata.ini"

    def __init__(self, path: str, canonical_name: str) -> None:
        self.canonical_name = canonical_name
        self.config = configparser.ConfigParser()
        try:
            self.config.read(os.path.join(path, self.filename))
        except configparser.Error:
            errors.report(f"{self.filename} of the extension {canonical_name} cannot be read", exc_info=True)

    def list_callback_order_instructions(self) -> Iterator[CallbackOrderInfo]:
        for section in self.config.sections():
            kind, _, name = section.partition("/")
            if kind == "callbacks":
                before, after = (
                    re.findall(r"[^,\s]+", self.config.get(section, field, fallback=""))
                    for field in ("Before", "After")
                )
                yield CallbackOrderInfo(name, before, after)


@dataclass
class Extension:
    """A folder with scripts/, javascript/, style.css, preload.py, install.py or metadata.ini."""

    name: str
    path: str
    enabled: bool = True
    is_builtin: bool = False
    metadata: Any = None

    def __post_init__(self) -> None:
        self.metadata = self.metadata or ExtensionMetadata(self.path, self.canonical_name)

    @property
    def canonical_name(self) -> str:
        return self.name.lower()

    def list_files(self, subdir: str, extension: str) -> list[str]:
        """Files of `subdir` with that ending, sorted, full paths."""
        folder = os.path.join(self.path, subdir)
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        return [os.path.join(folder, name) for name in names if name.endswith(extension)]


extensions: list[Extension] = []


def find_extension(filename: str) -> Extension | None:
    """The extension that a file belongs to; the WebUI's own files lie in an extension's folder, but are none's."""
    path = os.path.realpath(filename)
    own = path.startswith(os.path.realpath(script_path) + os.sep)
    for extension in extensions:
        inside = path.startswith(os.path.realpath(extension.path) + os.sep)
        if inside and (extension.is_builtin or not own):
            return extension
    return None


def active() -> list[Extension]:
    return [extension for extension in extensions if extension.enabled]


def list_extensions(more: list[str] = ()) -> None:
    """Find them: built-in ones, the one that the mini WebUI lies in, those in `extensions_dir`, then `more` folders."""
    extensions.clear()
    extensions.extend(
        Extension(name, path, is_builtin=True) for name, path in _folders(extensions_builtin_dir)
    )
    own = [os.path.dirname(script_path), *(path for _, path in _folders(extensions_dir)), *more]
    for path in map(os.path.abspath, own):
        extensions.append(Extension(os.path.basename(path), path))


def _folders(parent: str) -> list[tuple[str, str]]:
    """(name, path) of the folders in a folder, which need not exist."""
    names = sorted(os.listdir(parent)) if os.path.isdir(parent) else []
    paths = [(name, os.path.join(parent, name)) for name in names]
    return [(name, path) for name, path in paths if os.path.isdir(path)]


def apply_settings(settings_file: str) -> None:
    """Switch off the extensions that the settings say: by name, all, or all but the built-in ones ("extra")."""
    try:
        settings = json.loads(Path(settings_file).read_text(encoding="utf8"))
    except (OSError, ValueError):
        return  # the options report a file that cannot be read
    names, which = settings.get("disabled_extensions", []), settings.get("disable_all_extensions", "none")
    for extension in extensions:
        off = which == "all" or (which == "extra" and not extension.is_builtin)
        extension.enabled = not off and extension.name not in names


def preload(parser: ArgumentParser) -> None:
    """Let every extension's preload.py add its command-line flags."""
    for extension in active():
        path = os.path.join(extension.path, "preload.py")
        if not os.path.isfile(path):
            continue
        spec = importlib.util.spec_from_file_location(f"preload_{extension.name}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.preload(parser)
