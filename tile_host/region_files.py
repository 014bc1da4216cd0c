"""Region layouts as files under `region_configs/`, which a name may not leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tile_utils.exchange import RegionFile, region_file
from tile_utils.files import write_whole
from tile_utils.fingerprint import fingerprint
from tile_utils.settings import RegionSettings, SettingsError, TiledDiffusionSettings

MOST_MASKS = 48 * 1024
"""Letters of all masks in a picture's text, which leaves room for the prompts below 64 KB."""
FOLDER = Path(__file__).resolve().parent.parent / "region_configs"


def _path(name: str) -> Path:
    """Raises SettingsError for a name that is empty or more than a file's name."""
    name = name.strip().removesuffix(".json")
    if not name or set(name) & set('/\\\0:*?"<>|') or name.startswith("."):
        raise SettingsError(
            f"'Custom Config File' is {name!r}; allowed is a file name without folders, such as 'two-people'."
        )
    return FOLDER / f"{name}.json"


def save(name: str, regions: Sequence[RegionSettings], tile_prompts: str | None = None) -> Path:
    """Write the regions, and the words for each tile; returns where.

    Raises:
        SettingsError: the name is not allowed, or the file cannot be written.
    """
    path = _path(name)
    try:
        FOLDER.mkdir(exist_ok=True)
        write_whole(path, RegionFile(tuple(regions), tile_prompts).to_json())
    except OSError as error:
        raise SettingsError(f"The region file {path.name} cannot be written ({error.strerror}).") from error
    return path


def written_regions(settings: TiledDiffusionSettings) -> tuple[tuple[RegionSettings, ...], str | None]:
    """(the regions as a picture's text holds them, a sentence if it does not hold their masks).

    PNG readers take texts of 64 KB at least for granted: masks that would need more go into a region file.
    """
    regions = settings.regions
    size, most = sum(len(region.mask) for region in regions), MOST_MASKS
    if size <= most:
        return regions, None
    told = f"The masks of the regions take {size} letters, more than the {most} that the picture's text holds for them"
    try:
        path = save(f"masks-{fingerprint(regions)[:12]}", regions)
    except SettingsError as error:
        saved = f"{told}; they are not kept: {error}"
    else:
        saved = (
            f"{told}; they are saved with their regions as {path.name}: load that with 'Custom Config File'."
        )
    return tuple(replace(region, mask="") for region in regions), saved


def load(name: str, max_regions: int) -> RegionFile:
    """What a file holds.

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
    return region_file(text, max_regions)
