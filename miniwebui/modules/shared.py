"""What everything shares: options, state, the device, the loaded checkpoint."""

from __future__ import annotations

import sys
from typing import Any

from modules import devices, options, shared_options, styles
from modules.paths_internal import data_path, models_path, script_path  # noqa: F401
from modules.shared_cmd_options import cmd_opts  # noqa: F401
from modules.util import listfiles, natural_sort_key, walk_files  # noqa: F401

config_filename = cmd_opts.ui_settings_file
options_templates = shared_options.options_templates
opts = options.Options(options_templates, shared_options.restricted_opts)
prompt_styles = styles.StyleDatabase(cmd_opts.styles_file)
device = devices.device
progress_print_out = sys.stdout
parallel_processing_allowed = True
sd_upscalers: list[Any] = []
face_restorers: list[Any] = []
clip_model = None
demo: Any = None
settings_components: dict[str, Any] = {}
hypernetworks: dict[str, Any] = {}
latent_upscale_default_mode = "Latent"
latent_upscale_modes = {
    "Latent": {"mode": "bilinear", "antialias": False},
    "Latent (antialiased)": {"mode": "bilinear", "antialias": True},
    "Latent (bicubic)": {"mode": "bicubic", "antialias": False},
    "Latent (bicubic antialiased)": {"mode": "bicubic", "antialias": True},
    "Latent (nearest)": {"mode": "nearest", "antialias": False},
    "Latent (nearest-exact)": {"mode": "nearest-exact", "antialias": False},
}


class _Shared(type(sys)):
    """`shared.sd_model` loads the checkpoint when it is first read."""

    @property
    def sd_model(self) -> Any:
        from modules import sd_models

        return sd_models.model_data.get_sd_model()

    @sd_model.setter
    def sd_model(self, value: Any) -> None:
        from modules import sd_models

        sd_models.model_data.set_sd_model(value)


sys.modules[__name__].__class__ = _Shared

from modules.interrogate import InterrogateModels  # noqa: E402
from modules.shared_state import State  # noqa: E402
from modules.shared_total_tqdm import TotalTQDM  # noqa: E402

interrogator = InterrogateModels()
state = State()
total_tqdm = TotalTQDM()
