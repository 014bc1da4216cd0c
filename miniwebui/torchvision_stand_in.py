"""A stand-in for torchvision, for packages that import it for a few helpers which we never call.

torchvision's builds must match torch's to the last digit, and one that does not match breaks the import of
transformers and diffusers too. Nothing here needs it, so it is not installed.
"""

import importlib
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager

NAMES = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")
HELPERS = ("InterpolationMode", "normalize", "rotate")
"""What is imported by name from the last of them."""


def _works() -> bool:
    """True if torchvision is there and loads beside the installed torch."""
    try:
        importlib.import_module(NAMES[-1])
    except (ImportError, OSError, RuntimeError, AttributeError):
        return False
    return True


@contextmanager
def torchvision_stand_in() -> Iterator[None]:
    """Inside, torchvision's helpers can be imported: the real ones where they load, else None for each.

    Afterwards a torchvision that does not load counts as absent (`None` in sys.modules), so that transformers and
    diffusers treat it as not installed.
    """
    if _works():
        yield
        return
    package, transforms, functional = modules = [types.ModuleType(name) for name in NAMES]
    package.__path__, transforms.__path__ = [], []
    package.transforms, transforms.functional = transforms, functional
    for helper in HELPERS:
        setattr(functional, helper, None)
    sys.modules.update(zip(NAMES, modules, strict=True))
    try:
        yield
    finally:
        for loaded in [key for key in sys.modules if key.partition(".")[0] == "torchvision"]:
            del sys.modules[loaded]
        sys.modules["torchvision"] = None  # type: ignore[assignment]
