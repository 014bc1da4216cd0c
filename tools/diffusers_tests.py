"""The tests of `diffusers` itself, with tiled_diffusion of one tile and tiled_vae forced on every call of a pipeline.

.venv/bin/python -m tools.diffusers_tests CHECKOUT tests/pipelines/stable_diffusion [...] [--keep FOLDER]

CHECKOUT is its repository at a release (git clone --branch v0.42.1 https://github.com/huggingface/diffusers); what is
tested is the installed package. Each file of tests runs twice, as it is and forced; told are the numbers, what differs,
how many calls were forced, and how far the pictures of all calls differ. What lies in FOLDER from an earlier run is not
run again. No hub is needed: the tiny tokenizers and the tiny T5 are stood in for, so tests that compare with known
pictures fail both times; whether theirs are the same as each other is told all the same.
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
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import diffusers  # now: later their conftest.py puts their source before the installed one
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
TILE = 1 << 14
"""Pixels, more than any of their pictures has."""
VAE_TILE = 4
SAMPLES = 256
"""Values of each picture that are kept."""
SAME = 1e-3
"""Pictures, of 0 to 1, that differ by no more are the same."""
RESULTS, FORCED = "TILED_RESULTS", "TILED_FORCED"
Record = dict[str, Any]
record: Record = {"outcomes": {}, "pictures": {}, "calls": collections.Counter()}


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
    local(transformers.AutoConfig, lambda: diffusers_models.t5()["text_encoder_2"].config)


def tiled(pipe: Any) -> ExitStack:
    """What makes a pipeline draw tiled."""
    from tile_diffusers import tiled_diffusion, tiled_vae
    from tile_utils.settings import SettingsError

    stack = ExitStack()
    try:
        stack.enter_context(tiled_diffusion(pipe, tile=TILE, overlap=0))
        record["calls"]["tiled"] += 1
    except SettingsError as error:
        record["calls"][str(error)] += 1
    vae = getattr(pipe, "vae", None)
    if hasattr(vae, "encoder") and hasattr(vae, "decoder"):
        stack.enter_context(tiled_vae(vae, VAE_TILE))
        record["calls"]["tiled VAE"] += 1
    return stack


def samples(out: Any) -> list[float]:
    """Some values of the pictures that a pipeline gives, of 0 to 1."""
    first = out[0]
    if isinstance(first, list):
        first = np.stack([np.asarray(picture) / 255 for picture in first])
    values = np.asarray(first.detach().float() if hasattr(first, "detach") else first, dtype=float).reshape(
        -1
    )
    return values[:: len(values) // SAMPLES + 1].tolist()


def watch(around: Callable[[Any], ExitStack]) -> None:
    """Every pipeline that is made draws within `around(pipeline)`, and its pictures are written down."""
    done = set()

    def watched(original):
        @functools.wraps(original)
        def call(self, *args, **kwargs):
            with around(self):
                out = original(self, *args, **kwargs)
            test = os.environ["PYTEST_CURRENT_TEST"].rpartition(" (")[0]
            record["pictures"].setdefault(test, []).append(samples(out))
            return out

        return call

    register = diffusers.DiffusionPipeline.register_modules

    def register_modules(self, **parts):
        owner = next((kind for kind in type(self).__mro__ if "__call__" in vars(kind)), None)
        if owner is not None and owner not in done and owner is not object:
            done.add(owner)
            owner.__call__ = watched(owner.__call__)
        register(self, **parts)

    diffusers.DiffusionPipeline.register_modules = register_modules


def pytest_configure(config):
    """As a plugin of their pytest."""
    stand_in()
    watch(tiled if os.environ[FORCED] == "1" else lambda pipe: ExitStack())


def pytest_runtest_logreport(report):
    if report.when == "call" or (report.when == "setup" and report.outcome != "passed"):
        record["outcomes"][report.nodeid] = report.outcome


def pytest_sessionfinish():
    Path(os.environ[RESULTS]).write_text(json.dumps(record))


def run(checkout: Path, file: str, forced: bool, keep: Path) -> Record:
    """What a file of tests gives, if it has not been run yet."""
    way = "forced" if forced else "plain"
    results = keep / f"{Path(file).stem}-{way}.json"
    if not results.exists():
        paths = [str(checkout), str(ROOT), os.environ.get("PYTHONPATH", "")]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "HF_HUB_OFFLINE": "1",
            RESULTS: str(results),
            FORCED: str(int(forced)),
        }
        options = ["-q", "--tb=short", "-p", "tools.diffusers_tests", "-p", "no:cacheprovider"]
        with open(results.with_suffix(".log"), "w") as log:
            subprocess.run(
                [sys.executable, "-m", "pytest", *options, file],
                cwd=checkout,
                env=environment,
                check=False,
                stdout=log,
                stderr=log,
            )
    return json.loads(results.read_text())


def apart(plain: Record, forced: Record) -> Iterator[tuple[str, float]]:
    """(test, largest difference of a picture) of all pictures that were drawn both times."""
    for test, pictures in plain["pictures"].items():
        for one, other in zip(pictures, forced["pictures"].get(test, [])):
            same = len(one) == len(other)
            yield test, float(np.abs(np.subtract(one, other)).max(initial=0)) if same else float("inf")


def tell(file: str, plain: Record, forced: Record) -> None:
    for way, each in (("as they are", plain), ("forced", forced)):
        counts = dict(collections.Counter(each["outcomes"].values()))
        print(f"{file}, {way}: {counts}, {sum(map(len, each['pictures'].values()))} calls drew")
    for test in sorted(plain["outcomes"].keys() | forced["outcomes"].keys()):
        outcomes = [each["outcomes"].get(test) for each in (plain, forced)]
        if outcomes[0] != outcomes[1]:
            print(f"  {test}: {outcomes[0]} -> {outcomes[1]}")
    differences = list(apart(plain, forced))
    for test, difference in differences:
        if not difference <= SAME:
            print(f"  {test}: a picture differs by {difference:.1e}")
    same = [difference for _, difference in differences if difference <= SAME]
    print(
        f"  {len(same)} of {len(differences)} pictures are the same, to {max(same, default=0):.1e}",
        flush=True,
    )


def files_of(checkout: Path, names: list[str]) -> list[str]:
    """The files of tests that files and folders of a checkout stand for."""
    places = [checkout / name for name in names]
    files = [
        file for place in places for file in (sorted(place.rglob("test_*.py")) if place.is_dir() else [place])
    ]
    return [str(file.relative_to(checkout)) for file in files]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkout", type=Path)
    parser.add_argument("tests", nargs="+")
    parser.add_argument("--keep", type=Path, default=ROOT / "outputs/diffusers-tests")
    options = parser.parse_args()
    checkout, keep = options.checkout.resolve(), options.keep.resolve()
    keep.mkdir(parents=True, exist_ok=True)
    print(f"diffusers {diffusers.__version__}")
    calls: collections.Counter[str] = collections.Counter()
    for file in files_of(checkout, options.tests):
        plain, forced = (run(checkout, file, way, keep) for way in (False, True))
        calls.update(forced["calls"])
        tell(file, plain, forced)
    for name, count in sorted(calls.items(), key=lambda pair: -pair[1]):
        print(f"{count} calls: {name}")


if __name__ == "__main__":
    main()
