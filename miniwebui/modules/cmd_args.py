"""Command-line flags that the generation core and extensions read."""

import argparse
import os

from modules.paths_internal import data_path, default_sd_model_file

parser = argparse.ArgumentParser(prog="python -m miniwebui", allow_abbrev=False)
parser.add_argument("--ckpt", default=default_sd_model_file, help="checkpoint of Stable Diffusion 1.x")
parser.add_argument("--ckpt-dir", default=None, help="one more folder of checkpoints")
parser.add_argument(
    "--embeddings-dir", default=os.path.join(data_path, "embeddings"), help="textual inversion"
)
parser.add_argument("--styles-file", action="append", default=[], help="CSV files of styles")
parser.add_argument("--no-half", action="store_true", help="float32 on a GPU too")
parser.add_argument("--no-half-vae", action="store_true", help="the VAE in float32")
parser.add_argument(
    "--disable-nan-check", action="store_true", help="do not look for not-a-number in results"
)
parser.add_argument(
    "--use-cpu", nargs="+", type=str.lower, default=[], metavar="TASK", help="on the CPU: sd, esrgan, all"
)
parser.add_argument("--device-id", default=None, help="number of the CUDA device")
parser.add_argument("--extension", action="append", default=[], help="folder of one more extension to load")
parser.add_argument("--data-dir", default=data_path, help="folder for settings, extensions and outputs")
parser.add_argument(
    "--ui-settings-file", default=os.path.join(data_path, "config.json"), help="where the settings are kept"
)
parser.add_argument("--no-prompt-history", action="store_true", help="do not keep the last settings")
parser.add_argument("--disable-console-progressbars", action="store_true", help="no progress bars")
parser.add_argument("--skip-install", action="store_true", help="do not run the extensions' install.py")
parser.add_argument("--port", type=int, default=None, help="7860, without a page 7861")
parser.add_argument("--api", action="store_true", default=True, help="serve the API (always)")
parser.add_argument("--api-log", action="store_true", help="log every request to the API")
parser.add_argument("--nowebui", action="store_true", help="serve the API without a page")
