"""img2img on the page: the upscaler, a mask, several pictures, one session in the browser."""

import io

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from tools.page import PATIENCE_MS, choose, open_accordion, open_page, running_page, set_number, upload


@pytest.fixture(scope="module")
def page(checkpoint, browser):
    with running_page(checkpoint) as url, browser.new_context() as context:
        page = open_page(context, url)
        page.locator(".tab-nav button", has_text="img2img").first.click()
        open_accordion(page, "MD-i2i-enabled")
        set_number(page, "img2img_steps", 2)
        for name in ("width", "height"):
            set_number(page, f"MD-i2i-latent-tile-{name}", 16)
        choose(page, "MD-i2i-upscaler-index", "Nearest")
        yield page
        assert page.errors == []


@pytest.fixture
def files(tmp_path):
    """A wide and a tall picture, and a mask of the wide one: the right half is drawn anew."""
    paths = {}
    for name, size in (("wide", (128, 64)), ("tall", (64, 96))):
        pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
        paths[name] = tmp_path / f"{name}.png"
        Image.fromarray(pixels).save(paths[name])
    mask = Image.new("RGB", (128, 64))
    mask.paste("white", (64, 0, 128, 64))
    paths["mask"] = tmp_path / "mask.png"
    mask.save(paths["mask"])
    return paths


def tab(page, element_id):
    page.click(f".tab-nav button:has-text('{element_id}') >> visible=true")


def drawn(page):
    """The pictures of the next generation, as pixels."""
    before = set(sources(page))
    page.click("#img2img_generate")
    for _ in range(PATIENCE_MS // 500):
        new = [source for source in sources(page) if source not in before]
        if new:
            break
        page.wait_for_timeout(500)
    assert new, page.locator("#html_log_img2img").last.inner_text()
    bodies = [page.request.get(source).body() for source in new]
    return [np.asarray(Image.open(io.BytesIO(body)).convert("RGB")).astype(int) for body in bodies]


def sources(page):
    """Addresses of the pictures in the gallery."""
    return page.evaluate(
        "[...new Set([...document.querySelectorAll('#img2img_gallery img')].map(i => i.src))]"
    )


def test_upscaling_leaves_the_size_sliders_alone(page, files):
    set_number(page, "MD-i2i-upscaler-factor", 3)
    upload(page, "img2img_image", files["wide"])
    (picture,) = drawn(page)
    assert picture.shape == (192, 384, 3)
    for name in ("width", "height"):
        expect(page.locator(f"#img2img_{name} input[type=number]")).to_have_value("256")


def test_an_uploaded_mask_keeps_the_rest(page, files):
    set_number(page, "MD-i2i-upscaler-factor", 2)
    tab(page, "Inpaint upload")
    upload(page, "img_inpaint_base", files["wide"])
    upload(page, "img_inpaint_mask", files["mask"])
    set_number(page, "img2img_mask_blur", 0)
    (picture,) = drawn(page)
    expected = np.asarray(Image.open(files["wide"]).resize((256, 128), Image.Resampling.NEAREST)).astype(int)
    changed = np.abs(picture - expected).max(axis=-1)
    assert changed[:, :128].max() == 0
    assert changed[:, 136:].mean() > 10
    page.click("#MD-i2i-regions .label-wrap")
    page.click("#MD-create-canvas-i2i")
    expect(page.locator("#MD-bbox-ref-i2i img")).to_be_visible()
    reference = page.locator("#MD-bbox-ref-i2i img")
    assert reference.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [128, 64]


def test_several_pictures_keep_their_sizes(page, files):
    set_number(page, "MD-i2i-upscaler-factor", 2)
    tab(page, "Batch")
    upload(page, "img2img_batch_upload", files["wide"], files["tall"])
    pictures = drawn(page)
    assert [picture.shape[:2] for picture in pictures][:2] == [(128, 256), (192, 128)]
