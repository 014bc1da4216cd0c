"""Trim the recorded facts of a WebUI version to what the contract test compares.

python tools/trim_host_facts.py FACTS.json … > tests/data/webui-1.10.1.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

MODULES = Path(__file__).parent.parent / "miniwebui" / "modules"


def trim(module: dict[str, Any]) -> dict[str, Any]:
    """Public names, parameters of functions and of methods: [name, kind, default] each."""
    classes = {
        name: {method: facts["params"] for method, facts in sorted(data.get("methods", {}).items())}
        for name, data in sorted(module.get("classes", {}).items())
    }
    functions = {name: facts["params"] for name, facts in sorted(module.get("functions", {}).items())}
    return {"public": sorted(module.get("public", [])), "functions": functions, "classes": classes}


def _offered() -> list[str]:
    """Dotted names of the modules that the mini WebUI has."""
    files = [*MODULES.rglob("*.py"), *(MODULES.parent / "scripts").glob("*.py")]
    paths = (file.relative_to(MODULES.parent).with_suffix("") for file in files)
    return sorted(".".join(path.parts) for path in paths if path.name != "__init__")


def main(paths: list[str]) -> None:
    facts: dict[str, Any] = {}
    for path in paths:
        modules = json.loads(Path(path).read_text())["modules"]
        facts.update({name: module for name, module in modules.items() if module["file"] is not None})
    json.dump(
        {name: trim(facts[name]) for name in _offered() if name in facts}, sys.stdout, separators=(",", ":")
    )


if __name__ == "__main__":
    main(sys.argv[1:])
