"""Region layouts as files under `region_configs/`, which a name may not leave."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tile_utils.exchange import regions_from_json, regions_to_json
from tile_utils.files import write_whole
from tile_utils.settings import RegionSettings, SettingsError

FOLDER = Path(__file__).resolve().parent.parent / "region_configs"


def _path(name: str) -> Path:
    """Raises SettingsError for a name that is empty or more than a file's name."""
    name = name.strip().removesuffix(".json")
    if not name or set(name) & set('/\\\0:*?"<>|') or name.startswith("."):
        raise SettingsError(
            f"'Custom Config File' is {name!r}; allowed is a file name without folders, such as 'two-people'."
        )
    return FOLDER / f"{name}.json"


def save(name: str, regions: Sequence[RegionSettings]) -> Path:
    """Write the regions; returns where.

    Raises:
        SettingsError: the name is not allowed, or the file cannot be written.
    """
    path = _path(name)
    try:
        FOLDER.mkdir(exist_ok=True)
        write_whole(path, regions_to_json(regions))
    except OSError as error:
        raise SettingsError(f"The region file {path.name} cannot be written ({error.strerror}).") from error
    return path


def load(name: str, max_regions: int) -> tuple[RegionSettings, ...]:
    """The regions of a file.

    Raises:
        SettingsError: the name is not allowed, there is no such file, or it cannot be read.
    """
    path = _path(name)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        known = ", ".join(sorted(file.stem for file in FOLDER.glob("*.json"))) or "none"
        raise SettingsError(f"There is no region file {path.name}; known are: {known}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"The region file {path.name} cannot be read ({error}).") from error
    return regions_from_json(text, max_regions)
