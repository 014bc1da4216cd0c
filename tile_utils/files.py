"""Writing a file so that it is there whole, or stays as it was."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Put `text` in place of the file: encoded first, written beside, then exchanged. Links are followed.

    Raises:
        UnicodeEncodeError: the text holds half a character.
        OSError: it cannot be written.
    """
    data = text.encode("utf-8")
    path = path.resolve()
    beside = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with beside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
