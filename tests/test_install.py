"""install.py: says what is wrong in one sentence each, installs nothing, and never fails."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import install

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "host", [None, "v1.10.1", "v1.11.0", "<none>", "1.10.0-RC", "f2.0.1v1.10.1-previous"]
)
@pytest.mark.parametrize("torch", ["2.1.0", "2.1.2+cu121", "2.13.0.dev2026"])
def test_nothing_to_say(tmp_path, host, torch):
    assert list(install.problems(host, torch, tmp_path)) == []


@pytest.mark.parametrize(
    ("host", "torch", "sentence"),
    [
        ("v1.9.4", "2.1.2", "this WebUI is v1.9.4; 1.10 or newer is needed"),
        ("v1.10.1", "2.0.1+cu118", "torch is 2.0.1+cu118; 2.1 or newer is needed"),
        ("v1.10.1", None, "torch is not installed"),
    ],
)
def test_versions_are_named(tmp_path, host, torch, sentence):
    (told,) = install.problems(host, torch, tmp_path)
    assert told.startswith(sentence)


def test_the_original_is_found_by_name_and_by_what_it_holds(tmp_path):
    (tmp_path / "multidiffusion-upscaler-for-automatic1111").mkdir()
    renamed = tmp_path / "my-tiles" / "scripts"
    renamed.mkdir(parents=True)
    (renamed / "tilediffusion.py").touch()
    (tmp_path / "another").mkdir()
    (tmp_path / "a-file").touch()
    told = list(install.problems("v1.10.1", "2.4.0", tmp_path))
    assert len(told) == 2
    assert "lies in multidiffusion-upscaler-for-automatic1111; delete that folder or disable it" in told[0]
    assert "lies in my-tiles" in told[1]


def test_it_runs_on_its_own_as_the_host_runs_it():
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "miniwebui")}
    done = subprocess.run(
        [sys.executable, str(ROOT / "install.py")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_nothing_is_needed_that_the_host_lacks():
    """Every import of the extension is the standard library, the host, or what the host installs; what only one
    host has is imported in the file about that host."""
    import ast

    known = {
        "torch",
        "numpy",
        "PIL",
        "gradio",
        "tqdm",
        "psutil",
        "modules",
        "tile_host",
        "tile_methods",
        "tile_utils",
    }
    of_one_host = {"of_forge.py": {"backend"}, "of_reforge.py": {"ldm_patched", "modules_forge"}}
    for folder in ("scripts", "tile_host", "tile_methods", "tile_utils"):
        for path in (ROOT / folder).rglob("*.py"):
            its_own = of_one_host.get(path.name, set())
            for node in ast.walk(ast.parse(path.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                roots = {name.partition(".")[0] for name in names}
                assert roots <= known | its_own | sys.stdlib_module_names, (path.name, roots)


def test_chinese_texts_cover_the_page(webui):
    """Every label, button, choice and tooltip that the extension puts on the page, and its options."""
    import gradio as gr

    from tile_host import options, ui

    texts = json.loads((ROOT / "localizations/zh_CN.json").read_text(encoding="utf-8"))
    with gr.Blocks() as blocks:
        for tab in ("t2i", "i2i"):
            ui.TiledDiffusionPanel(tab, 16, lambda: None)
            ui.TiledVAEPanel(tab)
    wanted = {found for component in blocks.get_config_file()["components"] for found in shown(component)}
    for _, option in options.all_options():
        wanted |= {option.label, *(option.component_args or {}).get("choices", [])}
        wanted |= set(re.findall("<span class='info'>(.*?)</span>", option.comment_after))
    wanted = {text for text in wanted if text and text.isascii() and len(text) > 1}
    assert len(wanted) > 80
    same = {"MultiDiffusion", "Mixture of Diffusers", "None"}  # names, not words
    assert wanted - texts.keys() - same == set()
    assert [text for text in texts.values() if not text] == []


def shown(component):
    """The texts of a component that a person sees."""
    props = component["props"]
    yield props.get("webui_tooltip")
    if component["type"] not in ("textbox", "html", "form", "row", "column", "group") or props.get("visible"):
        yield props.get("label")
    if component["type"] == "button":
        yield props.get("value")
    if component["type"] == "dropdown" and "upscaler" not in str(props.get("elem_id")):
        yield from props["choices"]
