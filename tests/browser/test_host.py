"""The mini WebUI's own page: preview and interrupt, errors in words, settings, translations."""

import json
import time

import pytest
from playwright.sync_api import expect

from tools.page import choose, open_page, running_page, set_number

TRANSLATIONS = {
    "Generate": "Zeichnen",
    "Sampling steps": "Schritte",
    "x": "</script><script>window.hacked = 1</script>",
}


@pytest.fixture(scope="module")
def address(checkpoint, tmp_path_factory):
    """The page, with an extension that brings translations."""
    folder = tmp_path_factory.mktemp("extension")
    (folder / "localizations").mkdir()
    (folder / "localizations" / "Probe.json").write_text(json.dumps(TRANSLATIONS))
    with running_page(checkpoint, "--extension", str(folder)) as url:
        yield url


@pytest.fixture
def page(address, context):
    return open_page(context, address)


def test_preview_appears_and_interrupt_ends_the_drawing(page):
    set_number(page, "txt2img_steps", 150)
    set_number(page, "txt2img_width", 512)
    set_number(page, "txt2img_height", 512)
    page.click("#txt2img_generate")
    expect(page.locator("#txt2img_progress .livePreview img")).to_be_visible()
    page.click("#txt2img_interrupt")
    clicked = time.time()
    expect(page.locator("#txt2img_gallery img").first).to_be_visible()
    assert time.time() - clicked < 40
    expect(page.locator("#txt2img_progress .progress")).to_have_count(0)
    assert page.errors == []


def test_an_error_is_shown_in_words_and_the_next_picture_is_drawn(page):
    set_number(page, "txt2img_steps", 2)
    choose(page, "txt2img_sampling", "UniPC")
    page.click("#txt2img_generate")
    expect(
        page.get_by_text("ValueError: UniPC of order 3 needs at least 3 sampling steps, not 2.")
    ).to_be_visible()
    set_number(page, "txt2img_steps", 3)
    page.click("#txt2img_generate")
    expect(page.locator("#txt2img_gallery img").first).to_be_visible()
    assert page.locator("#html_log_txt2img .error").count() == 0


def test_settings_are_kept_and_the_page_speaks_another_language(page):
    page.wait_for_function("opts.localization === 'None'")
    page.locator("#tabs > .tab-nav > button", has_text="Settings").click()
    page.locator("#settings > .tab-nav > button", has_text="User interface").click()
    page.click("#setting_localization input")
    page.locator("ul.options li", has_text="Probe").click()
    page.click("#settings_submit")
    expect(page.locator("#settings_result").first).to_contain_text("1 settings changed: localization.")
    page.wait_for_function("opts.localization === 'Probe'")
    page.reload(wait_until="domcontentloaded")
    expect(page.locator("#txt2img_generate")).to_have_text("Zeichnen")
    expect(page.locator("#txt2img_steps")).to_contain_text("Schritte")
    assert page.evaluate("window.hacked") is None
    page.wait_for_function("opts.localization === 'Probe'")
    assert page.errors == []
