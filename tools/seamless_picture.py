"""Draw the documentation's picture of *Seamless*: a panorama rolled by half, without it above, with it below.

.venv/bin/python tools/seamless_picture.py docs/images/seamless.jpg [--seed 3]     (from the repository's root)
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from miniwebui import render, webui  # noqa: E402
from tools.contact_sheet import contact_sheet  # noqa: E402

WIDTH, HEIGHT = 1024, 256
MOON = {"x": 0.875, "y": 0.0, "w": 0.25, "h": 1.0, "prompt": "moon", "blend_mode": "Foreground", "seed": 5}


def drawn(seed: int, seamless: str) -> Image.Image:
    """A panorama with a region across its right edge, rolled by half."""
    settings = {"enabled": True, "tile_width": 32, "tile_height": 32, "overlap": 16, "seamless": seamless}
    settings |= {"draw_background": True, "enable_bbox_control": True, "regions": [{"enable": True, **MOON}]}
    (picture,) = render.draw_once(
        *("--prompt", "mountains, night", "--seed", str(seed)),
        *("--width", str(WIDTH), "--height", str(HEIGHT)),
        *("--script", "Tiled Diffusion", json.dumps(settings)),
    )
    return Image.fromarray(np.roll(np.asarray(picture), WIDTH // 2, axis=1))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("path", type=Path)
    parser.add_argument("--seed", type=int, default=3)
    options = parser.parse_args()
    webui.initialize()
    rows = [[drawn(options.seed, seamless)] for seamless in ("Off", "Horizontal")]
    contact_sheet(rows, WIDTH).save(options.path, quality=92)


if __name__ == "__main__":
    main()
