"""The table of words for each tile, on the reference image of both tabs."""

import json
import re

import pytest
from playwright.sync_api import expect

from tests.browser.test_regions import opened
from tools.page import running_page, set_number


@pytest.fixture(scope="module")
def address(checkpoint):
    with running_page(checkpoint) as url:
        yield url


def apart(field):
    """How far a field's letters are from what is behind them, of 255."""
    style = field.evaluate("(f) => [getComputedStyle(f).color, getComputedStyle(f).backgroundColor]")
    letters, behind = (list(map(int, re.findall(r"\d+", colour)[:3])) for colour in style)
    return min(abs(a - b) for a, b in zip(letters, behind))


@pytest.mark.parametrize("tab", ["t2i", "i2i"])
def test_a_cell_for_each_tile_is_written_and_read(context, address, tab):
    page = opened(context, address, tab)
    for name, value in (("tile-width", 16), ("tile-height", 32), ("tile-overlap", 0)):
        set_number(page, f"MD-{tab}-latent-{name}", value)
    table = page.locator(f"#MD-bbox-ref-{tab} .md-words")
    expect(table).to_have_count(0)
    page.click(f"#MD-{tab}-words .label-wrap")
    cells = table.locator("input")
    expect(cells).to_have_count(4)  # of 512x256
    for theme in ("light", "dark"):
        page.evaluate("(dark) => document.body.classList.toggle('dark', dark)", theme == "dark")
        assert apart(cells.nth(1)) > 128, theme
    cells.nth(1).fill("red balloon")
    cells.nth(1).blur()
    text = page.locator(f"#MD-{tab}-tile-prompts textarea")
    expect(text).not_to_have_value("")
    spots = json.loads(text.input_value())
    assert spots[1] == {"x": 0.375, "y": 0.5, "prompt": "red balloon"}
    assert [spot["prompt"] for spot in spots] == ["", "red balloon", "", ""]
    text.fill('[{"x": 0.9, "y": 0.1, "prompt": "house"}]')
    text.blur()
    expect(cells.nth(3)).to_have_value("house")
    page.click(f"#MD-{tab}-words-CLIP")
    expect(text).to_have_value("CLIP")
    expect(cells.nth(0)).to_have_attribute("placeholder", "CLIP")
    page.click(f"#MD-{tab}-words-none")
    expect(text).to_have_value("")
    expect(cells.nth(0)).to_have_value("")
    page.click(f"#MD-{tab}-words .label-wrap")
    expect(table).to_have_count(0)
    assert page.errors == []
