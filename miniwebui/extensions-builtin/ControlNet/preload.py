"""Command-line flags of the built-in ControlNet extension."""

import os
from argparse import ArgumentParser

from modules.paths_internal import models_path


def preload(parser: ArgumentParser) -> None:
    folder = os.path.join(models_path, "ControlNet")
    parser.add_argument("--controlnet-dir", default=folder, help="ControlNet models")
