"""Makes `k_diffusion.sampling`, `.external` and `.utils` importable on their own.

The package's own `__init__` imports its training code (wandb, kornia, CLIP …), of which sampling needs
nothing; `k_diffusion.utils` imports torchvision for two picture helpers that sampling never calls.
Call `install()` before the first `import k_diffusion.…`.
"""

import importlib
import importlib.util
import sys
import types

from miniwebui.torchvision_stand_in import torchvision_stand_in


def _find_package_folder(name: str) -> str:
    """The folder of an installed package, found without running it. Raises ImportError if absent."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"The package {name!r} is not installed; run `python3 -m miniwebui` to set it up.")
    return next(iter(spec.submodule_search_locations))


def _register_package_shell(name: str) -> None:
    """Register an empty module that has only `__path__`, so that submodules import normally."""
    if name in sys.modules:
        return
    shell = types.ModuleType(name)
    shell.__path__ = [_find_package_folder(name)]
    sys.modules[name] = shell


def install() -> None:
    """Prepare `k_diffusion`; harmless when called again. Raises ImportError if it is not installed.

    Call it before the first import of diffusers or transformers as well, see `torchvision_stand_in`.
    """
    _register_package_shell("k_diffusion")
    if "k_diffusion.utils" not in sys.modules:
        with torchvision_stand_in():
            importlib.import_module("k_diffusion.utils")
