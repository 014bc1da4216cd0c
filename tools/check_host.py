"""Does the extension work in a WebUI that is running? Draws through its API and says what holds.

.venv/bin/python -m tools.check_host http://127.0.0.1:7860 [ANOTHER]     (start the WebUI with --api)

With two addresses (a real WebUI and the mini WebUI, say, with the same checkpoint) each picture of the first is also
compared with the second's. Sizes suit the demo checkpoint, whose native size is 256x256; any other works too.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tile_utils import masks
from tile_utils.exchange import to_args, to_dict
from tile_utils.settings import (
    RegionSettings,
    TiledDiffusionSettings,
    TiledVAESettings,
    argument_places,
    control_of,
)

Picture = NDArray[np.int16]  # [H, W, 3]
WAIT_SECONDS = 900
STEPS = 4
SAME = 2
"""Levels of 255 by which pictures that should be the same may differ: rounding."""
TILES = TiledDiffusionSettings(enabled=True, tile_width=32, tile_height=32, overlap=16)
VAE = TiledVAESettings(enabled=True, encoder_tile_size=256, decoder_tile_size=48)
BASE = {"prompt": "meadow, day", "seed": 1, "cfg_scale": 4, "sampler_name": "Euler a"}
WIDE = BASE | {"width": 640, "height": 256}
BALLOON = RegionSettings(
    enable=True, x=0.6, y=0.1, w=0.3, h=0.6, prompt="red balloon", blend_mode="Foreground", seed=5
)


class Refused(Exception):
    """The WebUI answered with an error; the text is what it said."""


class Host:
    """A running WebUI; `steps` of each picture."""

    def __init__(self, address: str, steps: int = STEPS) -> None:
        self.address, self.steps = address.rstrip("/"), steps

    def ask(self, path: str, body: Any = None, api: str = "sdapi/v1") -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.address}/{api}/{path}", data, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=WAIT_SECONDS) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise Refused(error.read().decode(errors="replace")) from error

    def draw(
        self,
        body: dict[str, Any],
        tiles: TiledDiffusionSettings | None = None,
        vae: TiledVAESettings | None = None,
        control: dict[str, Any] | None = None,
    ) -> tuple[Picture, str]:
        """The picture and its infotext; img2img where the body holds pictures. `control`: a unit of ControlNet."""
        scripts: dict[str, Any] = {}
        if control is not None:
            scripts["ControlNet"] = {"args": [control]}
        if tiles is not None:
            named = {**to_dict(tiles), "enabled": tiles.enabled}  # what is new has no place of its own
            scripts["Tiled Diffusion"] = {"args": [*to_args(tiles, len(tiles.regions)), named]}
        if vae is not None:
            scripts["Tiled VAE"] = {"args": to_args(vae)}
        kind = "img2img" if "init_images" in body else "txt2img"
        answer = self.ask(kind, {"steps": self.steps} | body | {"alwayson_scripts": scripts})
        picture = Image.open(io.BytesIO(base64.b64decode(answer["images"][0]))).convert("RGB")
        return np.asarray(picture).astype(np.int16), json.loads(answer["info"])["infotexts"][0]


def as_init(picture: Picture) -> str:
    """A picture as the API takes it."""
    file = io.BytesIO()
    Image.fromarray(picture.astype(np.uint8)).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()


def distance(one: Picture, other: Picture) -> int:
    return 255 if one.shape != other.shape else int(np.abs(one - other).max())


class Check:
    """The checks of one host; `pictures` keeps what was drawn, by name."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.pictures: dict[str, Picture] = {}

    def draw(self, name: str, *arguments: Any) -> tuple[Picture, str]:
        self.pictures[name], text = self.host.draw(*arguments)
        return self.pictures[name], text

    def run(self) -> Iterator[tuple[str, bool, str]]:
        """(what should hold, does it, figures)"""
        for check in (
            self.arguments,
            self.grid,
            self.regions,
            self.shape_and_words,
            self.canvas,
            self.vae,
            self.hires,
            self.img2img,
            self.controlnet,
            self.errors,
        ):
            yield from check()

    def arguments(self) -> Iterator[tuple[str, bool, str]]:
        infos = {(info["name"], info["is_img2img"]): info for info in self.host.ask("script-info")}
        for title, settings in (("tiled diffusion", TILES), ("tiled vae", VAE)):
            labels = [arg["label"] for arg in infos[title, False]["args"]]
            regions = sum(label.startswith("Enable Region") for label in labels)
            places = argument_places(type(settings), regions)
            wanted = [control_of(spec).label.format(i=(region or 0) + 1) for region, spec in places]
            yield f"{title}: arguments in the public order", labels[: len(wanted)] == wanted, ""

    def grid(self) -> Iterator[tuple[str, bool, str]]:
        off, _ = self.draw("untiled", WIDE)
        again, _ = self.draw("switched off", WIDE, replace(TILES, enabled=False))
        yield "switched off: the picture without the extension", distance(off, again) == 0, ""
        for method in ("MultiDiffusion", "Mixture of Diffusers"):
            tiled, text = self.draw(method, WIDE, replace(TILES, method=method))
            yield f"{method}: drawn in tiles", distance(off, tiled) > SAME, ""
            yield f"{method}: written into the picture", "Tiled Diffusion: " in text, ""

    def regions(self) -> Iterator[tuple[str, bool, str]]:
        whole = replace(TILES, enable_bbox_control=True, draw_background=True)
        plain = self.pictures["Mixture of Diffusers"]
        picture, text = self.draw("region", WIDE, replace(whole, regions=(BALLOON,)))
        width = picture.shape[1]
        change = np.abs(picture - plain).mean(axis=(0, 2))
        inside = change[int(0.6 * width) : int(0.9 * width)].mean()
        outside = change[: int(0.3 * width)].mean()
        figures = f"mean change inside {inside:.1f}, far from it {outside:.1f}"
        yield "a region changes its place", inside > 4 * outside, figures
        yield "a region's settings are written into the picture", "red balloon" in text, ""

    def shape_and_words(self) -> Iterator[tuple[str, bool, str]]:
        """A shape that fills its box is the box; tiles at the right end have words of their own."""
        whole = masks.encode(np.ones((8, 8), bool))
        regions = replace(TILES, enable_bbox_control=True, draw_background=True)
        shaped, _ = self.draw("shape", WIDE, replace(regions, regions=(replace(BALLOON, mask=whole),)))
        apart = distance(shaped, self.pictures["region"])
        yield "a region's shape that fills its box: the same picture", apart == 0, f"{apart} of 255"
        spots = [{"x": 0.1, "y": 0.5, "prompt": ""}, {"x": 0.9, "y": 0.5, "prompt": "red balloon"}]
        picture, text = self.draw("words", WIDE, replace(TILES, tile_prompts=json.dumps(spots)))
        change = np.abs(picture - self.pictures["Mixture of Diffusers"]).mean(axis=(0, 2))
        inside, outside = change[512:].mean(), change[:128].mean()
        figures = f"mean change there {inside:.1f}, far from it {outside:.1f}"
        # tiles see their neighbours: what is far off changes too, but less
        yield "words for each tile change their place", inside > 2 * outside, figures
        yield "words for each tile are written into the picture", "tile_prompts" in text, ""

    def canvas(self) -> Iterator[tuple[str, bool, str]]:
        """What the whole canvas is drawn by: tiles that move, edges that join, a composition that is carried to it."""
        still = self.pictures["Mixture of Diffusers"]
        for name, body, changed in (
            ("shift_tiles", WIDE, {"overlap": 4, "shift_tiles": True}),
            ("seamless", WIDE, {"seamless": "Horizontal"}),
            ("composition_first", BASE | {"width": 1024, "height": 512}, {"composition_first": True}),
        ):
            picture, text = self.draw(name, body, replace(TILES, **changed))
            size = (body["height"], body["width"], 3)
            differs = picture.shape == size and distance(picture, still) > SAME and picture.std() > SAME
            yield f"{name}: drawn", differs and name in text, ""
        left, right = self.pictures["seamless"][:, 0], self.pictures["seamless"][:, -1]
        inside = np.abs(np.diff(self.pictures["seamless"], axis=1)).mean()
        jump = np.abs(left - right).mean()
        yield (
            "seamless: the edges join",
            jump < 2 * inside,
            f"step {jump:.1f}, between other columns {inside:.1f}",
        )

    def vae(self) -> Iterator[tuple[str, bool, str]]:
        picture, _ = self.draw("Tiled VAE", WIDE, TILES, VAE)
        apart = distance(picture, self.pictures["Mixture of Diffusers"])
        yield "Tiled VAE: the same picture", apart <= SAME, f"{apart} of 255"

    def hires_upscaler(self) -> str:
        """Neo has none, and enlarges without an upscaler."""
        try:
            return "Latent" if self.host.ask("latent-upscale-modes") else "None"
        except Refused:
            return "Latent"

    def hires(self) -> Iterator[tuple[str, bool, str]]:
        small = BASE | {
            "width": 256,
            "height": 256,
            "enable_hr": True,
            "hr_scale": 2,
            "hr_upscaler": self.hires_upscaler(),
        }
        small |= {"denoising_strength": 0.7, "hr_additional_modules": ["Use same choices"]}  # Forge needs it
        untiled, _ = self.draw("hires, untiled", small)
        tiled, _ = self.draw("hires", small, TILES, VAE)
        fits = tiled.shape == untiled.shape == (512, 512, 3)
        yield "hires fix: its pass is tiled", fits and distance(tiled, untiled) > SAME, ""

    def img2img(self) -> Iterator[tuple[str, bool, str]]:
        init = {"init_images": [as_init(self.pictures["untiled"][:, :256])], "denoising_strength": 0.4}
        settings = replace(TILES, upscaler_name="Lanczos", scale_factor=2.0)
        upscaled, _ = self.draw("upscaled", WIDE | init, settings, VAE)
        yield "img2img: the upscaler's size", upscaled.shape == (512, 512, 3), f"{upscaled.shape}"
        whole = RegionSettings(enable=True, x=0, y=0, w=1, h=1, strength=0.5)
        held = replace(settings, hold_colours=True, enable_bbox_control=True, draw_background=True)
        picture, text = self.draw("held", WIDE | init, replace(held, regions=(whole,)), VAE)
        drawn = picture.shape == (512, 512, 3) and distance(picture, upscaled) > SAME
        yield "colours held, a region's strength", drawn and "hold_colours" in text and "strength" in text, ""
        inversion = replace(settings, noise_inverse=True, noise_inverse_steps=4, scale_factor=1.5)
        inverted, text = self.draw("noise inversion", WIDE | init, inversion, VAE)
        yield "noise inversion", inverted.shape == (384, 384, 3) and "noise_inverse" in text, ""

    def controlnet(self) -> Iterator[tuple[str, bool, str]]:
        """Lines at the right end of the hint change that end; a hint fitted into every tile would change them all."""
        try:
            listed = self.host.ask("model_list", api="controlnet")["model_list"]
            models = [model for model in listed if model != "None"]
        except Refused:
            models = []
        if not models:
            print("--   no ControlNet with a model here")
            return
        plain = np.full((256, 640, 3), 32, np.int16)  # Forge refuses a black picture
        lines = plain.copy()
        lines[40:220:8, 540:630] = 255
        unit = {"enabled": True, "model": models[0], "save_detected_map": False}
        without, with_lines = (
            self.draw(name, WIDE | {"steps": 2}, TILES, None, {**unit, "image": as_init(hint)})[0]
            for name, hint in (("ControlNet, no lines", plain), ("ControlNet", lines))
        )
        change = np.abs(with_lines - without).mean(axis=(0, 2))
        inside, outside = change[512:].mean(), change[:256].mean()
        figures = f"mean change there {inside:.1f}, far from it {outside:.1f}"
        yield f"ControlNet, {models[0]}: lines change their place", inside > 4 * outside, figures

    def errors(self) -> Iterator[tuple[str, bool, str]]:
        try:
            self.host.draw(WIDE, replace(TILES, tile_width=512))
            said = "nothing"
        except Refused as error:
            said = str(error)
        yield "a bad value is named", "Latent tile width" in said, said[:300]
        again, _ = self.host.draw(WIDE)
        yield "nothing is left behind", distance(again, self.pictures["untiled"]) == 0, ""


def report(rows: Iterator[tuple[str, bool, str]], say: Callable[[str], None] = print) -> bool:
    """Print a line each; did all hold?"""
    good = True
    for what, holds, figures in rows:
        good &= holds
        say(f"{'ok  ' if holds else 'FAIL'} {what}{f' ({figures})' if figures else ''}")
    return good


def compared(first: Check, second: Check) -> Iterator[tuple[str, bool, str]]:
    for name, picture in first.pictures.items():
        apart = distance(picture, second.pictures[name])
        yield f"same picture in both: {name}", apart <= SAME, f"{apart} of 255"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("addresses", nargs="+", metavar="ADDRESS")
    parser.add_argument("--steps", type=int, default=STEPS, help="of each picture; fewer on a slow machine")
    asked = parser.parse_args()
    checks = [Check(Host(address, asked.steps)) for address in asked.addresses]
    good = True
    for check in checks:
        print(check.host.address, flush=True)
        good &= report(check.run())
    for other in checks[1:]:
        good &= report(compared(checks[0], other))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
