"""What the READMEs tell people to run works, and what they link to is there."""

import re

import pytest

from tools.readme import ROOT, draw, render_commands

READMES = ("README.md", "README_CN.md")


def test_the_commands_draw(webui, tmp_path):
    commands = render_commands()
    assert len(commands) >= 5
    pictures = draw(commands, tmp_path, "--steps", "2")
    assert pictures["panorama"].size == (2048, 256)
    assert pictures["upscaled"].size == (2048, 1024)
    assert pictures["hires"].size == (2048, 1024)


def test_both_languages_have_the_same_commands():
    assert render_commands("README_CN.md") == render_commands("README.md")


@pytest.mark.parametrize("readme", READMES)
def test_what_is_linked_exists(readme):
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / readme).read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (ROOT / link).exists()]
    assert not missing
