"""Finding the upscalers: those here, and those that extensions have defined."""

from modules import shared
from modules.upscaler import Upscaler, UpscalerLanczos, UpscalerNearest, UpscalerNone

FIRST = (UpscalerNone, UpscalerLanczos, UpscalerNearest)


def load_upscalers() -> None:
    """Fill `shared.sd_upscalers` from the subclasses of Upscaler: the plain ones first, the rest by name."""
    # an extension that was loaded twice has left two classes of one name; the later one counts
    classes = {str(kind): kind for kind in Upscaler.__subclasses__()}
    entries = [data for kind in classes.values() for data in kind(None).scalers]
    shared.sd_upscalers = sorted(
        entries, key=lambda data: "" if isinstance(data.scaler, FIRST) else (data.name or "").lower()
    )
