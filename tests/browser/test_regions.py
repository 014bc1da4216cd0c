"""Regions on the canvas with a real pointer, in both tabs."""

import json

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser.conftest import MOST
from tools.page import open_accordion, open_page, set_number

HOST = {"t2i": "txt2img", "i2i": "img2img"}


@pytest.fixture(params=["t2i", "i2i"])
def tab(request):
    return request.param


def opened(context, address, tab):
    """A page with the regions of `tab` unfolded and an empty canvas of 512x256."""
    page = open_page(context, address)
    if tab == "i2i":
        page.locator(".tab-nav button", has_text="img2img").click()
    set_number(page, f"{HOST[tab]}_width", 512)
    set_number(page, f"{HOST[tab]}_height", 256)
    open_accordion(page, f"MD-{tab}-enabled")
    page.click(f"#MD-{tab}-regions .label-wrap")
    page.click(f"#MD-create-canvas-{tab}")
    page.wait_for_selector(f"#MD-bbox-ref-{tab} .md-regions")
    page.locator(f"#MD-bbox-ref-{tab}").scroll_into_view_if_needed()
    return page


@pytest.fixture
def page(address, context, tab):
    page = opened(context, address, tab)
    yield page
    assert page.errors == []


def overlay(page, tab):
    return page.locator(f"#MD-bbox-ref-{tab} .md-regions")


def box_of(page, tab, region=1):
    return overlay(page, tab).locator(f'.md-region[data-index="{region - 1}"]')


def bounds(page, tab):
    page.wait_for_timeout(400)
    return overlay(page, tab).bounding_box()


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


def test_keys_select_nudge_edit_and_switch_off(page, tab):
    drag(page, tab, (0.2, 0.2), (0.5, 0.6))
    drag(page, tab, (0.6, 0.2), (0.9, 0.6))
    page.keyboard.press("1")
    page.keyboard.press("ArrowRight")  # 8 of 512 pixels
    page.keyboard.press("Shift+ArrowDown")  # 64 of 256
    near(fields(page, tab), [0.2156, 0.45, 0.3, 0.4])
    near(fields(page, tab, 2), [0.6, 0.2, 0.3, 0.4])
    page.keyboard.press("Escape")
    before = fields(page, tab)
    page.keyboard.press("ArrowRight")
    assert fields(page, tab) == before
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    page.keyboard.type("moon")
    expect(box_of(page, tab).locator(".md-label")).to_have_text("1 moon")
    overlay(page, tab).focus()
    page.keyboard.press("Delete")
    expect(box_of(page, tab)).to_be_hidden()
    assert not enabled(page, tab)
    assert enabled(page, tab, 2)


def test_the_first_box_switches_regions_on_and_a_selection_opens_its_row(page, tab):
    hint = overlay(page, tab).locator(".md-hint")
    expect(hint).to_be_visible()
    assert not page.is_checked(f"#MD-{tab}-enable-bbox-control input")
    drag(page, tab, (0.0, 0.0), (1.0, 1.0))
    expect(hint).to_be_hidden()
    assert page.is_checked(f"#MD-{tab}-enable-bbox-control input")
    expect(page.locator(f"#MD-{tab}-1-prompt")).to_be_visible()
    page.keyboard.down("Shift")  # over another box
    drag(page, tab, (0.4, 0.4), (0.6, 0.8))
    page.keyboard.up("Shift")
    near(fields(page, tab, 2), [0.4, 0.4, 0.2, 0.4])
    near(fields(page, tab), [0.0, 0.0, 1.0, 1.0])
    expect(page.locator(f"#MD-{tab}-2-prompt")).to_be_visible()
    expect(page.locator(f"#MD-{tab}-1-prompt")).to_be_hidden()
    drag(page, tab, (0.1, 0.1), (0.1, 0.1))  # a click selects the large one
    expect(page.locator(f"#MD-{tab}-1-prompt")).to_be_visible()
    drag(page, tab, (0.5, 0.6), (0.55, 0.6))  # the small one can still be reached
    near(fields(page, tab, 2), [0.45, 0.4, 0.2, 0.4])


