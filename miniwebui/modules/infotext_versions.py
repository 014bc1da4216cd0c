"""What pictures of older WebUI versions mean by what they do not say."""

from __future__ import annotations

import re
from typing import Any

from packaging import version

from modules import shared

v160 = version.parse("1.6.0")
v170_tsnr = version.parse("v1.7.0-225")
v180 = version.parse("1.8.0")
v180_hr_styles = version.parse("1.8.0-139")


def parse_version(text: str | None) -> version.Version | None:
    """Of "v1.10.1" or "v1.7.0-225-gabc"; None for what is no version."""
    if text is None:
        return None
    commits = re.match(r"([^-]+-[^-]+)-.*", text)
    try:
        return version.parse(commits.group(1) if commits else text)
    except version.InvalidVersion:
        return None


def backcompat(d: dict[str, Any]) -> None:
    """Add the compatibility options that an old picture needs."""
    made_by = parse_version(d.get("Version")) if shared.opts.auto_backcompat else None
    if made_by is None:
        return
    if made_by < v160 and "[" in d.get("Prompt", ""):
        d["Old prompt editing timelines"] = True
    if made_by < v160 and d.get("Sampler", "") in ("DDIM", "PLMS"):
        d["Pad conds v0"] = True
    if made_by < v170_tsnr:
        d["Downcast alphas_cumprod"] = True
    if made_by < v180 and d.get("Refiner"):
        d["Refiner switch by sampling steps"] = True
