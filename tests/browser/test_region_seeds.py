"""♻️: the seeds of the pictures on this page, whoever else draws."""

from playwright.sync_api import expect

from tests.browser.test_regions import drag, opened
from tools.page import set_number

VIEW = {"width": 1300, "height": 1600}


def generate(page, host):
    before = page.locator(f"#html_info_{host}").first.inner_text()
    page.click(f"#{host}_generate")
    page.wait_for_function(
        "([host, before]) => { const text = document.querySelector(`#html_info_${host}`)?.innerText;"
        " return text && text !== before; }",
        arg=[host, before],
    )


def seed_of(page, region):
    """The field, with its row open."""
    field = page.locator(f"#MD-t2i-{region}-seed input[type=number]")
    if not field.is_visible():
        page.click(f"#MD-t2i-{region}-region .label-wrap")
    return field


def test_each_page_reads_its_own_pictures(address, browser):
    with browser.new_context(viewport=VIEW) as mine, browser.new_context(viewport=VIEW) as others:
        pages = [opened(context, address, "t2i") for context in (mine, others)]
        for page, seed in zip(pages, (40, 70)):
            set_number(page, "txt2img_steps", 1)
            set_number(page, "txt2img_batch_count", 2)
            drag(page, "t2i", (0.0, 0.0), (0.5, 1.0))
            set_number(page, "MD-t2i-1-seed", seed)
            generate(page, "txt2img")
            set_number(page, "MD-t2i-1-seed", -1)
        for page, seed in zip(pages, (40, 70)):
            page.locator("#txt2img_gallery .thumbnail-item").nth(
                2
            ).click()  # after the grid, the second picture
            page.wait_for_timeout(500)
            field = seed_of(page, 1)
            page.click("#MD-t2i-1-reuse-seed")
            expect(field).to_have_value(str(seed + 1))
            field = seed_of(page, 2)
            set_number(page, "MD-t2i-2-seed", 5)
            page.click("#MD-t2i-2-reuse-seed")
            expect(page.get_by_text("Region 2 is not in that picture")).to_be_visible()
            expect(field).to_have_value("5")
            assert page.errors == []
