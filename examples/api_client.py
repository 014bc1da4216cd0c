"""Draw a tiled panorama with a region through the HTTP API of a running WebUI, with settings by name.

In one terminal `python3 -m miniwebui --nowebui`; in another, once it runs,
`.venv/bin/python -m pip install webuiapi && .venv/bin/python examples/api_client.py`.
"""

from __future__ import annotations

import argparse
import json

import webuiapi

SETTINGS = {
    "tile_width": 32,
    "tile_height": 32,
    "overlap": 16,
    "draw_background": True,
    "regions": [{"x": 0.6, "y": 0, "w": 0.25, "h": 1, "prompt": "red balloon", "blend_mode": "Foreground"}],
}
"""What is not named is as the page starts; all names are in docs/controls.md."""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=7861)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", default="panorama.png")
    options = parser.parse_args(arguments)
    client = webuiapi.WebUIApi(host="127.0.0.1", port=options.port)
    result = client.txt2img(
        prompt="city skyline, night",
        width=options.width,
        height=256,
        steps=options.steps,
        cfg_scale=4,
        sampler_name="DPM++ 2M",
        alwayson_scripts={"Tiled Diffusion": {"args": [SETTINGS]}},
    )
    result.image.save(options.out)
    drawn = json.loads(result.info["extra_generation_params"]["Tiled Diffusion"])  # as settings, again
    print(f"Wrote {options.out}; the region's seed was {drawn['regions'][0]['seed']}.")


if __name__ == "__main__":
    main()
