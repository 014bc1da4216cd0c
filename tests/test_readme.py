"""What the READMEs tell people to run works, and what they link to is there."""

import json
import re

import pytest

from tools.readme import ROOT, draw, render_commands, shell_blocks

READMES = ("README.md", "README_CN.md")


def test_the_commands_draw(webui, tmp_path):
    commands = render_commands()
    assert len(commands) >= 5
    pictures = draw(commands, tmp_path, "--steps", "2")
    assert pictures["panorama"].size == (2048, 256)
    assert pictures["upscaled"].size == (2048, 1024)
    assert pictures["hires"].size == (2048, 1024)


@pytest.mark.parametrize("readme", READMES)
def test_commands_begin_with_a_program_that_is_there(readme):
    """Debian has no `python`; in `.venv`, and in the WebUI's, it is there."""
    starts = re.findall(r"^(\S+) ", "".join(shell_blocks(readme)), re.MULTILINE)
    assert set(starts) == {"git", "python3", ".venv/bin/python", "../../venv/bin/python"}


def test_both_languages_have_the_same_commands():
    assert render_commands("README_CN.md") == render_commands("README.md")


@pytest.mark.parametrize("readme", READMES)
def test_what_is_linked_exists(readme):
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / readme).read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (ROOT / link).exists()]
    assert not missing


def test_chinese_labels_stand_beside_the_english_ones_at_first():
    """Who chose Chinese sees only the Chinese label on the page, unless that one has the English name in it."""
    texts = json.loads((ROOT / "localizations/zh_CN.json").read_text(encoding="utf-8"))
    readme = " ".join((ROOT / "README_CN.md").read_text(encoding="utf-8").split())
    labels = set(re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", readme)) & texts.keys()
    labels = {label for label in labels if label not in texts[label]}
    assert len(labels) >= 13
    late = {label for label in labels if not readme.partition(f"*{label}*")[0].endswith(f"{texts[label]} (")}
    assert not late
