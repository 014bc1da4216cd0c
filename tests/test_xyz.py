"""Axes of the host's X/Y/Z plot: what they change, for one picture only, and what the picture remembers of it."""

import copy
import json
import logging
from contextlib import closing
from types import SimpleNamespace

import pytest

from tile_utils.settings import SettingsError

SMALL = {"enabled": True, "tile_width": 16, "tile_height": 16, "overlap": 4}


class AxisOption:
    """As the plot's own class takes its arguments."""

    def __init__(
        self, label, type, apply, format_value=None, confirm=None, cost=0.0, choices=None, prepare=None
    ):
        self.label, self.type, self.apply, self.confirm, self.choices = label, type, apply, confirm, choices


@pytest.fixture
def plot(webui, monkeypatch):
    """{label: option} of a plot to which the axes were added twice."""
    from modules import scripts
    from tile_host import xyz

    module = SimpleNamespace(AxisOption=AxisOption, axis_options=[AxisOption("Seed", int, None)])
    monkeypatch.setattr(scripts, "scripts_data", [SimpleNamespace(path="scripts/xyz_grid.py", module=module)])
    xyz.add_axes(2)
    xyz.add_axes(2)
    labels = [option.label for option in module.axis_options]
    assert len(labels) == len(set(labels))
    return {option.label: option for option in module.axis_options}


def cell(webui, p, *changes):
    """A picture as the plot draws it: on a copy. -> {infotext key: settings in it}"""
    from modules import infotext_utils

    own = copy.copy(p)
    for option, value in changes:
        option.apply(own, value, [value])
    text = webui.process(own).infotexts[0]
    params = infotext_utils.parse_generation_parameters(text)
    return {
        key: json.loads(value) for key, value in params.items() if key in ("Tiled Diffusion", "Tiled VAE")
    }


def test_an_axis_changes_one_picture_only(webui, plot):
    with closing(webui.prepare(SMALL)) as p:
        tall = plot["[Tiled Diffusion] Latent tile height"]
        seen = cell(webui, p, (tall, 32), (plot["[Tiled Diffusion] Method"], "MultiDiffusion"))
        assert seen["Tiled Diffusion"]["tile_height"] == 32
        assert seen["Tiled Diffusion"]["method"] == "MultiDiffusion"
        seen = cell(webui, p)
        assert seen["Tiled Diffusion"]["tile_height"] == 16
        assert "method" not in seen["Tiled Diffusion"]


def test_on_and_off(webui, plot):
    switch, vae = plot["[Tiled Diffusion] on or off"], plot["[Tiled VAE] on or off"]
    with closing(webui.prepare(SMALL)) as p:
        assert set(cell(webui, p, (vae, "on"))) == {"Tiled Diffusion", "Tiled VAE"}
        assert set(cell(webui, p, (switch, "off"))) == set()
        assert set(cell(webui, p, (switch, "on"))) == {"Tiled Diffusion"}


def test_sizes_speeds_and_region_seeds(webui, plot):
    region = {"enable": True, "x": 0, "y": 0, "w": 0.5, "h": 1, "seed": 3}
    values = {**SMALL, "enable_bbox_control": True, "draw_background": True, "regions": [region]}
    with closing(webui.prepare(values, vae={"enabled": True})) as p:
        seen = cell(
            webui,
            p,
            (plot["[Tiled Diffusion] Latent tile size"], 32),
            (plot["[Tiled Diffusion] Region 1, seed"], 77),
            (plot["[Tiled Diffusion] Region 2, seed"], 78),
            (plot["[Tiled VAE] Decoder"], "fast"),
        )
    diffusion = seen["Tiled Diffusion"]
    assert (diffusion["tile_width"], diffusion["tile_height"]) == (32, 32)
    assert diffusion["regions"][0]["seed"] == 77
    assert seen["Tiled VAE"]["fast_decoder"] is True


def test_types_and_choices(plot):
    assert plot["[Tiled Diffusion] Latent tile overlap"].type is int
    assert plot["[Tiled Diffusion] Method"].choices() == ["MultiDiffusion", "Mixture of Diffusers"]
    assert plot["[Tiled VAE] Encoder"].choices() == ["exact", "fast"]
    assert plot["[Tiled VAE] Decoder Tile Size"].choices is None


def test_values_are_checked_before_the_plot_begins(plot):
    with pytest.raises(SettingsError, match="'Latent tile width' is 5; allowed is 16 to 256"):
        plot["[Tiled Diffusion] Latent tile width"].confirm(None, [32, 5])
    with pytest.raises(SettingsError, match="'Fast Decoder' is 'quick'"):
        plot["[Tiled VAE] Decoder"].confirm(None, ["quick"])


def test_axes_of_a_script_that_is_off_are_told(webui, plot, caplog):
    with closing(webui.prepare()) as p, caplog.at_level(logging.WARNING):
        assert cell(webui, p, (plot["[Tiled Diffusion] Latent tile overlap"], 8)) == {}
    assert "It is switched off, so the plot's axes change nothing." in caplog.text


def test_a_host_without_the_plot(webui, monkeypatch):
    from modules import scripts
    from tile_host import xyz

    monkeypatch.setattr(scripts, "scripts_data", [])
    xyz.add_axes(2)


def test_the_hosts_own_plot_draws_with_our_axes(webui):
    """Through `run` of the X/Y/Z plot of the host: three pictures, each with its own settings, and the grid."""
    from modules import infotext_utils, scripts

    data = next(data for data in scripts.scripts_data if data.path.endswith("xyz_grid.py"))
    plot = data.script_class()
    plot.current_axis_options = data.module.axis_options
    labels = [option.label for option in data.module.axis_options]
    assert len([label for label in labels if label.startswith("[Tiled VAE]")]) == 5
    nothing = {f"{axis}_{part}": 0 if part == "type" else "" if part == "values" else []
               for axis in "xyz" for part in ("type", "values", "values_dropdown")}  # fmt: skip
    chosen = {"x_type": labels.index("[Tiled Diffusion] Latent tile size"), "x_values": "16, 32"}
    switches = [
        "draw_legend",
        "include_sub_grids",
        "no_fixed_seeds",
        "vary_seeds_x",
        "vary_seeds_y",
        "vary_seeds_z",
    ]
    rest = {**dict.fromkeys(switches, False), "include_lone_images": True, "margin_size": 0, "csv_mode": True}
    p = webui.prepare(SMALL)
    webui.shared.state.begin(job="test")
    try:
        processed = plot.run(p, **{**nothing, **chosen}, **rest)
    finally:
        webui.shared.state.end()
        p.close()
    widths = []
    for text in processed.infotexts[1:]:
        params = infotext_utils.parse_generation_parameters(text)
        widths.append(json.loads(params["Tiled Diffusion"])["tile_width"])
    assert widths == [16, 32]
    assert not hasattr(p, "tiled_settings_changes")
