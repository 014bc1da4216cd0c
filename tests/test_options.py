"""The settings page: what controls start with, on the page and for API clients; how much the log tells."""

import logging

import gradio as gr
import pytest

from tile_utils.settings import TABS, TiledDiffusionSettings, TiledVAESettings

CHANGED = {
    "tiled_diffusion_method": "MultiDiffusion",
    "tiled_diffusion_tile_width": 64,
    "tiled_diffusion_overlap_t2i": 20,
    "tiled_diffusion_overlap_i2i": 12,
    "tiled_diffusion_tile_batch_size": 2,
    "tiled_diffusion_decoder_tile_size": 80,
}


@pytest.fixture
def options(webui, monkeypatch):
    from tile_host import options

    monkeypatch.setattr(webui.shared.opts, "data", dict(webui.shared.opts.data))
    options.add()
    return options


@pytest.fixture
def changed(options, webui):
    webui.shared.opts.data.update(CHANGED)
    return options


def test_each_option_is_on_the_page_of_its_section(options, webui):
    labels = webui.shared.opts.data_labels
    ours = {key: info for key, info in labels.items() if key.startswith("tiled_diffusion_")}
    assert len(ours) == 10
    assert {info.section for info in ours.values()} == {("tiled_diffusion", "Tiled Diffusion")}
    assert labels["tiled_diffusion_overlap_i2i"].default == 8
    assert labels["tiled_diffusion_tile_width"].component_args == {"minimum": 16, "maximum": 256, "step": 16}


@pytest.mark.parametrize(("tab", "overlap"), [("t2i", 20), ("i2i", 12)])
def test_the_page_starts_with_them(changed, tab, overlap):
    from tile_host import ui

    with gr.Blocks():
        panel = ui.TiledDiffusionPanel(tab, 1, lambda: None)
        vae = ui.TiledVAEPanel(tab)
    made = {component.elem_id: component.value for component in (*panel.components, *vae.components)}
    assert made[f"MD-{tab}-method"] == "MultiDiffusion"
    assert made[f"MD-{tab}-latent-tile-width"] == 64
    assert made[f"MD-{tab}-latent-tile-height"] == 96
    assert made[f"MD-{tab}-latent-tile-overlap"] == overlap
    assert made[f"MDV-{tab}-decoder-tile-size"] == 80
    assert made[f"MDV-{tab}-encoder-tile-size"] == 512  # automatic, without a GPU


@pytest.mark.parametrize("tab", ["t2i", "i2i"])
def test_the_hosts_file_of_start_values_keeps_no_two_controls_of_one_label(webui, tab):
    """It goes by label: Settings, Defaults, Apply would give the first region's values to all."""
    from tile_host import ui

    with gr.Blocks():
        components = [
            *ui.TiledDiffusionPanel(tab, 3, lambda: None).components,
            *ui.TiledVAEPanel(tab).components,
        ]
    kept = [made.label for made in components if not getattr(made, "do_not_save_to_config", False)]
    assert len(kept) > 10
    assert len(kept) == len(set(kept))


def test_regions_of_a_page_that_was_reloaded_after_the_install(options, webui, monkeypatch):
    """The host runs an extension's preload.py when it starts, not when it reloads its page."""
    monkeypatch.delattr(webui.shared.cmd_opts, "md_max_regions")
    assert options.max_regions() == 8


def test_absent_arguments_start_with_them(changed, webui):
    from tile_host import arguments

    settings = arguments.settings_of(TiledDiffusionSettings, object(), [True], "i2i")
    assert (settings.method, settings.tile_width, settings.overlap) == ("MultiDiffusion", 64, 12)
    always_on = webui.scripts.scripts_img2img.alwayson_scripts
    script = next(script for script in always_on if script.title() == "Tiled Diffusion")
    assert script.args_from_settings({"overlap": 16})[6:9] == [64, 96, 16]
    assert script.args_from_settings({})[8] == 12


def test_values_that_do_not_fit_are_told_and_not_used(options, webui, caplog):
    webui.shared.opts.data["tiled_diffusion_tile_width"] = "wide"
    with caplog.at_level(logging.WARNING):
        for tab in TABS:
            assert options.start_values(TiledDiffusionSettings, tab)["tile_width"] == 96
    assert (
        "Settings page: 'Latent tile width' is 'wide', a text; allowed is a number, 16 to 256. 96 is used."
        in caplog.text
    )


def test_the_logs_detail(options, webui):
    logger = logging.getLogger("Tiled VAE")
    webui.shared.opts.set("tiled_diffusion_log", "Warnings only")
    assert logger.level == logging.WARNING
    webui.shared.opts.set("tiled_diffusion_log", "A line for each pass")
    assert logger.level == logging.INFO
    assert len([handler for handler in logger.handlers if type(handler).__name__ == "_Console"]) == 1


def test_the_console_gets_lines_only_while_nobody_else_logs(options, monkeypatch, capsys):
    monkeypatch.setattr(logging.root, "handlers", [])
    logging.getLogger("Tiled VAE").info("a line")
    assert capsys.readouterr().out == "Tiled VAE: a line\n"
    monkeypatch.setattr(logging.root, "handlers", [logging.NullHandler()])
    logging.getLogger("Tiled VAE").info("a line")
    assert capsys.readouterr().out == ""


def test_the_start_values_do_not_change_what_a_picture_remembers(changed):
    from tile_utils import infotext

    text = infotext.to_infotext(TiledVAESettings(enabled=True))
    assert infotext.read_infotext(TiledVAESettings, text).values == {"enabled": True}
