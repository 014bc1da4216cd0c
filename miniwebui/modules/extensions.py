"""Extensions: the folder that the mini WebUI lies in, and those named on the command line."""

from __future__ import annotations

import importlib.util
import os
from argparse import ArgumentParser
from dataclasses import dataclass
from typing import Any

from modules.paths_internal import extensions_builtin_dir, script_path


@dataclass
class Extension:
    """A folder with scripts/, javascript/, style.css, preload.py or install.py."""

    name: str
    path: str
    enabled: bool = True
    is_builtin: bool = False
    metadata: Any = None

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
    """Find the extensions: the built-in ones, the one that the mini WebUI lies in, then `more` folders."""
    extensions.clear()
    for name in sorted(os.listdir(extensions_builtin_dir)):
        extensions.append(Extension(name, os.path.join(extensions_builtin_dir, name), is_builtin=True))
    for path in (os.path.dirname(script_path), *more):
        extensions.append(Extension(os.path.basename(os.path.abspath(path)), os.path.abspath(path)))


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


def requested(arguments: list[str]) -> list[str]:
    """The folders named by --extension, before the parser is complete."""
    parser = ArgumentParser(add_help=False)
    parser.add_argument("--extension", action="append", default=[])
    return parser.parse_known_args(arguments)[0].extension
