"""Command-line flags; the host calls `preload` before it reads its own."""

from __future__ import annotations

import argparse


def _region_count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 16:
        raise argparse.ArgumentTypeError(f"is {text!r}; allowed is 1 to 16")
    return int(text)


def preload(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--md-max-regions", type=_region_count, default=8, help="Tiled Diffusion: regions per tab (1 to 16)"
    )
