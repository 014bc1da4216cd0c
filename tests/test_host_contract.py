"""The mini WebUI offers what WebUI 1.10.1 offers, and the extension uses nothing else.

The facts were read off the sources of 1.10.1; `tools/trim_host_facts.py` made the file.
"""

import ast
import importlib
import inspect
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FACTS = json.loads((ROOT / "tests/data/webui-1.10.1.json").read_text())
POSITIONAL = ("pk", "po")
REAL_CLASSES = {name for facts in FACTS.values() for name in facts["classes"]}


def module_of(name):
    """A module of ours; a script is the one that the WebUI has loaded."""
    if not name.startswith("scripts."):
        return importlib.import_module(name)
    from modules import scripts

    file = name.removeprefix("scripts.") + ".py"
    return next(data.module for data in scripts.scripts_data if data.script_class.__module__ == file)


def offered(webui):
    """(label, ours, parameters of the real one) for every function and method that both have."""
    for module_name, facts in FACTS.items():
        module = module_of(module_name)
        for name, params in facts["functions"].items():
            if inspect.isfunction(ours := getattr(module, name, None)):
                yield f"{module_name}.{name}", ours, params
        for class_name, methods in facts["classes"].items():
            ours_class = getattr(module, class_name, None)
            for name, params in methods.items():
                ours = written_here(ours_class, name)
                if inspect.isfunction(ours):
                    yield f"{module_name}.{class_name}.{name}", ours, params


def written_here(cls, name):
    """A class's own attribute, or that of a base which only our class has."""
    for owner in getattr(cls, "__mro__", ()):
        ours = owner.__module__.partition(".")[0] == "modules" and owner.__name__ not in REAL_CLASSES
        if name in vars(owner) and (owner is cls or ours):
            return vars(owner)[name]
    return None


def difference(ours, params):
    """What a caller that knows the real signature would stumble over, or None."""
    signature = inspect.signature(ours).parameters
    names = list(signature)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.values())
    for index, (name, kind, default) in enumerate(params):
        if kind not in (*POSITIONAL, "ko"):
            continue
        if name not in signature:
            if takes_any and kind == "ko":
                continue
            return f"lacks the parameter {name}"
        if kind in POSITIONAL and names[index] != name:
            return f"has {name} at place {names.index(name)}, not {index}"
        if default is not None and signature[name].default is inspect.Parameter.empty:
            return f"needs {name}, which has a default there"
    known = {name for name, *_ in params}
    for name, parameter in signature.items():
        variable = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if name not in known and not variable and parameter.default is parameter.empty:
            return f"needs {name}, which is not there"
    return None


@pytest.mark.parametrize(
    "name",
    [
        "modules.api.api.Api", "modules.api.models", "modules.call_queue.wrap_gradio_call", "modules.progress",
        "modules.infotext_utils.ParamBinding", "modules.infotext_utils.connect_paste", "modules.txt2img.txt2img",
        "modules.img2img.img2img", "modules.launch_utils.run_extension_installer", "modules.options.OptionInfo",
        "modules.ui_settings.UiSettings", "modules.localization", "scripts.xyz_grid.AxisOption",
    ],
)  # fmt: skip
def test_what_extensions_and_clients_look_for_is_there(webui, name):
    known, _, attribute = name, "", ""
    if name not in FACTS:
        known, _, attribute = name.rpartition(".")
    assert known in FACTS
    module = module_of(known)
    assert not attribute or hasattr(module, attribute)


def test_signatures_are_the_real_ones(webui):
    compared = list(offered(webui))
    assert len(compared) > 300
    wrong = [f"{label} {what}" for label, ours, params in compared if (what := difference(ours, params))]
    assert not wrong, "\n".join(wrong)


def uses_of_the_host(path):
    """(module, name) for every name of `modules` that a file imports or reads."""
    tree = ast.parse(path.read_text())
    aliases = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "modules":
            aliases.update({alias.asname or alias.name: f"modules.{alias.name}" for alias in node.names})
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("modules."):
            yield from ((node.module, alias.name) for alias in node.names)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases:
            yield aliases[node.value.id], node.attr


@pytest.mark.parametrize("folder", ["tile_host", "scripts"])
def test_the_extension_uses_only_what_the_real_host_has(folder):
    # `of_HOST.py` is about what another host has: tests/test_forge_contract.py
    files = [file for file in sorted((ROOT / folder).rglob("*.py")) if not file.name.startswith("of_")]
    used = {use for file in files for use in uses_of_the_host(file)}
    assert used
    unknown = [f"{module}.{name}" for module, name in used if name not in FACTS[module]["public"]]
    assert not unknown


def test_every_hook_of_the_script_has_the_real_signature():
    real = FACTS["modules.scripts"]["classes"]["Script"]
    tree = ast.parse((ROOT / "scripts/tiled_diffusion.py").read_text())
    script = next(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    methods = {node.name: node for node in script.body if isinstance(node, ast.FunctionDef)}
    hooks = methods.keys() & real.keys() - {"__init__"}
    assert {"ui", "show", "title", "process", "process_before_every_sampling", "postprocess"} <= hooks
    for name in hooks:
        ours = [arg.arg for arg in methods[name].args.args]
        assert ours == [param[0] for param in real[name] if param[1] in POSITIONAL], name
