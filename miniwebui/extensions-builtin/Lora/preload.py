"""Command-line flags of the built-in Lora extension."""

import os
from argparse import ArgumentParser

from modules.paths_internal import models_path


def preload(parser: ArgumentParser) -> None:
    parser.add_argument("--lora-dir", default=os.path.join(models_path, "Lora"), help="LoRA files")
