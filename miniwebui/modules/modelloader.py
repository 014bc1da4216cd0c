"""Finding and loading upscalers: those here, those in files, and those that extensions have defined."""

import importlib
import logging
import os
from urllib.parse import urlparse

from miniwebui.torchvision_stand_in import torchvision_stand_in
from modules import shared
from modules.upscaler import Upscaler, UpscalerLanczos, UpscalerNearest, UpscalerNone

FIRST = (UpscalerNone, UpscalerLanczos, UpscalerNearest)

logger = logging.getLogger(__name__)


def load_models(
    model_path: str,
    model_url: str | None = None,
    command_path: str | None = None,
    ext_filter=None,
    download_name=None,
    ext_blacklist=None,
    hash_prefix=None,
) -> list[str]:
    """Model files in `command_path` and `model_path`; if there are none, the address to get one from."""
    places = [place for place in (command_path, model_path) if place]
    found = [file for place in dict.fromkeys(places) for file in shared.walk_files(place, ext_filter)]
    wanted = [file for file in found if not file.endswith(tuple(ext_blacklist or ()))]
    return list(dict.fromkeys(wanted)) or ([model_url] if model_url else [])


def friendly_name(file: str) -> str:
    """A file's name, or the last part of an address, without its extension."""
    path = urlparse(file).path if file.startswith("http") else file
    return os.path.splitext(os.path.basename(path))[0]


def load_upscalers() -> None:
    """Fill `shared.sd_upscalers` from the subclasses of Upscaler: the plain ones first, the rest by name."""
    for file in sorted(os.listdir(os.path.dirname(__file__))):
        if file.endswith("_model.py"):
            importlib.import_module(f"modules.{file.removesuffix('.py')}")
    # an extension that was loaded twice has left two classes of one name; the later one counts
    classes = {str(kind): kind for kind in (*FIRST, *Upscaler.__subclasses__())}
    entries = [data for kind in classes.values() for data in kind(None).scalers]
    shared.sd_upscalers = sorted(
        entries, key=lambda data: "" if isinstance(data.scaler, FIRST) else (data.name or "").lower()
    )


def load_spandrel_model(path, *, device, prefer_half=False, dtype=None, expected_architecture=None):
    """spandrel's description of the network in a file, ready to be called."""
    with torchvision_stand_in():
        import spandrel

    descriptor = spandrel.ModelLoader(device=device).load_from_file(str(path))
    if expected_architecture and descriptor.architecture.name != expected_architecture:
        logger.info("Model %s is of architecture %s.", path, descriptor.architecture.name)
    if prefer_half and descriptor.supports_half:
        descriptor.model.half()
    if dtype:
        descriptor.model.to(dtype=dtype)
    descriptor.model.eval()
    return descriptor
