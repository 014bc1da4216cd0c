"""`python3 -m miniwebui` (the page), `… render` and `… test`: set up once, then do it. Standard library only."""

from __future__ import annotations

import os
import subprocess
import sys

from miniwebui import environment

USAGE = "usage: python3 -m miniwebui [--port N] [--nowebui] | render --prompt … --out FILE | test [pytest options]"

SHARED_OUT = ["-n", "auto", "--dist", "loadfile", "--no-loadscope-reorder", "--durations", "20"]


def test(options: list[str]) -> int:
    """Lint, formatting, types, and every test; the first that fails decides the exit status.

    Without options of pytest's, files of tests are shared out over the processor's cores, the browser's first: a few
    tests there take longer than most files.
    """
    environment.ensure(for_tests=True)
    python = [str(environment.PYTHON), "-m"]
    checks = [
        [*python, "ruff", "check", "."],
        [*python, "ruff", "format", "--check", "."],
        [*python, "mypy"],
        ["node", "--test", *map(str, sorted((environment.ROOT / "tests/js").glob("*.mjs")))],
        [*python, "pytest", *(options or SHARED_OUT)],
    ]
    # several processes with a thread a core each are ten times slower
    one_core = {**os.environ, "OMP_NUM_THREADS": "1"}
    for check in checks:
        print("$", " ".join(check), flush=True)
        code = subprocess.run(check, cwd=environment.ROOT, env=one_core).returncode
        if code:
            return code
    return 0


def inside(command: str, options: list[str]) -> int:
    """Hand a command over to the WebUI inside of the environment."""
    environment.ensure()
    words = [str(environment.PYTHON), str(environment.HERE / "webui.py"), command, *options]
    if os.name != "nt":  # there a program that takes another's place leaves the console to the prompt
        sys.stdout.flush()
        os.execv(words[0], words)  # in this process: a signal that ends it ends the server
    return subprocess.run(words).returncode


def main(arguments: list[str]) -> int:
    command = "page" if not arguments or arguments[0].startswith("-") else arguments[0]
    options = arguments if command == "page" else arguments[1:]
    if command not in ("page", "render", "test"):
        print(USAGE, file=sys.stderr)
        return 2
    try:
        return test(options) if command == "test" else inside(command, options)
    except environment.SetupError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
