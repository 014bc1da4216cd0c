"""The page in a real browser: type, tick, generate, watch the progress, see the picture."""

import re
import time

import pytest
from playwright.sync_api import expect

from tools.page import open_accordion, open_page, set_number


@pytest.fixture
def page(address, context):
    return open_page(context, address)


def test_a_tiled_picture_appears_and_progress_moves(page):
    page.fill("#txt2img_prompt textarea", "city skyline, night")
    open_accordion(page, "MD-t2i-enabled")
    for name in ("width", "height"):
        set_number(page, f"MD-t2i-latent-tile-{name}", 16)
    set_number(page, "MD-t2i-latent-tile-overlap", 8)
    set_number(page, "txt2img_steps", 12)
    page.click("#txt2img_generate")
    seen = set()
    picture = page.locator("#txt2img_gallery img")
    deadline = time.time() + 120
    while not picture.count() and time.time() < deadline:
        seen.update(page.locator("#txt2img_progress .progress").all_inner_texts())
        time.sleep(0.1)
    expect(picture.first).to_be_visible()
    assert len(seen) >= 2
    tiled = re.compile("Tiled Diffusion: .*tile_width.*16", re.DOTALL)
    expect(page.locator("#html_info_txt2img").first).to_have_text(tiled)
    assert page.errors == []


def test_hidden_features_do_not_show_and_sizes_show_when_overwriting(page):
    open_accordion(page, "MD-t2i-enabled")
    expect(page.locator("#MD-overwrite-width-t2i")).to_be_hidden()
    page.check("#MD-t2i-overwrite-image-size input")
    expect(page.locator("#MD-overwrite-width-t2i")).to_be_visible()
    inversion = page.locator("#MD-t2i-noise-inverse")
    expect(inversion).to_have_count(1)
    expect(inversion).to_be_hidden()


def test_an_error_reaches_the_user(page):
    page.locator(".tab-nav button", has_text="img2img").click()
    page.click("#img2img_generate")
    expect(page.get_by_text("There is no image to start from")).to_be_visible()


def test_the_page_needs_no_other_server(context, address):
    requests = []
    context.on("request", lambda request: requests.append(request.url))
    page = open_page(context, address)
    page.wait_for_load_state("networkidle")
    local = (address, address.replace("http", "ws", 1), "data:", "blob:")
    assert [url for url in requests if not url.startswith(local)] == []


def test_the_box_of_an_accordion_follows_its_label_until_it_is_clicked_itself(page):
    hidden = page.locator("#MD-t2i-enabled-checkbox input")
    box = page.locator("#MD-t2i-enabled-visible-checkbox")
    method = page.locator("#MD-t2i-method")
    open_accordion(page, "MD-t2i-enabled")
    expect(method).to_be_visible()
    expect(hidden).to_be_checked()
    box.click()
    expect(hidden).not_to_be_checked()
    expect(method).to_be_visible()


def test_tiled_vae_shows_its_controls_and_gives_back_the_recommended_sizes(page):
    open_accordion(page, "MDV-t2i-enabled")
    expect(page.locator("#MDV-t2i-color-fix")).to_be_hidden()
    page.check("#MDV-t2i-fast-encoder input")
    expect(page.locator("#MDV-t2i-color-fix")).to_be_visible()
    size = page.locator("#MDV-t2i-decoder-tile-size input[type=number]")
    recommended = size.input_value()
    set_number(page, "MDV-t2i-decoder-tile-size", 256)
    page.click("#MDV-t2i-reset")
    expect(size).to_have_value(recommended)
    assert page.errors == []
