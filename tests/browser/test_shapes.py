"""Painting shapes, and what the canvas undoes, copies, locks and lays out, with mouse, pen and touch."""

import numpy as np
import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import expect

from tests.browser.test_regions import bounds, box_of, drag, enabled, fields, near, opened, overlay
from tile_utils import masks
from tile_utils.layouts import LAYOUTS
from tools.page import choose

TAB = "t2i"


@pytest.fixture(scope="module")
def opened_page(address, browser):
    with browser.new_context(viewport={"width": 1300, "height": 1600}, has_touch=True) as context:
        page = opened(context, address, TAB)
        yield page
        assert page.errors == []


@pytest.fixture
def page(opened_page):
    """The same page for all, with no region on and the box as tool."""
    yield opened_page
    choose(opened_page, f"MD-{TAB}-layouts", "Two halves")
    settled(opened_page, 2)
    overlay(opened_page, TAB).focus()
    for region in ("1", "2"):
        opened_page.keyboard.press(region)
        opened_page.keyboard.press("Delete")
    opened_page.keyboard.press("v")
    settled(opened_page, 0)


def settled(page, count):
    """Until so many regions are shown, and the fields say so."""
    expect(overlay(page, TAB).locator(".md-region:visible")).to_have_count(count)
    page.wait_for_function(
        "count => [...document.querySelectorAll('[id^=MD-bbox-t2i-][id$=-enable] input')]"
        ".filter(box => box.checked).length === count",
        arg=count,
    )


def tool(page, start):
    page.locator(f"#MD-{TAB}-tools button[title^='{start}']").click()


def brush_of(page, size):
    page.locator(f"#MD-{TAB}-tools input[type=range]").fill(str(size))


def text(page, name, region=1):
    return page.locator(f"#MD-{TAB}-{region}-{name}").locator("textarea, input").first.input_value()


def shape_of(page, region=1, size=(64, 32)):
    """The cells of the canvas that the fields' box and mask cover. [32, 64] bool"""
    x, y, w, h = fields(page, TAB, region)
    text_of_mask = text(page, "mask", region) or "1x1:AB"
    box = (x, y, w, h)
    window = masks.Window(0, 0, size[1], size[0])
    return masks.on_canvas(text_of_mask, box, window, size[1], size[0])


def stroke(width, *points):
    """What a round brush of `width` pixels paints on 512x256, on its latent pixels. [32, 64] bool"""
    picture = Image.new("L", (512, 256))
    pen = ImageDraw.Draw(picture)
    places = [(512 * x, 256 * y) for x, y in points]
    pen.line(places, fill=255, width=width)
    for x, y in places:
        pen.ellipse([x - width / 2, y - width / 2, x + width / 2, y + width / 2], fill=255)
    return np.asarray(picture).reshape(32, 8, 64, 8).mean((1, 3)) >= 128


def alike(found, wanted):
    """Intersection over union."""
    return (found & wanted).sum() / (found | wanted).sum()


def with_pen(page, pressure, *points):
    client = page.context.new_cdp_session(page)
    place = bounds(page, TAB)
    for kind, point in zip(("Pressed", *["Moved"] * (len(points) - 1), "Released"), (*points, points[-1])):
        x, y = place["x"] + place["width"] * point[0], place["y"] + place["height"] * point[1]
        client.send(
            "Input.dispatchMouseEvent",
            {"type": f"mouse{kind}", "x": x, "y": y, "button": "left", "buttons": 1, "clickCount": 1,
             "pointerType": "pen", "force": pressure},
        )  # fmt: skip


def with_touch(page, *points):
    client = page.context.new_cdp_session(page)
    place = bounds(page, TAB)
    for kind, point in zip(("touchStart", *["touchMove"] * (len(points) - 1), "touchEnd"), (*points, None)):
        at = point and {
            "x": place["x"] + place["width"] * point[0],
            "y": place["y"] + place["height"] * point[1],
        }
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [at] if at else []})


EMPTY_PROMPTS = """() => document.querySelectorAll('[id^=MD-t2i-][id$=-prompt] textarea').forEach(box => {
    box.value = '';
    box.dispatchEvent(new Event('input', { bubbles: true }));
})"""
LINE = ((0.2, 0.3), (0.5, 0.3), (0.5, 0.8))


