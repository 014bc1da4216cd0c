"""One Chromium and one server for all browser tests; a context of its own, without cookies or memory, for each."""

import pytest
from playwright.sync_api import expect

from tools.page import PATIENCE_MS, chromium, running_page

MOST = 16
"""Regions of the page."""


@pytest.fixture(scope="package")
def browser():
    expect.set_options(timeout=PATIENCE_MS)
    with chromium() as browser:
        yield browser


@pytest.fixture
def context(browser):
    with browser.new_context(viewport={"width": 1300, "height": 1600}) as context:
        yield context


@pytest.fixture(scope="package")
def address(checkpoint):
    """A running mini WebUI with random weights and as many regions as there can be."""
    with running_page(checkpoint, "--md-max-regions", str(MOST)) as url:
        yield url
