"""Make the pictures in docs/images that show the page: `.venv/bin/python -m tools.screenshots` (set up by `… test`)."""

from __future__ import annotations

from typing import Any

from tools.page import ROOT, chromium, open_accordion, running_page, set_number

IMAGES = ROOT / "docs/images"
DEMO = ROOT / "miniwebui/models/Stable-diffusion/demo.safetensors"
PROMPT = "city skyline, night"


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
    page.wait_for_selector("#txt2img_gallery img", timeout=120_000)
    page.wait_for_timeout(1000)


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    with running_page(DEMO) as address, chromium() as browser:
        for theme in ("light", "dark"):
            page = browser.new_page(viewport={"width": 1300, "height": 1250})
            page.goto(f"{address}?__theme={theme}", wait_until="domcontentloaded")
            page.wait_for_selector("#MD-t2i-enabled-visible-checkbox")
            draw_panorama(page)
            page.screenshot(path=IMAGES / f"page-{theme}.png")
            print(f"Wrote docs/images/page-{theme}.png")


if __name__ == "__main__":
    main()
