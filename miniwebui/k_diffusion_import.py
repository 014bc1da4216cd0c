"""Makes `k_diffusion.sampling`, `.external` and `.utils` importable on their own.

The package's own `__init__` imports its training code (wandb, kornia, CLIP …), of which sampling needs
nothing; `k_diffusion.utils` imports torchvision for two picture helpers that sampling never calls.
Call `install()` before the first `import k_diffusion.…`.
"""

import importlib
import importlib.util
import sys
import types


def _find_package_folder(name: str) -> str:
    """The folder of an installed package, found without running it. Raises ImportError if absent."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"The package {name!r} is not installed; run `python -m miniwebui` to set it up.")
    return next(iter(spec.submodule_search_locations))


def _register_package_shell(name: str) -> None:
    """Register an empty module that has only `__path__`, so that submodules import normally."""
    if name in sys.modules:
        return
    shell = types.ModuleType(name)
    shell.__path__ = [_find_package_folder(name)]
    sys.modules[name] = shell


def _import_utils_with_stand_in() -> None:
    """Import `k_diffusion.utils` with an empty torchvision, then declare torchvision absent.

    A torchvision that is installed but does not load (a build for another torch) breaks the import of
    transformers and diffusers too; `None` in sys.modules makes both treat it as not installed.
    """
    names = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")
    modules = [types.ModuleType(name) for name in names]
    package, transforms, functional = modules
    package.__path__, transforms.__path__ = [], []
    package.transforms, transforms.functional = transforms, functional
    sys.modules.update(zip(names, modules, strict=True))
    try:
        importlib.import_module("k_diffusion.utils")
    finally:
        for loaded in [key for key in sys.modules if key.partition(".")[0] == "torchvision"]:
            del sys.modules[loaded]
        sys.modules["torchvision"] = None  # type: ignore[assignment]


def _torchvision_works() -> bool:
    """True if torchvision.transforms.functional is there and loads beside the installed torch."""
    try:
        importlib.import_module("torchvision.transforms.functional")
    except (ImportError, OSError, RuntimeError, AttributeError):
        return False
    return True


def install() -> None:
    """Prepare `k_diffusion`; harmless when called again. Raises ImportError if it is not installed.

    Call it before the first import of diffusers or transformers as well, see the stand-in above.
    """
    _register_package_shell("k_diffusion")
    if "k_diffusion.utils" not in sys.modules and not _torchvision_works():
        _import_utils_with_stand_in()
