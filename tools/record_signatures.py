"""Record what a host offers, off its sources without running them: what the contract tests compare with.

.venv/bin/python -m tools.record_signatures FOLDER MODULE … > tests/data/forge.json
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Function = ast.FunctionDef | ast.AsyncFunctionDef


def parameters(node: Function) -> list[tuple[str, str, str | None]]:
    """[name, kind, default] each; kinds: po, pk, va, ko, vk."""
    args = node.args
    positional = [*((arg, "po") for arg in args.posonlyargs), *((arg, "pk") for arg in args.args)]
    defaults = [None] * (len(positional) - len(args.defaults)) + [ast.unparse(each) for each in args.defaults]
    found = [(arg.arg, kind, default) for (arg, kind), default in zip(positional, defaults)]
    if args.vararg:
        found.append((args.vararg.arg, "va", None))
    for arg, value in zip(args.kwonlyargs, args.kw_defaults):
        found.append((arg.arg, "ko", None if value is None else ast.unparse(value)))
    if args.kwarg:
        found.append((args.kwarg.arg, "vk", None))
    return found


def _names(body: list[ast.stmt]) -> Iterator[str]:
    """What a module's body defines, under conditions too."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((alias.asname or alias.name).partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (
                each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)
            )
        for name in ("body", "orelse", "finalbody", "handlers"):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield from _names(getattr(node, name, []))


def facts(source: str) -> dict[str, Any]:
    """Public names, parameters of functions and of methods."""
    tree = ast.parse(source)
    functions = {node.name: parameters(node) for node in tree.body if isinstance(node, Function)}
    classes = {
        node.name: {method.name: parameters(method) for method in node.body if isinstance(method, Function)}
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }
    return {"public": sorted(set(_names(tree.body))), "functions": functions, "classes": classes}


def main(folder: str, *modules: str) -> None:
    found = {}
    for name in modules:
        path = Path(folder, *name.split("."))
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        found[name] = facts(file.read_text())
    json.dump(found, sys.stdout, separators=(",", ":"))


if __name__ == "__main__":
    main(*sys.argv[1:])
