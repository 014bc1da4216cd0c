"""Where things are; the names of the real WebUI."""

import argparse
import os
import sys


def command_line() -> list[str]:
    """The arguments that are the WebUI's: none while a test runner owns the command line."""
    return sys.argv[1:] if os.path.basename(sys.argv[0]) == "webui.py" else []


modules_path = os.path.dirname(os.path.realpath(__file__))
script_path = os.path.dirname(modules_path)
# the other flags may depend on it: extensions add theirs
parser_pre = argparse.ArgumentParser(add_help=False)
parser_pre.add_argument("--data-dir", default=script_path, help="folder for settings, extensions and outputs")
cmd_opts_pre = parser_pre.parse_known_args(command_line())[0]

data_path = os.path.abspath(cmd_opts_pre.data_dir)
try:
    os.makedirs(data_path, exist_ok=True)
except OSError as error:
    parser_pre.exit(2, f"--data-dir is {data_path}; it cannot be made ({error.strerror}).\n")
models_path = os.path.join(data_path, "models")
default_sd_model_file = os.path.join(script_path, "models", "Stable-diffusion", "demo.safetensors")
sd_default_config = ""
extensions_builtin_dir = os.path.join(script_path, "extensions-builtin")
extensions_dir = os.path.join(data_path, "extensions")
default_output_dir = os.path.join(data_path, "outputs")
