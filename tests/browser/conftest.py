"""One Chromium and one server for all browser tests; a context of its own, without cookies or memory, for each."""

from pathlib import Path

import pytest
from playwright.sync_api import Error, expect

from tools.page import PATIENCE_MS, chromium, running_page

HERE = Path(__file__).parent
CONTEXT = pytest.StashKey()
MOST = 16
"""Regions of the page."""
CLICKS = """
window.clicks = [];
document.addEventListener("click", ({target, isTrusted}) => {
    const place = target.closest?.("[id]")?.id ?? "";
    window.clicks.push([Math.round(performance.now()), isTrusted ? "person" : "script", place, target.tagName]);
}, true);
"""
"""Remembers when and where a page was clicked."""
STATE = """async () => ({
    frames: await Promise.race([
        new Promise((done) => requestAnimationFrame(() => done("drawn"))),
        new Promise((done) => setTimeout(() => done("none in 3 s"), 3000)),
    ]),
    visibility: document.visibilityState,
    open: [...document.querySelectorAll(".label-wrap.open")].map((label) => label.innerText),
    pictures: [...document.querySelectorAll(".md-picture img")].map(
        (image) => [image.src.slice(0, 40), image.naturalWidth, Boolean(image.offsetParent)]
    ),
    editor: typeof window.tiledDiffusion,
    now: Math.round(performance.now()),
    clicks: window.clicks?.slice(-20),
})"""


@pytest.fixture(scope="package")
def browser():
    expect.set_options(timeout=PATIENCE_MS)
    with chromium() as browser:
        yield browser


@pytest.fixture
def context(browser, request):
    with browser.new_context(viewport={"width": 1300, "height": 1600}) as context:
        context.add_init_script(CLICKS)
        request.node.stash[CONTEXT] = context
        yield context


def pytest_collection_modifyitems(items):
    """What waited in vain is tried once more, since two cores may be busy for minutes; the warnings tell of it."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.flaky(reruns=1, only_rerun="TimeoutError"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A test that failed tells what its page said, whether it is tried again or not."""
    report = yield
    if call.excinfo:
        context = item.stash.get(CONTEXT, None)
        pages = context.pages if context else [item.funcargs["page"]] if "page" in item.funcargs else []
        told = "\n".join(described(page) for page in pages if hasattr(page, "said"))
        report.sections.append(("the page", told))
        item.warn(pytest.PytestWarning(f"{item.name}, {call.when}: {call.excinfo.exconly()}\n{told}"))
    return report


def described(page):
    """What a page's console said, what it threw, and what is open on it."""
    page.set_default_timeout(5000)
    try:
        state = page.evaluate(STATE)
    except Error as error:
        state = str(error)
    return "\n".join([*page.said[-20:], f"thrown: {page.errors}", f"state: {state}"])


@pytest.fixture(scope="package")
def address(checkpoint):
    """A running mini WebUI with random weights and as many regions as there can be."""
    with running_page(checkpoint, "--md-max-regions", str(MOST)) as url:
        yield url
