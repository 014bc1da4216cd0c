"""Make docs/images/upscale-*: a small picture, the same at four times the size, and a detail of both side by side.

.venv/bin/python -m tools.upscaling [--prompt …] [--seed …] [--denoise …] [--upscaler …]
"""

from __future__ import annotations

import argparse
import json
import logging
import time

from PIL import Image

from miniwebui import render, webui

IMAGES = webui.HERE.parent / "docs/images"
SIZE = (512, 320)
SCALE = 4
TILES = {"enabled": True, "tile_width": 32, "tile_height": 32, "overlap": 16, "tile_batch_size": 8}
"""The demo model draws 32x32 latent pixels best."""
VAE = {"enabled": True, "encoder_tile_size": 512, "decoder_tile_size": 64}
DETAIL = (0.3, 0.3, 0.6, 0.6)
"""What is shown side by side, in fractions of the picture."""


def scripts(**settings: object) -> list[str]:
    """The options that switch both scripts on."""
    chosen = json.dumps(TILES | settings)
    return ["--script", "Tiled Diffusion", chosen, "--script", "Tiled VAE", json.dumps(VAE)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--prompt", default="mountains, sunset")
    parser.add_argument("--seed", default="4")
    parser.add_argument("--denoise", default="0.35")
    parser.add_argument(
        "--upscaler", help="one of the list; else the demo's own where it is there, or Lanczos"
    )
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    webui.initialize()
    own = (webui.HERE / "models/ESRGAN/demo-4x.safetensors").is_file()
    upscaler = options.upscaler or ("demo-4x" if own else "Lanczos")
    what = ["--prompt", options.prompt, "--seed", options.seed]

    size = ["--width", str(SIZE[0]), "--height", str(SIZE[1])]
    (small,) = render.draw_once(*what, *size, *scripts())
    small.save(IMAGES / "upscale-before.png")

    start = ["--init", str(IMAGES / "upscale-before.png"), "--denoise", options.denoise]
    began = time.perf_counter()
    (large,) = render.draw_once(*what, *start, *scripts(upscaler_name=upscaler, scale_factor=SCALE))
    seconds = time.perf_counter() - began
    large.save(IMAGES / "upscale-after.jpg", quality=88)

    enlarged = small.resize(large.size, Image.Resampling.LANCZOS)
    box = [round(fraction * side) for fraction, side in zip(DETAIL, large.size * 2)]
    pair = Image.new("RGB", (2 * (box[2] - box[0]), box[3] - box[1]))
    for number, picture in enumerate((enlarged, large)):
        pair.paste(picture.crop(box), (number * pair.width // 2, 0))
    pair.save(IMAGES / "upscale-detail.jpg", quality=90)
    print(f"{small.width}x{small.height} -> {large.width}x{large.height} with {upscaler}, {seconds:.0f} s")


if __name__ == "__main__":
    main()
