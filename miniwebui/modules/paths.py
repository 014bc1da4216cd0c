"""Where things are; the names of the real WebUI."""

from modules.paths_internal import (  # noqa: F401
    data_path,
    default_sd_model_file,
    extensions_builtin_dir,
    extensions_dir,
    models_path,
    script_path,
)

paths: dict[str, str] = {}
