"""Regions on the canvas with a real pointer, in both tabs."""

import pytest
from PIL import Image
from playwright.sync_api import expect

from tools.page import chromium, open_accordion, running_page, set_number


@pytest.fixture(scope="module")
def address(checkpoint):
    with running_page(checkpoint) as url:
        yield url


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(params=["t2i", "i2i"])
def tab(request):
    return request.param


@pytest.fixture
def page(address, browser, tab):
    page = browser.new_page(viewport={"width": 1300, "height": 1400})
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto(address, wait_until="domcontentloaded")
    page.wait_for_selector("#MD-t2i-enabled-visible-checkbox")
    if tab == "i2i":
        page.locator(".tab-nav button", has_text="img2img").click()
    host = {"t2i": "txt2img", "i2i": "img2img"}[tab]
    set_number(page, f"{host}_width", 512)
    set_number(page, f"{host}_height", 256)
    open_accordion(page, f"MD-{tab}-enabled")
    page.click(f"#MD-{tab}-regions .label-wrap")
    page.click(f"#MD-create-canvas-{tab}")
    page.wait_for_selector(f"#MD-bbox-ref-{tab} .md-regions")
    page.locator(f"#MD-bbox-ref-{tab}").scroll_into_view_if_needed()
    yield page
    assert page.errors == []
    page.close()


def bounds(page, tab):
    page.wait_for_timeout(300)
    return page.locator(f"#MD-bbox-ref-{tab} .md-regions").bounding_box()


def drag(page, tab, start, end):
    """From one place to another, in fractions of the picture."""
    place = bounds(page, tab)
    points = [(place["x"] + place["width"] * x, place["y"] + place["height"] * y) for x, y in (start, end)]
    page.mouse.move(*points[0])
    page.mouse.down()
    page.mouse.move(*[(a + b) / 2 for a, b in zip(*points)])
    page.mouse.move(*points[1])
    page.mouse.up()


def fields(page, tab, region=1):
    return [
        float(page.locator(f"#MD-{tab}-{region}-{name} input[type=number]").input_value()) for name in "xywh"
    ]


def enabled(page, tab, region=1):
    return page.locator(f"#MD-bbox-{tab}-{region}-enable input").is_checked()


def near(actual, expected, tolerance=0.012):
    assert actual == pytest.approx(expected, abs=tolerance)


def test_draw_move_resize_flip_and_clamp(page, tab):
    drag(page, tab, (0.2, 0.2), (0.5, 0.6))
    assert enabled(page, tab)
    near(fields(page, tab), [0.2, 0.2, 0.3, 0.4])
    drag(page, tab, (0.35, 0.4), (0.45, 0.5))
    near(fields(page, tab), [0.3, 0.3, 0.3, 0.4])
    drag(page, tab, (0.6, 0.7), (0.8, 0.9))  # the south-east corner
    near(fields(page, tab), [0.3, 0.3, 0.5, 0.6])
    drag(page, tab, (0.3, 0.6), (0.9, 0.6))  # the west edge across the east one
    near(fields(page, tab), [0.8, 0.3, 0.1, 0.6])
    drag(page, tab, (0.85, 0.6), (0.2, -0.6))
    near(fields(page, tab), [0.15, 0.0, 0.1, 0.6])
    drag(page, tab, (0.6, 0.6), (1.4, 1.4))  # the next unused region, cut at the border
    assert enabled(page, tab, 2)
    near(fields(page, tab, 2), [0.6, 0.6, 0.4, 0.4])


def test_every_edge_and_corner(page, tab):
    drag(page, tab, (0.4, 0.4), (0.6, 0.6))
    box = fields(page, tab)
    for x, y in [(0, 0.5), (1, 0.5), (0.5, 0), (0.5, 1), (0, 0), (1, 0), (0, 1), (1, 1)]:
        start = (box[0] + box[2] * x, box[1] + box[3] * y)
        step = [0.05 * (1 if part == 1 else -1 if part == 0 else 0) for part in (x, y)]
        drag(page, tab, start, (start[0] + step[0], start[1] + step[1]))
        near(fields(page, tab), [box[0] + min(0, step[0]), box[1] + min(0, step[1]),
                                 box[2] + abs(step[0]), box[3] + abs(step[1])], 0.02)  # fmt: skip
        box = fields(page, tab)


def test_numbers_move_the_box_and_stay_after_a_resize(page, tab):
    drag(page, tab, (0.2, 0.2), (0.5, 0.6))
    page.click(f"#MD-{tab}-1-region .label-wrap")
    for name, value in zip("xywh", (0.5, 0.25, 0.25, 0.5)):
        set_number(page, f"MD-{tab}-1-{name}", value)

    def shown():
        place = bounds(page, tab)
        box = page.locator(f"#MD-bbox-ref-{tab} .md-region").bounding_box()
        return [
            (box["x"] - place["x"]) / place["width"],
            (box["y"] - place["y"]) / place["height"],
            box["width"] / place["width"],
            box["height"] / place["height"],
        ]

    near(shown(), [0.5, 0.25, 0.25, 0.5])
    page.set_viewport_size({"width": 820, "height": 1000})
    image = page.locator(f"#MD-bbox-ref-{tab} img").bounding_box()
    near(shown(), [0.5, 0.25, 0.25, 0.5])
    place = bounds(page, tab)
    assert place["width"] / place["height"] == pytest.approx(2, abs=0.02)  # letterboxed
    assert place["width"] <= image["width"] + 1


