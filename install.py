"""Run by the host before it loads the extension. Nothing is installed: all that is needed comes with the host."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
ORIGINAL = "multidiffusion-upscaler-for-automatic1111"
ORIGINAL_MARK = Path("scripts/tilediffusion.py")
OLDEST_HOST, OLDEST_TORCH = (1, 10), (2, 1)


def _numbers(version: str) -> tuple[int, int]:
    """The first two numbers of a version; (0, 0) where it has none."""
    found = re.match(r"\D*(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def host_version() -> str | None:
    """The host's version, such as v1.10.1; None where it does not tell."""
    try:
        from modules import launch_utils  # noqa: TID251 - the host runs this file by itself

        return str(launch_utils.git_tag())
    except Exception:  # another host; it is asked, not relied on
        return None


def torch_version() -> str | None:
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return None


def original_folders(beside: Path) -> Iterator[Path]:
    """Folders beside this one that hold the original extension, under whatever name."""
    for folder in sorted(beside.iterdir()):
        if (
            folder.is_dir()
            and folder != HERE
            and (folder.name == ORIGINAL or (folder / ORIGINAL_MARK).is_file())
        ):
            yield folder


def problems(host: str | None, torch: str | None, beside: Path) -> Iterator[str]:
    """One sentence for each thing that keeps the extension from working."""
    if host is not None and (0, 0) < _numbers(host) < OLDEST_HOST:
        yield f"this WebUI is {host}; 1.10 or newer is needed, so both scripts will stay off until you update it."
    if torch is None:
        yield "torch is not installed here; start the WebUI once, which installs it."
    elif _numbers(torch) < OLDEST_TORCH:
        yield f"torch is {torch}; 2.1 or newer is needed, so update the WebUI's environment."
    for folder in original_folders(beside):
        yield (
            f"the original extension lies in {folder.name}; delete that folder or disable it under Extensions and "
            "restart, because both use the same package names and this one stays off beside it."
        )


if __name__ == "__main__":
    for sentence in problems(host_version(), torch_version(), HERE.parent):
        print(f"Tiled Diffusion & Tiled VAE: {sentence}")
