"""The algorithms and helpers must be importable where there is no host."""

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
importlib.import_module({module!r})
"""
HOST = {"modules", "gradio", "ldm", "sgm", "k_diffusion", "tile_host"}


@pytest.mark.parametrize(
    ("package", "blocked"), [("tile_utils", HOST | {"tile_methods"}), ("tile_methods", HOST)]
)
def test_no_import_reaches_the_host(package, blocked):
    files = sorted((ROOT / package).rglob("*.py"))
    assert len(files) > 1
    for file in files:
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        program = PROGRAM.format(blocked=blocked, module=module)
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
