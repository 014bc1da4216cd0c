"""Imports go downward: the algorithms and helpers work where there is no host, which has one door."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROGRAM = """
import importlib, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ImportError("host import: " + name)
sys.meta_path.insert(0, Blocked())
for module in {modules!r}:
    importlib.import_module(module)
"""
HOST = {"modules", "gradio", "ldm", "sgm", "k_diffusion", "tile_host"}


@pytest.mark.parametrize(
    ("package", "blocked"),
    [
        ("tile_utils", HOST | {"tile_methods", "tile_diffusers"}),
        ("tile_methods", HOST | {"tile_diffusers"}),
        ("tile_diffusers", HOST),
    ],
)
def test_no_import_reaches_the_host(package, blocked):
    files = sorted((ROOT / package).rglob("*.py"))
    assert len(files) > 1
    modules = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]
    program = PROGRAM.format(blocked=blocked, modules=modules)
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_two_doors_do_not_know_each_other():
    for file in sorted((ROOT / "tile_host").rglob("*.py")):
        assert "tile_diffusers" not in {name.partition(".")[0] for name in imports(file)}, file


PAGE = {"options.py", "xyz.py"}
"""What is on the host's page beside `ui*.py`: the settings page's options, the plot's axes."""


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module


def test_only_the_hosts_and_the_page_import_the_host():
    files = sorted((ROOT / "tile_host").rglob("*.py"))
    assert len(files) > 20
    for file in files:
        if "hosts" in file.parts or file.name in PAGE or file.name.startswith("ui"):
            continue
        assert {name.partition(".")[0] for name in imports(file)}.isdisjoint(HOST - {"tile_host"}), file


def test_a_host_knows_nothing_of_what_is_done_with_it():
    """An adapter needs the protocol and what is below: nothing that stands on the door."""
    allowed = {"tile_host.rows"}
    for file in sorted((ROOT / "tile_host/hosts").rglob("*.py")):
        ours = {name for name in imports(file) if name.startswith("tile_host")}
        assert {name for name in ours if not name.startswith("tile_host.hosts")} <= allowed, file
