"""Where things are; the names of the real WebUI."""

import os

modules_path = os.path.dirname(os.path.realpath(__file__))
script_path = os.path.dirname(modules_path)
data_path = script_path
models_path = os.path.join(data_path, "models")
default_sd_model_file = os.path.join(models_path, "Stable-diffusion", "demo.safetensors")
sd_default_config = ""
extensions_builtin_dir = os.path.join(script_path, "extensions-builtin")
extensions_dir = os.path.join(data_path, "extensions")
default_output_dir = os.path.join(data_path, "outputs")
