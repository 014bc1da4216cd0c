"""Seamless pictures on the page: a box that is dragged over a joined edge, and the join shown below the picture."""

import pytest
from playwright.sync_api import expect

from tests.browser.test_regions import drag, fields, overlay
from tools.page import open_accordion, open_page, running_page, set_number

HALVES = """() => {
    const canvas = Object.assign(document.createElement('canvas'), {width: 8, height: 4});
    const pen = canvas.getContext('2d');
    pen.fillStyle = '#f00';
    pen.fillRect(0, 0, 4, 4);
    pen.fillStyle = '#00f';
    pen.fillRect(4, 0, 4, 4);
    const image = new Image();
    image.src = canvas.toDataURL();
    document.querySelector('#txt2img_gallery').append(image);
    return image.decode().then(() => image.src);
}"""
CORNER = """async () => {
    const image = document.querySelector('#txt2img_gallery img');
    await image.decode();
    const canvas = Object.assign(document.createElement('canvas'), {width: 8, height: 4});
    const pen = canvas.getContext('2d');
    pen.drawImage(image, 0, 0);
    return [0, 7].map((x) => [...pen.getImageData(x, 1, 1, 1).data]);
}"""
RED, BLUE = [255, 0, 0, 255], [0, 0, 255, 255]


@pytest.fixture(scope="module")
def address(checkpoint):
    with running_page(checkpoint) as url:
        yield url


@pytest.fixture
def page(address, context):
    page = open_page(context, address)
    open_accordion(page, "MD-t2i-enabled")
    page.click("#MD-t2i-seamless input")
    page.locator("#MD-t2i-seamless li", has_text="Horizontal").click()
    yield page
    assert page.errors == []


def test_a_box_goes_on_at_the_opposite_edge(page):
    set_number(page, "txt2img_width", 512)
    set_number(page, "txt2img_height", 256)
    page.click("#MD-t2i-regions .label-wrap")
    page.click("#MD-create-canvas-t2i")
    page.wait_for_selector("#MD-bbox-ref-t2i .md-regions")
    page.locator("#MD-bbox-ref-t2i").scroll_into_view_if_needed()
    drag(page, "t2i", (0.5, 0.25), (0.75, 0.75))
    assert fields(page, "t2i") == pytest.approx([0.5, 0.25, 0.25, 0.5], abs=0.01)
    drag(page, "t2i", (0.6, 0.5), (0.95, 0.5))
    assert fields(page, "t2i") == pytest.approx([0.85, 0.25, 0.25, 0.5], abs=0.01)
    boxes = overlay(page, "t2i").locator('.md-region[data-index="0"]:visible')
    expect(boxes).to_have_count(2)
    drag(page, "t2i", (0.05, 0.5), (0.3, 0.5))  # by the part of it that lies at the left
    assert fields(page, "t2i") == pytest.approx([0.1, 0.25, 0.25, 0.5], abs=0.01)
    expect(boxes).to_have_count(1)


def test_the_join_is_shown_and_hidden_again(page):
    plain = page.evaluate(HALVES)
    button = page.locator("#MD-t2i-show-join")
    button.click()
    assert page.evaluate(CORNER) == [BLUE, RED]
    expect(button).to_have_attribute("aria-pressed", "true")
    button.click()
    assert page.evaluate(CORNER) == [RED, BLUE]
    assert page.locator("#txt2img_gallery img").get_attribute("src") == plain
