"""Draw a tiled panorama through the HTTP API of a running WebUI, with arguments named by their labels.

In one terminal `python3 -m miniwebui --nowebui`; in another, once it runs,
`.venv/bin/python -m pip install webuiapi && .venv/bin/python examples/api_client.py`.
"""

from __future__ import annotations

import argparse

import requests
import webuiapi


def script_args(client: webuiapi.WebUIApi, script: str, is_img2img: bool, **wanted: object) -> list[object]:
    """The argument list of a script: what is wanted by label, else the control's start value.

    Raises:
        KeyError: the script has no control of that label.
    """
    infos = requests.get(f"{client.baseurl}/script-info", timeout=30).json()
    info = next(i for i in infos if i["name"] == script.lower() and i["is_img2img"] == is_img2img)
    if unknown := set(wanted) - {arg["label"] for arg in info["args"]}:
        raise KeyError(f"{script} has no {', '.join(sorted(unknown))}")
    return [wanted.get(arg["label"], arg["value"]) for arg in info["args"]]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=7861)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", default="panorama.png")
    options = parser.parse_args(arguments)
    client = webuiapi.WebUIApi(host="127.0.0.1", port=options.port)
    sizes = {"Latent tile width": 32, "Latent tile height": 32, "Latent tile overlap": 16}
    args = script_args(client, "Tiled Diffusion", False, **{"Tiled Diffusion": True, **sizes})
    result = client.txt2img(
        prompt="city skyline, night",
        width=options.width,
        height=256,
        steps=options.steps,
        cfg_scale=4,
        sampler_name="DPM++ 2M",
        alwayson_scripts={"Tiled Diffusion": {"args": args}},
    )
    result.image.save(options.out)


if __name__ == "__main__":
    main()