def with_mouse(page, *points):
    place = bounds(page, TAB)
    places = [(place["x"] + place["width"] * x, place["y"] + place["height"] * y) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for at in places[1:]:
        page.mouse.move(*at, steps=4)
    page.mouse.up()


PAINT = {
    "mouse": (with_mouse, 64),
    "touch": (with_touch, 64),
    "pen": (lambda page, *points: with_pen(page, 0.5, *points), 32),
}


@pytest.mark.parametrize("pointer", PAINT)
def test_a_brush_paints_a_shape_whose_box_it_fills(page, pointer):
    paint, width = PAINT[pointer]
    tool(page, "Paint")
    brush_of(page, 64)
    paint(page, *LINE)
    settled(page, 1)
    wanted = stroke(width, *LINE)
    assert alike(shape_of(page), wanted) > 0.85
    rows, columns = np.flatnonzero(wanted.any(1)), np.flatnonzero(wanted.any(0))
    x, y, w, h = fields(page, TAB)
    near([x, y, x + w, y + h],
         [columns[0] / 64, rows[0] / 32, (columns[-1] + 1) / 64, (rows[-1] + 1) / 32], 0.04)  # fmt: skip
    assert page.is_checked(f"#MD-{TAB}-enable-bbox-control input")


def test_erase_undo_and_redo(page):
    drag(page, TAB, (0.25, 0.25), (0.75, 0.75))
    settled(page, 1)
    before = fields(page, TAB)
    tool(page, "Erase")
    brush_of(page, 96)
    with_mouse(page, (0.5, 0.1), (0.5, 0.9))
    expect(box_of(page, TAB).locator(".md-shape")).to_be_visible()
    erased = shape_of(page)
    box = np.zeros((32, 64), bool)
    box[8:24, 16:48] = True
    assert alike(erased, box & ~stroke(96, (0.5, 0.1), (0.5, 0.9))) > 0.9
    page.keyboard.press("Control+z")
    assert text(page, "mask") == ""
    assert fields(page, TAB) == before
    page.keyboard.press("Control+y")
    assert np.array_equal(shape_of(page), erased)
    for _ in range(2):
        page.keyboard.press("Control+z")
    settled(page, 0)
    tool(page, "Redo")
    settled(page, 1)
    assert fields(page, TAB) == before


def test_a_shape_that_is_erased_whole_is_off_and_comes_back(page):
    tool(page, "Paint")
    brush_of(page, 48)
    with_mouse(page, (0.3, 0.5), (0.4, 0.5))
    painted = shape_of(page)
    tool(page, "Erase")
    brush_of(page, 256)
    with_mouse(page, (0.25, 0.5), (0.45, 0.5))
    settled(page, 0)
    assert text(page, "mask") == ""
    page.keyboard.press("Control+z")
    settled(page, 1)
    assert np.array_equal(shape_of(page), painted)


def test_moves_resizes_and_nudges_are_undone_one_by_one(page):
    drag(page, TAB, (0.2, 0.2), (0.4, 0.6))
    steps = [fields(page, TAB)]
    drag(page, TAB, (0.3, 0.4), (0.5, 0.5))
    steps.append(fields(page, TAB))
    page.keyboard.press("ArrowRight")
    steps.append(fields(page, TAB))
    assert len({tuple(step) for step in steps}) == 3
    for step in steps[-2::-1]:
        page.keyboard.press("Control+z")
        assert fields(page, TAB) == step
    for step in steps[1:]:
        page.keyboard.press("Control+Shift+Z")
        assert fields(page, TAB) == step


def test_copy_paste_and_alt_drag_take_everything_along(page):
    tool(page, "Paint")
    brush_of(page, 64)
    with_mouse(page, (0.2, 0.3), (0.3, 0.6))
    page.keyboard.press("v")
    page.fill(f"#MD-{TAB}-1-prompt textarea", "moon")
    overlay(page, TAB).focus()
    page.keyboard.press("1")
    page.keyboard.press("Control+c")
    page.keyboard.press("Control+v")
    settled(page, 2)
    assert text(page, "prompt", 2) == "moon"
    assert text(page, "mask", 2) == text(page, "mask", 1)
    near(fields(page, TAB, 2)[0] - fields(page, TAB, 1)[0], 0.03)
    page.keyboard.down("Alt")
    drag(page, TAB, (0.25, 0.45), (0.65, 0.5))
    page.keyboard.up("Alt")
    settled(page, 3)
    assert text(page, "prompt", 3) == "moon"
    assert text(page, "mask", 3) == text(page, "mask", 1)
    assert fields(page, TAB, 3)[0] > 0.5
    page.keyboard.press("Control+z")
    settled(page, 2)
    page.evaluate(EMPTY_PROMPTS)


def test_a_locked_region_stays(page):
    drag(page, TAB, (0.2, 0.2), (0.5, 0.6))
    before = fields(page, TAB)
    tool(page, "Lock")
    expect(box_of(page, TAB).locator(".md-label")).to_have_text("🔒 1")
    drag(page, TAB, (0.3, 0.4), (0.6, 0.5))
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Delete")
    tool(page, "Erase")
    with_mouse(page, (0.2, 0.2), (0.5, 0.6))
    assert fields(page, TAB) == before
    assert enabled(page, TAB)
    expect(page.locator(f"#MD-{TAB}-tools .md-note")).to_have_text("This region is locked.")
    choose(page, f"MD-{TAB}-layouts", "Two halves")
    settled(page, 3)
    assert fields(page, TAB) == before
    page.keyboard.press("1")
    overlay(page, TAB).focus()
    page.keyboard.press("1")
    tool(page, "Lock")
    page.keyboard.press("ArrowRight")
    assert fields(page, TAB) != before


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(page, name):
    wanted = LAYOUTS[name]
    choose(page, f"MD-{TAB}-layouts", name)
    settled(page, len(wanted))
    for number, region in enumerate(wanted, 1):
        assert fields(page, TAB, number) == [region[side] for side in "xywh"]
        assert text(page, "blend-mode", number) == region["blend_mode"]
    overlay(page, TAB).focus()
    page.keyboard.press("Control+z")
    settled(page, 0)


def test_a_picture_is_the_shape_and_what_is_none_is_told(page, tmp_path):
    cross = np.zeros((64, 128), bool)
    cross[24:40, 16:112] = cross[8:56, 56:72] = True
    Image.fromarray(cross).save(tmp_path / "cross.png")
    Image.new("L", (64, 64)).save(tmp_path / "black.png")
    (tmp_path / "text.png").write_text("no picture")
    choosing, note = (
        page.locator(f"#MD-{TAB}-tools input[type=file]"),
        page.locator(f"#MD-{TAB}-tools .md-note"),
    )
    choosing.set_input_files(tmp_path / "text.png")
    expect(note).to_have_text("This file is no picture that the browser can show.")
    choosing.set_input_files(tmp_path / "black.png")
    expect(note).to_have_text("This picture has no white in it: white is the region.")
    settled(page, 0)
    choosing.set_input_files(tmp_path / "cross.png")
    settled(page, 1)
    near(fields(page, TAB), [0.125, 0.125, 0.75, 0.75], 1e-3)
    assert np.array_equal(shape_of(page, 1, (128, 64)), cross)
    tool(page, "Give the selected region")
    assert text(page, "mask") == ""
    near(fields(page, TAB), [0.125, 0.125, 0.75, 0.75], 1e-3)


def test_the_server_draws_what_was_painted(page):
    """The mask's text as the page writes it is the server's own."""
    tool(page, "Paint")
    brush_of(page, 80)
    with_mouse(page, (0.3, 0.2), (0.7, 0.8), (0.3, 0.8))
    written = text(page, "mask")
    assert masks.compact(written) == written
    assert masks.fitted(written, *fields(page, TAB))[0] == written


def test_tag_completion_finds_every_prompt_box(page):
    """By the selectors that DominikDoom/a1111-sd-webui-tagcomplete has for this extension's boxes."""
    found = page.evaluate(
        "[...document.querySelectorAll('[id^=MD-t2i][id$=prompt] textarea')].map(box => box.closest('[id]').id)"
    )
    assert found == [f"MD-t2i-{i}-{name}" for i in range(1, 17) for name in ("prompt", "neg-prompt")]
