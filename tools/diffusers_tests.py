"""The tests of `diffusers` itself, with tiled_diffusion of one tile and tiled_vae forced on every call of a pipeline.

.venv/bin/python -m tools.diffusers_tests CHECKOUT tests/pipelines/stable_diffusion [...]

CHECKOUT is its repository at a release (git clone --branch v0.42.1 https://github.com/huggingface/diffusers). The tests
run twice, as they are and forced; told are the numbers, what differs, and how many calls were forced. No hub is needed:
the tiny tokenizers and the tiny T5 are stood in for, so tests that compare with known pictures fail both times.
"""

from __future__ import annotations

import argparse
import collections
import functools
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TILE = 1 << 14
"""Pixels, more than any of their pictures has."""
VAE_TILE = 4
RESULTS, FORCED = "TILED_RESULTS", "TILED_FORCED"
outcomes: dict[str, str] = {}
calls: collections.Counter[str] = collections.Counter()


def stand_in() -> None:
    """Tiny models of the hub's test organisation, made here."""
    import transformers

    place = ROOT / "tests/diffusers_models.py"  # their checkout has a package of that name too
    spec = importlib.util.spec_from_file_location("tiled_diffusers_models", place)
    diffusers_models = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(diffusers_models)

    def local(kind, make):
        original = kind.from_pretrained

        @functools.wraps(original)
        def from_pretrained(name, *args, **kwargs):
            if str(name).startswith("hf-internal-testing/"):
                return make()
            return original(name, *args, **kwargs)

        kind.from_pretrained = staticmethod(from_pretrained)

    for name in ("CLIPTokenizer", "AutoTokenizer", "T5Tokenizer", "T5TokenizerFast"):
        if hasattr(transformers, name):
            local(getattr(transformers, name), diffusers_models.tokenizer)
    local(transformers.T5EncoderModel, lambda: diffusers_models.t5()["text_encoder_2"])


def force() -> None:
    """Every pipeline that is made draws tiled."""
    from diffusers import DiffusionPipeline

    from tile_diffusers import tiled_diffusion, tiled_vae
    from tile_utils.settings import SettingsError

    done = set()

    def forced(original):
        @functools.wraps(original)
        def call(self, *args, **kwargs):
            with ExitStack() as stack:
                try:
                    stack.enter_context(tiled_diffusion(self, tile=TILE, overlap=0))
                    calls["tiled"] += 1
                except SettingsError as error:
                    calls[str(error)] += 1
                vae = getattr(self, "vae", None)
                if hasattr(vae, "encoder") and hasattr(vae, "decoder"):
                    stack.enter_context(tiled_vae(vae, VAE_TILE))
                    calls["tiled VAE"] += 1
                return original(self, *args, **kwargs)

        return call

    register = DiffusionPipeline.register_modules

    def register_modules(self, **parts):
        owner = next((kind for kind in type(self).__mro__ if "__call__" in vars(kind)), None)
        if owner is not None and owner not in done and owner is not object:
            done.add(owner)
            owner.__call__ = forced(owner.__call__)
        register(self, **parts)

    DiffusionPipeline.register_modules = register_modules


def pytest_configure(config):
    """As a plugin of their pytest."""
    stand_in()
    if os.environ[FORCED] == "1":
        force()


def pytest_runtest_logreport(report):
    if report.when == "call" or (report.when == "setup" and report.outcome != "passed"):
        outcomes[report.nodeid] = report.outcome


def pytest_sessionfinish():
    Path(os.environ[RESULTS]).write_text(json.dumps([outcomes, calls]))


def run(checkout: Path, arguments: list[str], forced: bool) -> tuple[dict[str, str], dict[str, int]]:
    """(the outcome of each test, how often what was forced)"""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder, "results.json")
        paths = os.pathsep.join(map(str, (checkout / "src", checkout, ROOT)))
        environment = {
            **os.environ,
            "PYTHONPATH": paths,
            "HF_HUB_OFFLINE": "1",
            RESULTS: str(results),
            FORCED: str(int(forced)),
        }
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "--tb=short",
            "-p",
            "tools.diffusers_tests",
            *arguments,
        ]
        command += ["-p", "no:cacheprovider"]
        with open(f"diffusers-tests-{'forced' if forced else 'plain'}.log", "w") as log:
            subprocess.run(command, cwd=checkout, env=environment, check=False, stdout=log, stderr=log)
        return json.loads(results.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkout", type=Path)
    options, arguments = parser.parse_known_args()
    plain, _ = run(options.checkout.resolve(), arguments, False)
    forced, counts = run(options.checkout.resolve(), arguments, True)
    for name, result in (("as they are", plain), ("forced", forced)):
        print(name, dict(collections.Counter(result.values())))
    for test in sorted(plain.keys() | forced.keys()):
        if plain.get(test) != forced.get(test):
            print(f"{test}: {plain.get(test)} -> {forced.get(test)}")
    for name, count in sorted(counts.items(), key=lambda pair: -pair[1]):
        print(f"{count} calls: {name}")


if __name__ == "__main__":
    main()