def test_sides_above_1280_pixels_carry_a_warning(page, tab):
    label = box_of(page, tab).locator(".md-label")
    drag(page, tab, (0.0, 0.1), (0.8, 0.9))
    expect(label).to_have_text("1")
    set_number(page, f"{HOST[tab]}_width", 1600)
    expect(label).to_have_text("1")  # 0.8 * 1600 is just allowed
    set_number(page, f"{HOST[tab]}_width", 1608)
    expect(label).to_have_text("⚠ 1")
    set_number(page, f"{HOST[tab]}_width", 512)
    expect(label).to_have_text("1")
    if tab == "i2i":
        page.click("#MD-i2i-upscaler-index input")
        page.click("#MD-i2i-upscaler-index li:has-text('Lanczos')")
        set_number(page, "MD-i2i-upscaler-factor", 3)  # of the reference image's 512
        expect(label).to_have_text("1")
        set_number(page, "MD-i2i-upscaler-factor", 4)
        expect(label).to_have_text("⚠ 1")


def test_boxes_stay_right_when_image_tab_or_accordion_change(page, tab, tmp_path):
    drag(page, tab, (0.25, 0.25), (0.75, 0.5))
    before = fields(page, tab)
    Image.new("RGB", (200, 500), "teal").save(tmp_path / "tall.png")
    page.locator(f"#MD-bbox-ref-{tab} button[aria-label=Clear]").click()
    expect(overlay(page, tab)).to_have_count(0)
    page.set_input_files(f"#MD-bbox-ref-{tab} input[type=file]", tmp_path / "tall.png")
    page.wait_for_selector(f"#MD-bbox-ref-{tab} .md-regions")
    page.wait_for_timeout(500)
    place = bounds(page, tab)
    assert place["width"] / place["height"] == pytest.approx(0.4, abs=0.01)  # bars left and right
    other = {"t2i": "img2img", "i2i": "txt2img"}[tab]
    for leave, come_back in (
        (
            page.locator(".tab-nav button", has_text=other),
            page.locator(".tab-nav button", has_text=HOST[tab]),
        ),
        (page.locator(f"#MD-{tab}-regions > .label-wrap"),) * 2,
    ):
        leave.click()
        expect(overlay(page, tab)).to_be_hidden()
        come_back.click()
        expect(overlay(page, tab)).to_be_visible()
        page.locator(f"#MD-bbox-ref-{tab}").scroll_into_view_if_needed()
        place, box = bounds(page, tab), box_of(page, tab).bounding_box()
        shown = [(box["x"] - place["x"]) / place["width"], (box["y"] - place["y"]) / place["height"],
                 box["width"] / place["width"], box["height"] / place["height"]]  # fmt: skip
        near(shown, before)
    page.locator(f"#MD-bbox-ref-{tab} button[aria-label=Clear]").click()  # not hidden under a tall picture
    expect(overlay(page, tab)).to_have_count(0)


def test_files_save_and_load(page, tab):
    name = f"browser-test-{tab}"
    drag(page, tab, (0.1, 0.1), (0.4, 0.5))
    before = fields(page, tab)
    page.click(f"#MD-{tab}-words .label-wrap")
    words = page.locator(f"#MD-{tab}-tile-prompts").locator("textarea, input")
    words.fill("demo-judge")
    page.fill(f"#MD-{tab}-cfg-name textarea, #MD-{tab}-cfg-name input", name)
    page.click(f"#MD-{tab}-cfg-save")
    expect(page.get_by_text(f"Regions saved to {name}.json")).to_be_visible()
    drag(page, tab, (0.25, 0.3), (0.6, 0.6))
    words.fill("")
    page.click(f"#MD-{tab}-cfg-load")
    page.wait_for_function(
        f"Math.abs(document.querySelector('#MD-{tab}-1-x input[type=number]').value - {before[0]}) < 1e-3"
    )
    assert fields(page, tab) == before
    expect(words).to_have_value("demo-judge")
    page.fill(f"#MD-{tab}-cfg-name textarea, #MD-{tab}-cfg-name input", "../secret")
    page.click(f"#MD-{tab}-cfg-load")
    expect(page.get_by_text("allowed is a file name without folders")).to_be_visible()
    assert fields(page, tab) == before


def test_prompts_are_shown_as_text(page, tab):
    drag(page, tab, (0.1, 0.1), (0.6, 0.5))
    text = '<img src=x onerror="window.hacked=1"> "moon"'
    page.fill(f"#MD-{tab}-1-prompt textarea, #MD-{tab}-1-prompt input", text)
    label = page.locator(f"#MD-bbox-ref-{tab} .md-label")
    expect(label).to_have_text(f"1 {text}")
    assert page.evaluate("window.hacked") is None


def infotext(page, tab):
    """What the server made of Generate: the settings written into the picture."""
    page.click(f"#{HOST[tab]}_generate")
    page.wait_for_selector(f"#{HOST[tab]}_gallery img")
    text = page.locator(f"#html_info_{HOST[tab]}").first.inner_text()
    value, _ = json.JSONDecoder().raw_decode(text.split("Tiled Diffusion: ")[1])
    return json.loads(value)


