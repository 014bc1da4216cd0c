"""What an extension's install.py may use, and the version this WebUI stands for."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

VERSION = "v1.10.1"


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
