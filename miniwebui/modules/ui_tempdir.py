"""Which files of the disk the page may show."""

from __future__ import annotations

import os
from typing import Any


def check_tmp_file(gradio: Any, filename: str) -> bool:
    """Whether gradio itself made that temporary file."""
    made = getattr(gradio, "temp_file_sets", None) or []
    return any(os.path.abspath(filename) in files for files in made)