def test_keys_nudge_and_switch_off(page, tab):
    drag(page, tab, (0.2, 0.2), (0.5, 0.6))
    drag(page, tab, (0.35, 0.4), (0.35, 0.4))
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    near(fields(page, tab), [0.205, 0.25, 0.3, 0.4])
    page.keyboard.press("Delete")
    assert not enabled(page, tab)
    expect(page.locator(f"#MD-bbox-ref-{tab} .md-region")).to_be_hidden()


def test_files_save_and_load(page, tab):
    name = f"browser-test-{tab}"
    drag(page, tab, (0.1, 0.1), (0.4, 0.5))
    before = fields(page, tab)
    page.fill(f"#MD-{tab}-cfg-name textarea, #MD-{tab}-cfg-name input", name)
    page.click(f"#MD-{tab}-cfg-save")
    expect(page.get_by_text(f"Regions saved to {name}.json")).to_be_visible()
    drag(page, tab, (0.25, 0.3), (0.6, 0.6))
    page.click(f"#MD-{tab}-cfg-load")
    page.wait_for_function(
        f"Math.abs(document.querySelector('#MD-{tab}-1-x input[type=number]').value - {before[0]}) < 1e-3"
    )
    assert fields(page, tab) == before
    page.fill(f"#MD-{tab}-cfg-name textarea, #MD-{tab}-cfg-name input", "../secret")
    page.click(f"#MD-{tab}-cfg-load")
    expect(page.get_by_text("allowed is a file name without folders")).to_be_visible()
    assert fields(page, tab) == before


def test_prompts_are_shown_as_text(page, tab):
    drag(page, tab, (0.1, 0.1), (0.6, 0.5))
    page.click(f"#MD-{tab}-1-region .label-wrap")
    text = '<img src=x onerror="window.hacked=1"> "moon"'
    page.fill(f"#MD-{tab}-1-prompt textarea, #MD-{tab}-1-prompt input", text)
    label = page.locator(f"#MD-bbox-ref-{tab} .md-label")
    expect(label).to_have_text(f"1 {text}")
    assert page.evaluate("window.hacked") is None


def test_the_server_receives_the_boxes(page, tab, tmp_path):
    host = {"t2i": "txt2img", "i2i": "img2img"}[tab]
    if tab == "i2i":
        Image.new("RGB", (512, 256), "teal").save(tmp_path / "init.png")
        page.set_input_files("#img2img_image input[type=file]", tmp_path / "init.png")
        page.wait_for_selector("#img2img_image img")
        page.click("#MD-create-canvas-i2i")  # the picture instead of the grey canvas
        page.wait_for_timeout(500)
    drag(page, tab, (0.0, 0.0), (0.5, 1.0))
    drag(page, tab, (0.6, 0.2), (0.9, 0.8))
    page.check(f"#MD-{tab}-enable-bbox-control input")
    set_number(page, f"{host}_steps", 1)
    expected = [fields(page, tab, region) for region in (1, 2)]
    page.click(f"#{host}_generate")
    page.wait_for_selector(f"#{host}_gallery img", timeout=60_000)
    text = page.locator(f"#{host}_infotext textarea").input_value().replace("\\", "")
    for box in expected:
        for name, value in zip("xywh", box):
            assert f'"{name}": {value:g}' in text or f'"{name}": {value}' in text


def test_touch_draws(address, browser):
    page = browser.new_context(has_touch=True, viewport={"width": 900, "height": 1400}).new_page()
    page.goto(address, wait_until="domcontentloaded")
    page.wait_for_selector("#MD-t2i-enabled-visible-checkbox")
    open_accordion(page, "MD-t2i-enabled")
    page.click("#MD-t2i-regions .label-wrap")
    page.click("#MD-create-canvas-t2i")
    page.wait_for_selector("#MD-bbox-ref-t2i .md-regions")
    page.locator("#MD-bbox-ref-t2i").scroll_into_view_if_needed()
    place = bounds(page, "t2i")
    client = page.context.new_cdp_session(page)
    for kind, points in (
        ("touchStart", [(0.2, 0.2)]),
        ("touchMove", [(0.4, 0.4)]),
        ("touchMove", [(0.6, 0.7)]),
        ("touchEnd", []),
    ):
        touches = [
            {"x": place["x"] + place["width"] * x, "y": place["y"] + place["height"] * y} for x, y in points
        ]
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})
    near(fields(page, "t2i"), [0.2, 0.2, 0.4, 0.5])
    page.context.close()


def test_every_region_and_the_other_tab(address, browser):
    """As many as the page offers can be drawn; the other tab's boxes stay apart."""
    page = browser.new_page(viewport={"width": 1300, "height": 1400})
    page.goto(address, wait_until="domcontentloaded")
    page.wait_for_selector("#MD-t2i-enabled-visible-checkbox")
    open_accordion(page, "MD-t2i-enabled")
    page.click("#MD-t2i-regions .label-wrap")
    page.click("#MD-create-canvas-t2i")
    page.wait_for_selector("#MD-bbox-ref-t2i .md-regions")
    page.locator("#MD-bbox-ref-t2i").scroll_into_view_if_needed()
    for index in range(8):
        drag(page, "t2i", (0.02 + 0.12 * index, 0.1), (0.10 + 0.12 * index, 0.9))
    boxes = [fields(page, "t2i", index + 1) for index in range(8)]
    assert all(enabled(page, "t2i", index + 1) for index in range(8))
    assert not enabled(page, "i2i", 1)
    page.locator(".tab-nav button", has_text="img2img").click()
    page.locator(".tab-nav button", has_text="txt2img").click()
    page.wait_for_timeout(400)
    assert [fields(page, "t2i", index + 1) for index in range(8)] == boxes
    assert page.locator("#MD-bbox-ref-t2i .md-region:visible").count() == 8
    page.close()
