"""The region canvas where its picture is huge, or goes away under the pointer."""

import pytest
from playwright.sync_api import expect

from tests.browser.test_regions import box_of, drag, fields, near, opened, overlay
from tools.page import set_number


@pytest.fixture
def page(address, context):
    page = opened(context, address, "t2i")
    yield page
    assert page.errors == []


def test_a_canvas_for_the_largest_picture_is_small(page):
    page.check("#MD-t2i-overwrite-image-size input")
    for name, value in (("width", 16384), ("height", 8192)):
        set_number(page, f"MD-overwrite-{name}-t2i", value)
    page.click("#MD-create-canvas-t2i")
    page.wait_for_function("document.querySelector('#MD-bbox-ref-t2i img')?.naturalWidth === 1024")
    assert page.evaluate("document.querySelector('#MD-bbox-ref-t2i img').naturalHeight") == 512
    drag(page, "t2i", (0.1, 0.2), (0.3, 0.6))
    near(fields(page, "t2i"), [0.1, 0.2, 0.2, 0.4])
    expect(box_of(page, "t2i").locator(".md-size")).to_have_text("3277 × 3277")


def test_a_picture_that_goes_away_during_a_drag_ends_it(page):
    drag(page, "t2i", (0.1, 0.1), (0.4, 0.5))
    place = overlay(page, "t2i").bounding_box()
    page.mouse.move(place["x"] + 0.2 * place["width"], place["y"] + 0.3 * place["height"])
    page.mouse.down()
    page.evaluate("document.querySelector('#MD-bbox-ref-t2i button[aria-label=Clear]').click()")
    expect(overlay(page, "t2i")).to_have_count(0)
    page.mouse.up()
    page.click("#MD-create-canvas-t2i")
    page.wait_for_selector("#MD-bbox-ref-t2i .md-regions")
    drag(page, "t2i", (0.6, 0.1), (0.9, 0.5))
    near(fields(page, "t2i", 2), [0.6, 0.1, 0.3, 0.4])


def test_a_capture_that_is_taken_away_ends_a_drag(page):
    page.evaluate("addEventListener('pointerdown', e => window.pointer = e.pointerId, true)")
    place = overlay(page, "t2i").bounding_box()
    for x, y in ((0.1, 0.1), (0.3, 0.5)):
        page.mouse.move(place["x"] + x * place["width"], place["y"] + y * place["height"])
        page.mouse.down()
    page.evaluate("document.querySelector('#MD-bbox-ref-t2i .md-regions').releasePointerCapture(pointer)")
    page.mouse.move(place["x"] + 0.8 * place["width"], place["y"] + 0.9 * place["height"], steps=3)
    near(fields(page, "t2i"), [0.1, 0.1, 0.2, 0.4])
    page.mouse.up()
