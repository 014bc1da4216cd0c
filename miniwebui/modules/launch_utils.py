"""What an extension's install.py may use, and the version this WebUI stands for."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

from modules import errors, extensions, util
from modules.paths_internal import script_path

VERSION = "v1.10.1"
INSTALLED = Path(sys.prefix) / "installed-extensions.json"
"""What ran in this environment: {folder: hash of what its installer is made of}"""
logger = logging.getLogger("launch")


def git_tag() -> str:
    return VERSION


def commit_hash() -> str:
    return "<none>"


def is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def run_pip(command: str, desc: str | None = None, live: bool = False) -> str:
    """Run pip with the words of `command`.

    Raises:
        RuntimeError: pip failed; its words are in the text.
    """
    if desc is not None:
        print(f"Installing {desc}")
    done = subprocess.run([sys.executable, "-m", "pip", *command.split()], capture_output=not live, text=True)
    if done.returncode:
        raise RuntimeError(f"Couldn't install {desc}.\n{done.stderr or ''}")
    return done.stdout or ""


def run_extension_installer(extension_dir: str) -> None:
    """Run the folder's install.py in a process of its own; what it prints is logged, an error reported."""
    installer = os.path.join(extension_dir, "install.py")
    if not os.path.isfile(installer):
        return
    paths = [script_path, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, installer]
    done = subprocess.run(command, env=environment, cwd=script_path, capture_output=True, text=True)
    for line in done.stdout.splitlines():
        logger.info("%s", line)
    if done.returncode:
        errors.report(f"The installer {installer} failed.\n{done.stdout}{done.stderr}")
        return
    _installed({extension_dir: _fingerprint(extension_dir)})


def list_extensions(settings_file: str) -> list[str]:
    """The folders of the extensions that the settings leave switched on."""
    extensions.apply_settings(settings_file)
    return [extension.path for extension in extensions.active()]


def run_extensions_installers(settings_file: str) -> None:
    """Run every extension's install.py, unless this very one has run in this environment already."""
    done = _installed()
    for folder in list_extensions(settings_file):
        if done.get(folder) != _fingerprint(folder):
            run_extension_installer(folder)


def _fingerprint(folder: str) -> str:
    """Changes when the installer, or what it installs by, does."""
    files = [Path(folder) / name for name in ("install.py", "requirements.txt")]
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files if file.is_file())).hexdigest()


def _installed(more: dict[str, str] | None = None) -> dict[str, str]:
    """What INSTALLED says, after `more` is added to it."""
    try:
        known = json.loads(INSTALLED.read_text(encoding="utf8"))
    except (OSError, ValueError):
        known = {}
    if more:
        known.update(more)
        util.write_text(INSTALLED, json.dumps(known, indent=1))
    return known
