"""What the page remembers: pictures pasted back, the last layout across a reload; and what it tells about sizes."""

import json

import pytest
from playwright.sync_api import expect

from tile_utils.settings import (
    RegionSettings,
    TiledDiffusionSettings,
    TiledVAESettings,
    control_fields,
    control_of,
)
from tools.page import open_accordion, open_page, running_page, set_number

PROMPT = 'red "balloon", <b>: {x}, Steps: 3'
READ = """ids => Object.fromEntries(ids.map(id => {
    const of = (what) => document.getElementById(id)?.querySelector(what);
    const [box, number, text] = [of('input[type=checkbox]'), of('input[type=number]'), of('textarea, input')];
    return [id, box ? box.checked : number ? Number(number.value) : text?.value];
}))"""


def controls(page, tab):
    """{element id: value} of every control that a tab shows, two regions included."""
    ids = []
    for cls in (TiledDiffusionSettings, TiledVAESettings):
        for spec in control_fields(cls):
            if tab in control_of(spec).tabs:
                suffix = "-checkbox" if spec.name == "enabled" else ""
                ids.append(control_of(spec).elem_id.format(tab=tab) + suffix)
    for spec in control_fields(RegionSettings):
        ids += [control_of(spec).elem_id.format(tab=tab, i=i) for i in (1, 2)]
    return page.evaluate(READ, ids)


def paste(page, text, host="txt2img"):
    page.fill(f"#{host}_prompt textarea", text)
    page.click(f"#{host}_paste")


def set_up(page):
    """Both scripts on, sizes changed, the second region on."""
    open_accordion(page, "MD-t2i-enabled")
    for name, value in (("width", 32), ("height", 16), ("overlap", 12), ("batch-size", 2)):
        set_number(page, f"MD-t2i-latent-tile-{name}", value)
    open_accordion(page, "MDV-t2i-enabled")
    page.check("#MDV-t2i-fast-encoder input")
    set_number(page, "MDV-t2i-decoder-tile-size", 80)
    page.click("#MD-t2i-regions .label-wrap")
    page.check("#MD-t2i-enable-bbox-control input")
    page.check("#MD-t2i-draw-background input")
    page.click("#MD-t2i-2-region .label-wrap")
    page.check("#MD-bbox-t2i-2-enable input")
    page.click("#MD-t2i-2-blend-mode input")
    page.locator("ul.options li", has_text="Foreground").first.click()
    page.fill("#MD-t2i-2-prompt textarea, #MD-t2i-2-prompt input", PROMPT)
    for name, value in zip("xywh", (0.1, 0.25, 0.5, 0.5)):
        set_number(page, f"MD-t2i-2-{name}", value)
    set_number(page, "MD-t2i-2-seed", 77)


def box(page, tab):
    """The box of the second region on the reference image, in fractions of it."""
    shown = page.locator(f"#MD-bbox-ref-{tab} .md-region:visible")
    expect(shown).to_have_count(1)
    return page.evaluate(
        """tab => {
            const image = document.querySelector(`#MD-bbox-ref-${tab} .md-regions`).getBoundingClientRect();
            const box = document.querySelector(`#MD-bbox-ref-${tab} .md-region:not([hidden])`).getBoundingClientRect();
            return [(box.x - image.x) / image.width, (box.y - image.y) / image.height,
                    box.width / image.width, box.height / image.height];
        }""",
        tab,
    )


def test_generate_reload_paste(context, address):
    page = open_page(context, address)
    set_up(page)
    set_number(page, "txt2img_steps", 1)
    before = controls(page, "t2i")
    assert before["MD-t2i-2-prompt"] == PROMPT
    page.click("#txt2img_generate")
    page.wait_for_selector("#txt2img_gallery img")
    source = page.locator("#txt2img_gallery img").first.get_attribute("src")
    text = json.loads(page.locator("#generation_info_txt2img textarea").input_value())["infotexts"][0]
    picture = page.request.get(source).body()
    page.evaluate("localStorage.clear()")
    page.close()

    page = open_page(context, address)
    assert controls(page, "t2i")["MD-t2i-2-prompt"] == ""
    paste(page, text)
    expect(page.locator("#MD-t2i-2-prompt").locator("textarea, input")).to_have_value(PROMPT)
    page.wait_for_timeout(1000)
    assert controls(page, "t2i") == before
    page.click("#MD-t2i-regions .label-wrap")
    assert box(page, "t2i") == pytest.approx([0.1, 0.25, 0.5, 0.5], abs=0.01)

    page.set_input_files(
        "#pnginfo_image input[type=file]", {"name": "p.png", "mimeType": "image/png", "buffer": picture}
    )
    page.wait_for_function(
        "document.querySelector('#pnginfo_generation_info textarea')?.value.includes('77')"
    )
    page.locator("#tabs > .tab-nav button", has_text="PNG Info").click()
    page.locator("#tab_pnginfo button", has_text="img2img").click()
    expect(page.locator("#MD-i2i-2-prompt").locator("textarea, input")).to_have_value(PROMPT)
    page.wait_for_timeout(1000)
    other = controls(page, "i2i")
    same = {name: value for name, value in before.items() if name.replace("t2i", "i2i") in other}
    assert {name: other[name.replace("t2i", "i2i")] for name in same} == same
    assert len(same) > 30

    paste(page, "sea\nSteps: 3, Sampler: Euler, CFG scale: 4, Seed: 1, Size: 256x256", "img2img")
    expect(page.locator("#MD-i2i-enabled-visible-checkbox")).not_to_be_checked()
    expect(page.locator("#MDV-i2i-enabled-visible-checkbox")).not_to_be_checked()
    assert page.errors == []


