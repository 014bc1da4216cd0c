"""Make the pictures in docs/images that show the page: `.venv/bin/python -m tools.screenshots [page|regions|words …]`.

Set up by `python3 -m miniwebui test`, and on Debian by `apt install fonts-noto-color-emoji`.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from tools.page import PATIENCE_MS, ROOT, choose, chromium, open_accordion, running_page, set_number

IMAGES = ROOT / "docs/images"
DEMO = ROOT / "miniwebui/models/Stable-diffusion/demo.safetensors"
PROMPT = "city skyline, night"
REGIONS = (
    ("sea", 4, "Background", ((0.0, 0.0), (0.55, 1.0))),
    ("meadow", 24, "Background", ((0.45, 0.0), (1.0, 1.0))),
    ("meadow, red balloon", 44, "Foreground", ((0.6, 0.0), (0.95, 1.0))),
)
STROKE = ((0.1, 0.7), (0.2, 0.3), (0.25, 0.75))
"""Of the brush, in fractions of the picture."""


def draw_panorama(page: Any) -> None:
    """As the README's command does it, by hand."""
    page.fill("#txt2img_prompt textarea", PROMPT)
    open_accordion(page, "MD-t2i-enabled")
    for element_id, value in (
        ("txt2img_width", 1024),
        ("txt2img_height", 256),
        ("txt2img_seed", 1),
        ("MD-t2i-latent-tile-width", 32),
        ("MD-t2i-latent-tile-height", 32),
        ("MD-t2i-latent-tile-overlap", 16),
    ):
        set_number(page, element_id, value)
    open_accordion(page, "MDV-t2i-enabled")
    page.click("#txt2img_generate")
    page.wait_for_selector("#txt2img_gallery img", timeout=5 * PATIENCE_MS)
    page.wait_for_timeout(1000)


def draw_regions(page: Any) -> None:
    """Two halves and a balloon, as in the README's command, by hand; then their picture under the boxes."""
    page.fill("#txt2img_prompt textarea", "day")
    open_accordion(page, "MD-t2i-enabled")
    for element_id, value in (
        ("txt2img_width", 512),
        ("txt2img_seed", 5),
        ("MD-t2i-latent-tile-width", 32),
        ("MD-t2i-latent-tile-height", 32),
        ("MD-t2i-latent-tile-overlap", 16),
    ):
        set_number(page, element_id, value)
    page.click("#MD-t2i-regions .label-wrap")
    page.click("#MD-create-canvas-t2i")
    for number, (prompt, seed, kind, corners) in enumerate(REGIONS, 1):
        drag(page, *corners)
        page.fill(f"#MD-t2i-{number}-prompt textarea", prompt)
        set_number(page, f"MD-t2i-{number}-seed", seed)
        if kind == "Foreground":
            page.click(f"#MD-t2i-{number}-blend-mode input")
            page.click(f"#MD-t2i-{number}-blend-mode li:has-text('{kind}')")
    page.click("#txt2img_generate")
    page.wait_for_selector("#txt2img_gallery img", timeout=5 * PATIENCE_MS)
    picture = page.request.get(page.locator("#txt2img_gallery img").first.evaluate("image => image.src"))
    page.click("#MD-bbox-ref-t2i button[aria-label=Clear]")
    page.set_input_files(
        "#MD-bbox-ref-t2i input[type=file]",
        {"name": "picture.png", "mimeType": "image/png", "buffer": picture.body()},
    )
    page.wait_for_selector("#MD-bbox-ref-t2i .md-regions")
    page.wait_for_timeout(1000)


