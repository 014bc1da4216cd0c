"""Other extensions' scripts: their files, and whose hooks the host calls first."""

from __future__ import annotations

import os
from collections.abc import Iterable

from modules import extensions


def script_files(name: str) -> list[str]:
    """The scripts of that file name among the host's extensions."""
    paths = (os.path.join(extension.path, "scripts", name) for extension in extensions.active())
    return [path for path in paths if os.path.isfile(path)]


def before(file: str, script_class: type, hook: str, later: Iterable[str], later_class: str) -> None:
    """Have `hook` of the script in our `file` called before that of `later_class` in the files `later`.

    Into our extension's metadata, as a line of `metadata.ini` would be; but names of callbacks begin with the folders'
    names, which are known only here.
    """
    ours = extensions.find_extension(file)
    if ours is None:
        return
    section = f"callbacks/{_callback(file, hook, script_class.__name__)}"
    names = [_callback(path, hook, later_class) for path in later]
    ours.metadata.config.read_dict({section: {"Before": ", ".join(names)}})


def _callback(file: str, hook: str, class_name: str) -> str:
    """The name that the host gives a script's hook."""
    extension = extensions.find_extension(file)
    owner = extension.canonical_name if extension else "base"  # a folder that is a link
    return f"{owner}/{os.path.basename(file)}/script_{hook}/{class_name}"
