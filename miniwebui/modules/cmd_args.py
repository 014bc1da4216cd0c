"""Command-line flags that the generation core and extensions read."""

import argparse
import os

from modules.paths_internal import data_path, default_sd_model_file

parser = argparse.ArgumentParser(prog="python -m miniwebui")
parser.add_argument("--ckpt", default=default_sd_model_file, help="checkpoint of Stable Diffusion 1.x")
parser.add_argument("--ckpt-dir", default=None, help="one more folder of checkpoints")
parser.add_argument(
    "--embeddings-dir", default=os.path.join(data_path, "embeddings"), help="textual inversion"
)
parser.add_argument("--styles-file", action="append", default=[], help="CSV files of styles")
parser.add_argument("--extension", action="append", default=[], help="folder of one more extension to load")
parser.add_argument("--no-prompt-history", action="store_true", default=True, help=argparse.SUPPRESS)
parser.add_argument("--disable-console-progressbars", action="store_true", help="no progress bars")
