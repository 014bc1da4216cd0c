"""`python -m miniwebui render …` and `… test`: set up once, then do it. Standard library only."""

from __future__ import annotations

import subprocess
import sys

from miniwebui import environment

USAGE = "usage: python -m miniwebui render --prompt … --out FILE | test [pytest options]"


def test(options: list[str]) -> int:
    """Lint, formatting, and every test; the first that fails decides the exit status."""
    environment.ensure(for_tests=True)
    checks = [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["pytest", *options],
    ]
    for check in checks:
        print("$", " ".join(check), flush=True)
        code = subprocess.run([str(environment.PYTHON), "-m", *check], cwd=environment.ROOT).returncode
        if code:
            return code
    return 0


def render(options: list[str]) -> int:
    """Hand over to the WebUI inside of the environment."""
    environment.ensure()
    webui = environment.HERE / "webui.py"
    return subprocess.run([str(environment.PYTHON), str(webui), "render", *options]).returncode


def main(arguments: list[str]) -> int:
    commands = {"render": render, "test": test}
    if not arguments or arguments[0] not in commands:
        print(USAGE, file=sys.stderr)
        return 2
    try:
        return commands[arguments[0]](arguments[1:])
    except environment.SetupError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