def test_pictures_that_cannot_be_read_whole(context, address):
    page = open_page(context, address)
    start = "sea\nSteps: 3, Sampler: Euler, CFG scale: 4, Seed: 1, Size: 256x256, Tiled Diffusion: "
    original = {"Method": "MultiDiffusion", "Tile tile width": 64, "Tile Overlap": 32, "Tile batch size": 7}
    paste(page, f"{start}{original}, Version: v1.6.0")
    expect(page.locator("#MD-t2i-enabled-visible-checkbox")).to_be_checked()
    expect(page.locator("#MD-t2i-method input")).to_have_value("MultiDiffusion")
    expect(page.locator("#MD-t2i-latent-tile-width input[type=number]")).to_have_value("64")
    expect(page.locator("#MD-t2i-latent-tile-batch-size input[type=number]")).to_have_value("7")
    newer = json.dumps(json.dumps({"enabled": True, "tile_width": 128, "overlap": 999, "wrap": True}))
    paste(page, f"{start}{newer}")
    expect(
        page.get_by_text("'Latent tile overlap' is 999; allowed is 0 to 256; 'wrap' is not known here")
    ).to_be_visible()
    expect(page.locator("#MD-t2i-latent-tile-width input[type=number]")).to_have_value("128")
    assert page.errors == []


def test_the_last_layout_survives_a_reload_until_it_is_cleared(context, address):
    page = open_page(context, address)
    set_up(page)
    before = controls(page, "t2i")
    page.wait_for_function("localStorage.getItem('tiled-diffusion/regions/t2i')?.includes('77')")
    page.close()

    page = open_page(context, address)
    expect(page.locator("#MD-t2i-2-prompt").locator("textarea, input")).to_have_value(PROMPT)
    page.wait_for_timeout(1000)
    after = controls(page, "t2i")
    of_regions = {name for name in before if name.startswith(("MD-t2i-1", "MD-t2i-2", "MD-bbox"))}
    assert {name: after[name] for name in of_regions} == {name: before[name] for name in of_regions}
    assert after["MD-t2i-enable-bbox-control"] is True
    assert after["MD-t2i-enabled-checkbox"] is False  # the layout, not whether it is drawn
    assert page.evaluate("localStorage.getItem('tiled-diffusion/regions/i2i')") is None
    open_accordion(page, "MD-t2i-enabled")
    page.click("#MD-t2i-regions .label-wrap")
    assert box(page, "t2i") == pytest.approx([0.1, 0.25, 0.5, 0.5], abs=0.01)
    page.click("#MD-t2i-2-region .label-wrap")
    page.uncheck("#MD-bbox-t2i-2-enable input")
    page.fill("#MD-t2i-2-prompt textarea, #MD-t2i-2-prompt input", "")
    page.wait_for_function("localStorage.getItem('tiled-diffusion/regions/t2i') === null")
    assert page.errors == []


def test_the_line_follows_the_page_and_recommend_sets_the_sizes(context, address):
    page = open_page(context, address)
    line = page.locator("#MD-t2i-plan-line .md-plan")
    open_accordion(page, "MD-t2i-enabled")
    set_number(page, "txt2img_width", 1024)
    set_number(page, "txt2img_height", 1024)
    expect(line).to_contain_text(
        "1024×1024 pixels: 2×2 tiles of 768×768, 1 batch a step, 4 times the work of one tile"
    )
    set_number(page, "MD-t2i-latent-tile-width", 32)
    set_number(page, "MD-t2i-latent-tile-height", 32)
    expect(line).to_contain_text("⚠ Overlap 48 leaves no step from tile to tile; 28 is used.")
    page.check("#MD-t2i-overwrite-image-size input")
    set_number(page, "MD-overwrite-width-t2i", 4096)
    expect(line).to_contain_text("4096×1024 pixels")
    page.click("#MD-t2i-recommend")
    expect(page.locator("#MD-t2i-latent-tile-width input[type=number]")).to_have_value("96")
    expect(page.locator("#MD-t2i-shift-tiles input")).to_be_checked()
    expect(line).to_contain_text("7×2 tiles of 768×768, elsewhere at every step")
    expect(line).not_to_contain_text("⚠")
    assert page.errors == []


def test_the_settings_page_reaches_the_controls_the_boxes_and_the_language(checkpoint, context, tmp_path):
    kept = tmp_path / "config.json"
    kept.write_text(
        json.dumps(
            {
                "localization": "zh_CN",
                "tiled_diffusion_tile_width": 64,
                "tiled_diffusion_overlap_i2i": 20,
                "tiled_diffusion_region_colours": "rgb(1,2,3) nonsense",
            }
        )
    )
    with running_page(checkpoint, "--ui-settings-file", str(kept)) as address:
        page = open_page(context, address)
        values = [controls(page, tab) for tab in ("t2i", "i2i")]
        assert values[0]["MD-t2i-latent-tile-width"] == values[1]["MD-i2i-latent-tile-width"] == 64
        assert values[0]["MD-t2i-latent-tile-overlap"] == 48
        assert values[1]["MD-i2i-latent-tile-overlap"] == 20
        open_accordion(page, "MD-t2i-enabled")
        expect(page.locator("#MD-t2i-recommend")).to_have_text("推荐设置")
        expect(page.locator("#MD-t2i-latent-tile-width")).to_contain_text("潜空间分块宽度")
        assert "潜空间像素" in page.locator("#MD-t2i-latent-tile-width").get_attribute("title")
        page.click("#MD-t2i-regions .label-wrap")
        page.click("#MD-t2i-1-region .label-wrap")
        page.check("#MD-bbox-t2i-1-enable input")  # its canvas appears by itself
        expect(page.locator("#MD-bbox-ref-t2i .md-region")).to_have_css("border-top-color", "rgb(1, 2, 3)")
        assert page.errors == []
