"""How evenly does the region canvas follow the pointer?

.venv/bin/python benchmarks/canvas.py                                                     (from the repository's root)

Sixteen regions with shapes lie on the canvas; one of them is dragged, and then painted on, by a pointer that moves with
every frame of the browser. Told are the times from frame to frame, and what of them our own handlers take.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tools.page import chromium, open_accordion, open_page, running_page, set_number  # noqa: E402

DEMO = ROOT / "miniwebui/models/Stable-diffusion/demo.safetensors"
REGIONS, FRAMES = 16, 240
MOVE = """async ({ key, frames }) => {
    const root = document.querySelector('#MD-bbox-ref-t2i .md-regions');
    root.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
    const place = root.getBoundingClientRect();
    const at = (turn) => ({
        pointerId: 1, button: 0, buttons: 1, bubbles: true,
        clientX: place.left + place.width * (0.5 + 0.3 * Math.cos(turn)),
        clientY: place.top + place.height * (0.5 + 0.3 * Math.sin(turn)),
    });
    root.setPointerCapture = () => {};
    const spent = [], times = [];
    const target = key === 'v' ? root.querySelector('.md-region.md-selected') : root;
    target.dispatchEvent(new PointerEvent('pointerdown', at(0)));
    for (let frame = 0; frame < frames; frame++) {
        times.push(await new Promise(requestAnimationFrame));
        const before = performance.now();
        root.dispatchEvent(new PointerEvent('pointermove', at((2 * Math.PI * frame) / frames)));
        root.offsetWidth; // lay out
        spent.push(performance.now() - before);
    }
    root.dispatchEvent(new PointerEvent('pointerup', at(0)));
    return { times: times.slice(1).map((time, i) => time - times[i]), spent };
}"""
SHAPES = """(count) => tiledDiffusion.layOut('t2i', [...Array(count).keys()].map((i) => ({
    x: (i % 4) / 4, y: Math.floor(i / 4) / 4, w: 0.24, h: 0.24, mask: '16x9:DBPBsBBPBOBPBVBK',
})))"""


def told(name: str, found: dict[str, list[float]]) -> None:
    for what, values in found.items():
        ordered = sorted(values)
        middle, slow = ordered[len(ordered) // 2], ordered[int(0.95 * len(ordered))]
        print(
            f"{name}, {what}: median {middle:.1f} ms, 95 % below {slow:.1f} ms, longest {ordered[-1]:.1f} ms"
        )


def prepared(context: Any, address: str) -> Any:
    page = open_page(context, address)
    for name in ("width", "height"):
        set_number(page, f"txt2img_{name}", 2048)
    open_accordion(page, "MD-t2i-enabled")
    page.click("#MD-t2i-regions .label-wrap")
    page.click("#MD-create-canvas-t2i")
    page.wait_for_selector("#MD-bbox-ref-t2i .md-regions")
    page.locator("#MD-bbox-ref-t2i").scroll_into_view_if_needed()
    page.evaluate(SHAPES, REGIONS)
    page.wait_for_timeout(3000)
    page.focus("#MD-bbox-ref-t2i .md-regions")
    page.keyboard.press("6")
    page.wait_for_timeout(1000)
    return page


def main() -> None:
    with running_page(DEMO, "--md-max-regions", str(REGIONS)) as address, chromium() as browser:
        page = prepared(browser.new_context(viewport={"width": 1300, "height": 1600}), address)
        for name, key in (("dragging", "v"), ("painting", "b")):
            told(name, page.evaluate(MOVE, {"key": key, "frames": FRAMES}))


if __name__ == "__main__":
    main()
