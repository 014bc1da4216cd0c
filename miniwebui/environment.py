"""Make and keep the virtual environment. Standard library only: this runs before anything is installed."""

from __future__ import annotations

import functools
import hashlib
import http.client
import os
import shutil
import subprocess
import sys
import urllib.request
import venv
from collections.abc import Callable, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
SUPPORTED = ((3, 10), (3, 12))
CPU_BUILDS, CPU_BUILDS_SECONDS = "https://download.pytorch.org/whl/cpu", 5
"""PyTorch's index of builds without CUDA, and how long to wait for it. The one on PyPI for Linux brings CUDA along."""
TOOLS = {"chromium": "chromium", "node": "nodejs"}
"""Commands that the tests run, and Debian's packages of them."""


class SetupError(Exception):
    """A step of the set-up failed; the text says what to do."""


def _pip(arguments: Sequence[str], what: str) -> None:
    """Install, after one line that says what."""
    print(f"Installing {what} …", flush=True)
    command = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    if subprocess.run(command).returncode:
        raise SetupError(
            f"Installing {what} failed (pip's own words are above). Check the network connection and the free disk "
            "space, then run the same command again: it goes on from here."
        )


def _has_nvidia_card() -> bool:
    """Whether NVIDIA's driver is there: in /proc, or (Windows' Linux) its command alone."""
    return Path("/proc/driver/nvidia").exists() or bool(shutil.which("nvidia-smi"))


@functools.cache
def _pytorch_options() -> list[str]:
    """What pip must be told to get the PyTorch that suits this machine: without CUDA where no NVIDIA card is.

    A build from that index has the higher version (`+cpu`), so pip prefers it. Where the index cannot be reached, the
    default one's does too: it is only larger.
    """
    if sys.platform != "linux" or _has_nvidia_card():
        return []
    try:
        with urllib.request.urlopen(f"{CPU_BUILDS}/torch/", timeout=CPU_BUILDS_SECONDS):
            return ["--extra-index-url", CPU_BUILDS]
    except (OSError, http.client.HTTPException):
        return []


def _gigabytes() -> tuple[float, int, int]:
    """To download, on the disk afterwards, and free on it at the beginning: at most."""
    without_cuda = sys.platform != "linux" or _pytorch_options()
    return (0.5, 2, 4) if without_cuda else (3, 8, 12)


def _check_machine() -> None:
    lowest, highest = SUPPORTED
    if not lowest <= sys.version_info[:2] <= highest:
        raise SetupError(
            f"This is Python {sys.version_info[0]}.{sys.version_info[1]}; Python 3.10 to 3.12 is needed. "
            "Install one of these and run the command with it."
        )
    needed = _gigabytes()[2]
    if shutil.disk_usage(ROOT).free < needed * 2**30:
        raise SetupError(f"Less than {needed} GB are free on the disk of {ROOT}. Free some and run again.")


def _make_venv() -> None:
    """An empty environment with pip: whole, or none at all."""
    download, on_disk, _ = _gigabytes()
    print(
        f"First run: making .venv with PyTorch, gradio and diffusers: up to {download} GB to download, {on_disk} GB on "
        "the disk, 3 minutes or more.",
        flush=True,
    )
    try:
        venv.create(VENV, with_pip=True, clear=VENV.exists())
    except BaseException as error:
        shutil.rmtree(VENV, ignore_errors=True)
        if not isinstance(error, (OSError, subprocess.CalledProcessError)):
            raise
        raise SetupError(
            f"Making the virtual environment failed ({error}). On Debian, 'apt install python3-venv' may help."
        ) from error


def _stamped(name: str, files: Sequence[Path]) -> tuple[Path, str]:
    """The file that records a finished step, and what it must hold: the hash of what was asked for."""
    wanted = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    return VENV / f"installed-{name}", wanted


def _install(name: str, requirements: str, what: str, options: Callable[[], Sequence[str]] = tuple) -> None:
    """Install a requirements file, unless this very file is installed already. `options`: pip's, made then."""
    path = HERE / requirements
    stamp, wanted = _stamped(name, [path])
    if stamp.exists() and stamp.read_text() == wanted:
        return
    _pip([*options(), "-r", str(path)], what)
    stamp.write_text(wanted)


def _install_tools() -> None:
    """Debian's Chromium for the browser tests and Node for those of the javascript, where they may be installed."""
    missing = [package for command, package in TOOLS.items() if not shutil.which(command)]
    if not missing:
        return
    names = " and ".join(missing)
    if not shutil.which("apt-get") or os.geteuid() != 0:
        raise SetupError(f"The tests need {names}: install your system's packages and run again.")
    print(f"Installing Debian's {names} (about 1 minute) …", flush=True)
    quiet = {"stdout": subprocess.DEVNULL, "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}}
    for command in (["update"], ["install", "-y", "--no-install-recommends", *missing]):
        if subprocess.run(["apt-get", "-qq", *command], **quiet).returncode:
            raise SetupError(
                f"Installing {names} failed (apt's own words are above). Check the network, run again."
            )


def ensure(for_tests: bool = False) -> None:
    """Bring `.venv` to what the requirements say; returns at once when it is there already.

    Raises:
        SetupError: a step failed. What was done stays, and the next call goes on from there.
    """
    if not PYTHON.exists():
        _check_machine()
        _make_venv()
    _install("main", "requirements.txt", "PyTorch, gradio and diffusers", _pytorch_options)
    _install(
        "no-deps",
        "requirements-no-deps.txt",
        "k-diffusion's samplers and spandrel's upscalers",
        lambda: ["--no-deps"],
    )
    if for_tests:
        _install("test", "requirements-test.txt", "pytest, hypothesis, ruff, mypy and playwright")
        _install_tools()