def draw_shapes(page: Any) -> None:
    """A person before a background, and a stroke of the brush."""
    open_accordion(page, "MD-t2i-enabled")
    set_number(page, "txt2img_width", 1024)
    page.click("#MD-t2i-regions .label-wrap")
    page.click("#MD-create-canvas-t2i")
    page.wait_for_selector("#MD-bbox-ref-t2i .md-regions")
    choose(page, "MD-t2i-layouts", "Person before background")
    page.wait_for_selector('#MD-bbox-ref-t2i .md-region[data-index="1"].md-foreground')
    page.locator("#MD-t2i-tools input[type=range]").fill("96")
    page.focus("#MD-bbox-ref-t2i .md-regions")
    page.keyboard.press("2")
    page.keyboard.press("b")
    place = page.locator("#MD-bbox-ref-t2i .md-regions").bounding_box()
    points = [(place["x"] + place["width"] * x, place["y"] + place["height"] * y) for x, y in STROKE]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=5)
    page.mouse.up()
    page.wait_for_timeout(1000)


def drag(page: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """On the region canvas, from one place to another in fractions of the picture, over other boxes too."""
    page.wait_for_timeout(500)
    place = page.locator("#MD-bbox-ref-t2i .md-regions").bounding_box()
    points = [(place["x"] + place["width"] * x, place["y"] + place["height"] * y) for x, y in (start, end)]
    page.keyboard.down("Shift")
    page.mouse.move(*points[0])
    page.mouse.down()
    page.mouse.move(*points[1], steps=3)
    page.mouse.up()
    page.keyboard.up("Shift")


def check_symbols() -> None:
    """A page without them shows empty squares on its buttons."""
    for symbol in "🎲💾📂":
        if not subprocess.run(
            ["fc-list", f":charset={ord(symbol):x}"], capture_output=True, check=True
        ).stdout:
            raise SystemExit(
                f"No font here has {symbol}. On Debian, 'apt install fonts-noto-color-emoji' helps."
            )


def write_words(page: Any) -> None:
    """Words for each tile, on an empty canvas."""
    open_accordion(page, "MD-t2i-enabled")
    for element_id, value in (
        ("txt2img_width", 1024),
        ("txt2img_height", 512),
        ("MD-t2i-latent-tile-width", 32),
        ("MD-t2i-latent-tile-height", 32),
        ("MD-t2i-latent-tile-overlap", 0),
    ):
        set_number(page, element_id, value)
    page.click("#MD-t2i-words .label-wrap")
    page.click("#MD-t2i-regions .label-wrap")
    page.click("#MD-create-canvas-t2i")
    cells = page.locator("#MD-bbox-ref-t2i .md-words input")
    for number, words in ((1, "red balloon"), (5, "tree"), (6, "white house")):
        cells.nth(number).fill(words)
        cells.nth(number).blur()
    page.wait_for_timeout(1000)


PAGES = {
    "page": (draw_panorama, "#tab_txt2img"),
    "regions": (draw_regions, "#MD-t2i-regions"),
    "shapes": (draw_shapes, "#MD-t2i-regions"),
    "words": (write_words, "#MD-bbox-ref-t2i"),
}
"""What is done on the page before a picture of it, and what of it is seen. On the command line: some of them."""
HIDDEN = "#html_log_txt2img { visibility: hidden; }"
"""How long it took says more of the machine than of the page."""


def main() -> None:
    check_symbols()
    IMAGES.mkdir(parents=True, exist_ok=True)
    with running_page(DEMO) as address, chromium() as browser:
        for theme in ("light", "dark"):
            for name in sys.argv[1:] or PAGES:
                draw, part = PAGES[name]
                page = browser.new_page(viewport={"width": 1300, "height": 2000})
                page.set_default_timeout(PATIENCE_MS)
                page.goto(f"{address}?__theme={theme}", wait_until="domcontentloaded")
                page.wait_for_selector("#MD-t2i-enabled-visible-checkbox")
                page.add_style_tag(content=HIDDEN)
                draw(page)
                page.locator(part).screenshot(path=IMAGES / f"{name}-{theme}.png")
                page.close()
                print(f"Wrote docs/images/{name}-{theme}.png", flush=True)


if __name__ == "__main__":
    main()
