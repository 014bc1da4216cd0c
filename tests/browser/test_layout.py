"""Nothing on the panels lies on something else, at the widths that windows have."""

import pytest

from tools.page import open_accordion, open_page

PARTS = """
const all = (tab, kind) => [...document.querySelectorAll(kind)]
    .filter((part) => part.id.startsWith('MD') && part.id.includes(tab) && part.offsetParent);
const textOf = (part) => {
    const text = document.createRange();
    text.selectNodeContents(part);
    return text.getBoundingClientRect();
};
const meet = (a, b) => a.right > b.left && a.left < b.right && a.bottom > b.top && a.top < b.bottom;
"""
SLIDERS = ".block:has(input[type=range]):has(input[type=number])"
LABELS_ON_NUMBERS = f"""(tab) => {{ {PARTS}
    return all(tab, '{SLIDERS}').filter((slider) => meet(
        textOf(slider.querySelector('label > span')),
        slider.querySelector('input[type=number]').getBoundingClientRect(),
    )).map((slider) => slider.id);
}}"""
SQUEEZED = f"""(tab) => {{ {PARTS}
    return all(tab, 'button:not(.tool)')
        .filter((button) => textOf(button).width + 16 > button.getBoundingClientRect().width)
        .map((button) => button.id);
}}"""
COUNT = f"(tab) => {{ {PARTS} return all(tab, '{SLIDERS}, button:not(.tool)').length; }}"
WIDTHS = (900, 1024, 1100, 1280, 1366, 1440, 1920, 2560)


@pytest.mark.parametrize("tab", ["t2i", "i2i"])
def test_every_label_and_button_has_its_room(address, context, tab):
    page = open_page(context, address)
    if tab == "i2i":
        page.locator(".tab-nav button", has_text="img2img").first.click()
    open_accordion(page, f"MD-{tab}-enabled")
    open_accordion(page, f"MDV-{tab}-enabled")
    page.click(f"#MD-{tab}-regions .label-wrap")
    if tab == "t2i":
        page.check("#MD-t2i-overwrite-image-size input")
    else:
        page.click("#MD-i2i-noise-inversion .label-wrap")
    page.click(f"#MD-{tab}-1-region .label-wrap")
    page.click(f"#MD-{tab}-1-blend-mode input")
    page.click(f"#MD-{tab}-1-blend-mode li:has-text('Foreground')")
    page.wait_for_selector(f"#MD-{tab}-1-feather input[type=number]", state="visible")
    assert page.evaluate(COUNT, tab) >= 14
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 1000})
        page.wait_for_timeout(300)
        assert page.evaluate(LABELS_ON_NUMBERS, tab) == [], width
        assert page.evaluate(SQUEEZED, tab) == [], width
    assert page.errors == []
