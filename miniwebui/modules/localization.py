"""Translations of the page: files of the WebUI and of extensions, one per language, put together."""

from __future__ import annotations

import json
import os

from modules import errors
from modules.paths_internal import script_path

default_dir = os.path.join(script_path, "localizations")
localizations: dict[str, list[str]] = {}
"""{name: files}"""


def list_localizations(dirname: str) -> None:
    """Look for files `<name>.json` in that folder and in `localizations/` of every extension."""
    from modules import scripts

    localizations.clear()
    own = sorted(os.listdir(dirname)) if os.path.isdir(dirname) else []
    paths = [os.path.join(dirname, name) for name in own]
    paths += [file.path for file in scripts.list_scripts("localizations", ".json")]
    for path in paths:
        name, extension = os.path.splitext(os.path.basename(path))
        if extension.lower() == ".json" and path not in localizations.setdefault(name, []):
            localizations[name].append(path)


def localization_js(current_localization_name: str) -> str:
    """The statement that gives the page its translations; a file that cannot be read is reported."""
    translations: dict[str, str] = {}
    for path in localizations.get(current_localization_name, []):
        try:
            with open(path, encoding="utf8") as file:
                translations.update(json.load(file))
        except (OSError, ValueError, TypeError):
            errors.report(f"The translation {path} cannot be read", exc_info=True)
    # inside of a <script> element no text may end it
    return f"window.localization = {json.dumps(translations)}".replace("<", "\\u003c")
