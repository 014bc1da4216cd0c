"""Start the mini WebUI's page as a person does, and open it in Chromium: for the browser tests and the screenshots."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, expect, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 180
PATIENCE_MS = 120_000
"""For anything on the page: the machine may be busy."""
UPLOAD_MS = 10_000
"""After which an upload that has not arrived is begun again."""
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-sync",
    "--disable-component-update",
]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def running_page(checkpoint: Path, *flags: str) -> Iterator[str]:
    """The address of a page that draws with `checkpoint`, started with more `flags`; it is stopped afterwards."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    command = [sys.executable, str(ROOT / "miniwebui/webui.py"), "page", "--port", str(port)]
    environment = {**os.environ, "GRADIO_ANALYTICS_ENABLED": "False"}
    with tempfile.TemporaryFile("w+") as log, tempfile.TemporaryDirectory() as data:
        server = subprocess.Popen(
            [*command, "--ckpt", str(checkpoint), "--data-dir", data, *flags],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=ROOT,
        )
        try:
            try:
                wait_for(url, server)
            except RuntimeError as error:
                log.seek(0)
                raise RuntimeError(f"{error}:\n{log.read()}") from None
            yield url
        finally:
            server.terminate()
            server.wait(20)


def wait_for(url: str, server: subprocess.Popen[Any]) -> None:
    """Until the server answers at this address. Raises RuntimeError when it has ended or does not."""
    deadline = time.time() + START_SECONDS
    while True:
        try:
            urllib.request.urlopen(url, timeout=5)
            return
        except OSError:
            if server.poll() is not None or time.time() > deadline:
                raise RuntimeError("the server did not start") from None
            time.sleep(0.5)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield browser
        browser.close()


def open_page(context: BrowserContext, url: str) -> Any:
    """The page at this address, ready.

    `errors` of it collects what its scripts throw, `said` what its console says and which requests fail.
    """
    page: Any = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.errors, page.said = [], []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("console", lambda message: page.said.append(f"{message.type}: {message.text}"))
    page.on("requestfailed", lambda request: page.said.append(f"{request.url}: {request.failure}"))
    page.goto(url, wait_until="domcontentloaded")
    page.wait_for_selector("#MD-t2i-enabled-visible-checkbox")
    return page


def upload(page: Any, element_id: str, *files: Any) -> None:
    """Choose files for a picture's or a list's field, again until they have arrived.

    Gradio 3.41 forgets an upload that is under way when an answer to anything else arrives: names stay, files do not.
    """
    arrived = page.locator(f"#{element_id} :is(img, .download a)")
    for _ in range(PATIENCE_MS // UPLOAD_MS):
        page.set_input_files(f"#{element_id} input[type=file]", list(files))
        try:
            expect(arrived).to_have_count(len(files), timeout=UPLOAD_MS)
            return
        except AssertionError:
            page.click(f"#{element_id} button[aria-label=Clear]")
    raise AssertionError(f"{element_id}: the files do not arrive")


def open_accordion(page: Any, element_id: str) -> None:
    """Click an InputAccordion's label, which ticks its box too."""
    page.click(f"#{element_id} .label-wrap > span:first-child", position={"x": 60, "y": 8})
    page.wait_for_selector(f"#{element_id}-visible-checkbox:checked")


def set_number(page: Any, element_id: str, value: float) -> None:
    field = page.locator(f"#{element_id} input[type=number]")
    field.fill(str(value))
    field.blur()


def choose(page: Any, element_id: str, text: str) -> None:
    """The first entry of a dropdown that holds the text."""
    page.click(f"#{element_id} input")
    page.locator(f"#{element_id} ul li", has_text=text).first.click()
