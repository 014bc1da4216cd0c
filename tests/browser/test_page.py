"""The page in a real browser: type, tick, generate, watch the progress, see the picture."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

ROOT = Path(__file__).parent.parent.parent
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-sync",
    "--disable-component-update",
]
START_SECONDS = 180


@pytest.fixture(scope="module")
def address(checkpoint, tmp_path_factory):
    """A running mini WebUI with random weights."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (tmp_path_factory.mktemp("page") / "log").open("w+")
    command = [sys.executable, str(ROOT / "miniwebui/webui.py"), "page", "--port", str(port)]
    environment = {**os.environ, "GRADIO_ANALYTICS_ENABLED": "False"}
    server = subprocess.Popen(
        [*command, "--ckpt", str(checkpoint)], stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=ROOT
    )
    url = f"http://127.0.0.1:{port}/"
    deadline = time.time() + START_SECONDS
    try:
        while True:
            try:
                urllib.request.urlopen(url, timeout=5)
                break
            except OSError:
                assert server.poll() is None, Path(log.name).read_text()
                assert time.time() < deadline, Path(log.name).read_text()
                time.sleep(0.5)
        yield url
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture
def page(address):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page(viewport={"width": 1300, "height": 1100})
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.requests = []
        page.on("request", lambda request: page.requests.append(request.url))
        page.goto(address, wait_until="domcontentloaded")
        expect(page.locator("#MD-t2i-enabled .label-wrap input")).to_be_visible(timeout=60_000)
        yield page
        browser.close()


def open_accordion(page):
    """By its label, which ticks its box too."""
    page.click("#MD-t2i-enabled .label-wrap > span:first-child", position={"x": 60, "y": 8})
    expect(page.locator("#MD-t2i-enabled-visible-checkbox")).to_be_checked()


def set_number(page, element_id, value):
    field = page.locator(f"#{element_id} input[type=number]")
    field.fill(str(value))
    field.blur()


def test_a_tiled_picture_appears_and_progress_moves(page):
    page.fill("#txt2img_prompt textarea", "city skyline, night")
    open_accordion(page)
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
    expect(picture.first).to_be_visible(timeout=10_000)
    assert len(seen) >= 2
    tiled = re.compile("Tiled Diffusion: .*tile_width.*16", re.DOTALL)
    expect(page.locator("#txt2img_infotext textarea")).to_have_value(tiled)
    assert page.errors == []


def test_hidden_features_do_not_show_and_sizes_show_when_overwriting(page):
    open_accordion(page)
    expect(page.locator("#MD-overwrite-width-t2i")).to_be_hidden()
    page.check("#MD-t2i-overwrite-image-size input")
    expect(page.locator("#MD-overwrite-width-t2i")).to_be_visible()
    assert (
        page.locator("#MD-t2i-noise-inverse").count() == 0
        or page.locator("#MD-t2i-noise-inverse").is_hidden()
    )


def test_an_error_reaches_the_user(page):
    page.locator(".tab-nav button", has_text="img2img").click()
    page.click("#img2img_generate")
    expect(page.get_by_text("There is no image to start from")).to_be_visible(timeout=15_000)


def test_the_page_needs_no_other_server(page, address):
    page.wait_for_load_state("networkidle")
    local = (address, address.replace("http", "ws", 1), "data:", "blob:")
    assert [url for url in page.requests if not url.startswith(local)] == []


def test_the_box_of_an_accordion_follows_its_label_until_it_is_clicked_itself(page):
    hidden = page.locator("#MD-t2i-enabled-checkbox input")
    box = page.locator("#MD-t2i-enabled-visible-checkbox")
    method = page.locator("#MD-t2i-method")
    open_accordion(page)
    expect(method).to_be_visible()
    expect(hidden).to_be_checked()
    box.click()
    expect(hidden).not_to_be_checked()
    expect(method).to_be_visible()
