"""`pip install .` for Python: what the wheel holds, and that it draws where this repository is not."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
DRAWING = """
import sys
from pathlib import Path
import tile_diffusers, tile_methods.vae_context, tile_utils
assert Path(tile_diffusers.__file__).is_relative_to(sys.prefix), tile_diffusers.__file__
sys.path.append({tests!r})  # the tiny pipelines
import diffusers_models as models
pipe = models.sd()
with tile_diffusers.tiled_diffusion(pipe, tile=64, overlap=16), tile_diffusers.tiled_vae(pipe.vae, 4):
    assert pipe("sea", width=128, height=64, num_inference_steps=2).images[0].size == (128, 64)
print("drawn")
"""


def run(*command, **options):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, env=environment, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_holds_three_packages_and_draws_on_its_own(tmp_path):
    source = tmp_path / "source"
    run("git", "clone", "-q", "--no-hardlinks", ROOT, source)
    for line in run("git", "-C", ROOT, "status", "--porcelain", "-uall").splitlines():
        changed = line[3:]  # what is not committed yet belongs to it too
        if (ROOT / changed).is_file():
            (source / changed).parent.mkdir(parents=True, exist_ok=True)
            (source / changed).write_bytes((ROOT / changed).read_bytes())
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, source)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names if "dist-info" not in name} == {
        "tile_utils",
        "tile_methods",
        "tile_diffusers",
    }
    assert {"tile_diffusers/py.typed", "tile_methods/vae/exact.py"} <= set(names)
    fresh = tmp_path / "fresh"
    venv.create(fresh)
    packages = next(fresh.glob("lib/python*/site-packages"))
    run(*pip, "install", "-q", "--no-deps", "--no-index", "--target", packages, wheel)
    ours = next(path for path in sys.path if path.endswith("site-packages"))
    (packages / "host.pth").write_text(ours + "\n")  # torch and diffusers
    out = run(fresh / "bin/python", "-c", DRAWING.format(tests=str(ROOT / "tests")), cwd=tmp_path)
    assert out.strip().endswith("drawn")