def test_the_server_receives_the_boxes(page, tab, tmp_path):
    if tab == "i2i":
        Image.new("RGB", (512, 256), "teal").save(tmp_path / "init.png")
        page.set_input_files("#img2img_image input[type=file]", tmp_path / "init.png")
        page.wait_for_selector("#img2img_image img")
        page.click("#MD-create-canvas-i2i")  # the picture instead of the grey canvas
        page.wait_for_timeout(500)
    drag(page, tab, (0.0, 0.0), (0.5, 1.0))
    drag(page, tab, (0.6, 0.2), (0.9, 0.8))
    set_number(page, f"{HOST[tab]}_steps", 1)
    expected = [fields(page, tab, region) for region in (1, 2)]
    regions = infotext(page, tab)["regions"]
    assert [[region[name] for name in "xywh"] for region in regions] == expected


def test_sixteen_regions_and_the_other_tab(page, tab):
    """As many as the page offers can be drawn and sent, and no more; the other tab's boxes stay apart."""
    for index in range(MOST):
        x, y = index % 8 / 8, index // 8 / 2
        drag(page, tab, (x + 0.01, y + 0.05), (x + 0.11, y + 0.45))
    expect(overlay(page, tab)).to_have_class("md-regions md-full")
    drag(page, tab, (0.48, 0.5), (0.52, 0.46))  # between the boxes: there is no seventeenth
    boxes = [fields(page, tab, index + 1) for index in range(MOST)]
    for index, box in enumerate(boxes):
        near(box, [index % 8 / 8 + 0.01, index // 8 / 2 + 0.05, 0.1, 0.4])
    assert not enabled(page, {"t2i": "i2i", "i2i": "t2i"}[tab])
    expect(overlay(page, tab).locator(".md-region:visible")).to_have_count(MOST)
    if tab == "t2i":
        set_number(page, "txt2img_steps", 1)
        regions = infotext(page, tab)["regions"]
        assert [[region[name] for name in "xywh"] for region in regions] == boxes


def test_a_pen_draws_and_moves(page, tab):
    page.evaluate(
        "window.pointers = []; addEventListener('pointerdown', e => pointers.push(e.pointerType), true)"
    )
    client = page.context.new_cdp_session(page)

    def pen(start, end):
        place = bounds(page, tab)
        middle = [(a + b) / 2 for a, b in zip(start, end)]
        for kind, point in zip(("Pressed", "Moved", "Moved", "Released"), (start, middle, end, end)):
            client.send(
                "Input.dispatchMouseEvent",
                {
                    "type": f"mouse{kind}",
                    "x": place["x"] + place["width"] * point[0],
                    "y": place["y"] + place["height"] * point[1],
                    "button": "left",
                    "buttons": 1,
                    "clickCount": 1,
                    "pointerType": "pen",
                },
            )

    pen((0.2, 0.2), (0.6, 0.7))
    near(fields(page, tab), [0.2, 0.2, 0.4, 0.5])
    pen((0.4, 0.4), (0.5, 0.5))
    near(fields(page, tab), [0.3, 0.3, 0.4, 0.5])
    assert page.evaluate("pointers") == ["pen", "pen"]


def test_touch_draws_and_moves(address, browser):
    with browser.new_context(viewport={"width": 1300, "height": 1400}, has_touch=True) as context:
        page = opened(context, address, "t2i")
        client = context.new_cdp_session(page)

        def touch(*points):
            place = bounds(page, "t2i")
            kinds = ["touchStart", *["touchMove"] * (len(points) - 1), "touchEnd"]
            for kind, point in zip(kinds, [*points, None]):
                at = {} if point is None else {
                    "x": place["x"] + place["width"] * point[0], "y": place["y"] + place["height"] * point[1]
                }  # fmt: skip
                client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [at] if at else []})

        touch((0.2, 0.2), (0.4, 0.4), (0.6, 0.7))
        near(fields(page, "t2i"), [0.2, 0.2, 0.4, 0.5])
        touch((0.4, 0.4), (0.45, 0.45), (0.5, 0.5))
        near(fields(page, "t2i"), [0.3, 0.3, 0.4, 0.5])
        touch((0.7, 0.8), (0.75, 0.85), (0.8, 0.9))  # the corner
        near(fields(page, "t2i"), [0.3, 0.3, 0.5, 0.6])
        assert page.errors == []
