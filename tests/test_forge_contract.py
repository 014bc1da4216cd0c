"""The extension uses nothing that Forge does not have; the stand-in of its parts has Forge's parameters.

The facts were read off Forge dfdcbab6; `tools/record_signatures.py` made the file.
"""

import ast
import json

import pytest

from tests.test_forge import LAYOUT
from tests.test_host_contract import ROOT, uses_of_the_host

FACTS = json.loads((ROOT / "tests/data/forge-dfdcbab6.json").read_text())
NOT_THERE = ("tile_host/hosts/a1111.py",)
"""Files that Forge never imports."""


def uses_of_the_backend(path):
    """(module, name) for every name of `backend` that a file imports, or reads off a module that it imports."""
    aliases = {}
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "backend":
            for alias in node.names:
                if (module := f"{node.module}.{alias.name}") in FACTS:
                    aliases[alias.asname or alias.name] = module
                else:
                    yield node.module, alias.name
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases:
            yield aliases[node.value.id], node.attr


def test_the_extension_uses_only_what_forge_has():
    files = sorted(ROOT.glob("tile_host/**/*.py")) + sorted(ROOT.glob("scripts/*.py"))
    files = [file for file in files if str(file.relative_to(ROOT)) not in NOT_THERE]
    used = {use for file in files for uses in (uses_of_the_host, uses_of_the_backend) for use in uses(file)}
    assert {module for module, _ in used} >= {"backend.sampling.condition", "modules.prompt_parser"}
    known = {module: set(facts["public"]) for module, facts in FACTS.items()}
    unknown = [f"{module}.{name}" for module, name in sorted(used) if name not in known[module]]
    assert not unknown


@pytest.mark.parametrize(
    ("module", "owner", "name", "parameters"),
    [
        ("backend.sampling.sampling_function", None, "sampling_prepare", ["unet", "x"]),
        ("backend.sampling.sampling_function", None, "sampling_cleanup", ["unet"]),
        ("backend.sampling.condition", None, "compile_conditions", ["cond"]),
        ("backend.misc.image_resize", None, "adaptive_resize",
         ["samples", "width", "height", "upscale_method", "crop"]),
        ("backend.memory_management", None, "load_models_gpu",
         ["models", "memory_required", "hard_memory_preservation"]),
        ("backend.utils", None, "nested_move_to_device", ["obj", "kwargs"]),
        ("backend.modules.k_model", "KModel", "memory_required", ["self", "input_shape"]),
        ("backend.patcher.unet", "UnetPatcher", "clone", ["self"]),
        ("backend.patcher.base", "ModelPatcher", "refresh_loras", ["self"]),
        ("backend.patcher.base", "ModelPatcher", "has_online_lora", ["self"]),
        ("backend.patcher.controlnet", "ControlNet", "get_control", ["self", "x_noisy", "t", "cond", "batched_number"]),
        ("backend.modules.k_prediction", "AbstractPrediction", "noise_scaling",
         ["self", "sigma", "noise", "latent_image", "max_denoise"]),
        ("modules.prompt_parser", "SdConditioning", "__init__",
         ["self", "prompts", "is_negative_prompt", "width", "height", "copy_from", "distilled_cfg_scale"]),
        ("modules.processing", "StableDiffusionProcessing", "get_conds_with_caching",
         ["self", "function", "required_prompts", "steps", "caches", "extra_network_data", "hires_steps"]),
        ("modules.sd_samplers_cfg_denoiser", "CFGDenoiser", "update_inner_model", ["self"]),
        ("modules.sd_models", "SdModelData", "set_sd_model", ["self", "v"]),
        ("modules.scripts", "Script", "process_before_every_sampling", ["self", "p", "args", "kwargs"]),
    ],
)  # fmt: skip
def test_what_the_adapter_calls_takes_what_it_gives(module, owner, name, parameters):
    facts = FACTS[module]["functions"] if owner is None else FACTS[module]["classes"][owner]
    assert [each[0] for each in facts[name]] == parameters


def test_the_stand_in_has_the_parameters_of_forge():
    compared = 0
    for path in LAYOUT.rglob("*.py"):
        facts = FACTS.get(".".join(path.relative_to(LAYOUT).with_suffix("").parts), {"functions": {}})[
            "functions"
        ]
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name in facts:
                ours = [arg.arg for arg in node.args.args]
                assert ours == [each[0] for each in facts[node.name]][: len(ours)], node.name
                compared += 1
    assert compared > 8
