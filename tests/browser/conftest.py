"""One Chromium for all browser tests; a context of its own, without cookies or memory, for each."""

import pytest
from playwright.sync_api import expect

from tools.page import PATIENCE_MS, chromium


@pytest.fixture(scope="package")
def browser():
    expect.set_options(timeout=PATIENCE_MS)
    with chromium() as browser:
        yield browser


@pytest.fixture
def context(browser):
    with browser.new_context(viewport={"width": 1300, "height": 1600}) as context:
        yield context
