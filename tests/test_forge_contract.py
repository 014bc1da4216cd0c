"""The extension uses nothing that Forge and reForge do not have; the stand-ins of their parts have their parameters.

The facts were read off Forge dfdcbab6 and reForge 3b56b268; `tools/record_signatures.py` made the files.
"""

import ast
import json

import pytest

from tests.test_forge import LAYOUTS
from tests.test_host_contract import ROOT, uses_of_the_host
from tile_host.hosts import detect
from tile_host.hosts.detect import FORGE, REFORGE

FILES = {FORGE: "forge-dfdcbab6.json", REFORGE: "reforge-3b56b268.json"}
FACTS = {host: json.loads((ROOT / "tests/data" / file).read_text()) for host, file in FILES.items()}
OWN = {FORGE: "tile_host/hosts/forge/of_forge.py", REFORGE: "tile_host/hosts/forge/of_reforge.py"}
"""What only one of the hosts imports."""
PACKAGES = {FORGE: {"backend"}, REFORGE: {"ldm_patched", "modules_forge"}}
"""What only one of the hosts has, beside `modules`."""


def files_of(host):
    """Those that the host may import."""
    others = {"tile_host/hosts/a1111.py", *OWN.values()} - {OWN[host]}
    found = sorted(ROOT.glob("tile_host/**/*.py")) + sorted(ROOT.glob("scripts/*.py"))
    return [file for file in found if str(file.relative_to(ROOT)) not in others]


def uses_of_its_own(host, path):
    """(module, name) for every name of the host's own packages that a file imports, or reads off what it imports."""
    aliases = {}
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PACKAGES[host]:
            for alias in node.names:
                if (module := f"{node.module}.{alias.name}") in FACTS[host]:
                    aliases[alias.asname or alias.name] = module
                else:
                    yield node.module, alias.name
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases:
            yield aliases[node.value.id], node.attr


@pytest.mark.parametrize("host", FACTS)
def test_the_extension_uses_only_what_the_host_has(host):
    used = {use for file in files_of(host) for use in (*uses_of_the_host(file), *uses_of_its_own(host, file))}
    assert {module.partition(".")[0] for module, _ in used} == {"modules", *PACKAGES[host]}
    known = {module: set(facts["public"]) for module, facts in FACTS[host].items()}
    unknown = [f"{module}.{name}" for module, name in sorted(used) if name not in known[module]]
    assert not unknown


CALLED = {
    FORGE: [
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
        ("modules.sd_models", "SdModelData", "set_sd_model", ["self", "v"]),
    ],
    REFORGE: [
        ("modules_forge.forge_sampler", None, "sampling_prepare", ["unet", "x"]),
        ("modules_forge.forge_sampler", None, "sampling_cleanup", ["unet"]),
        ("modules_forge.forge_sampler", None, "cond_from_a1111_to_patched_ldm", ["cond"]),
        ("modules_forge.unet_patcher", "UnetPatcher", "clone", ["self"]),
        ("ldm_patched.modules.utils", None, "common_upscale",
         ["samples", "width", "height", "upscale_method", "crop"]),
        ("ldm_patched.modules.model_management", None, "load_models_gpu",
         ["models", "memory_required", "force_patch_weights", "minimum_memory_required", "force_full_load"]),
        ("ldm_patched.modules.model_base", "BaseModel", "memory_required", ["self", "input_shape", "cond_shapes"]),
        ("ldm_patched.modules.model_base", "BaseModel", "get_dtype", ["self"]),
        ("ldm_patched.modules.controlnet", "ControlNet", "get_control",
         ["self", "x_noisy", "t", "cond", "batched_number", "transformer_options"]),
        ("ldm_patched.modules.controlnet", "T2IAdapter", "get_control",
         ["self", "x_noisy", "t", "cond", "batched_number", "transformer_options"]),
        ("ldm_patched.modules.model_sampling", "ModelSamplingDiscrete", "timestep", ["self", "sigma"]),
        ("modules.prompt_parser", "SdConditioning", "__init__",
         ["self", "prompts", "is_negative_prompt", "width", "height", "copy_from"]),
        ("modules.sd_models", "SdModelData", "set_sd_model", ["self", "v", "already_loaded"]),
    ],
}  # fmt: skip
BY_BOTH = [
    ("modules.processing", "StableDiffusionProcessing", "get_conds_with_caching",
     ["self", "function", "required_prompts", "steps", "caches", "extra_network_data", "hires_steps"]),
    ("modules.sd_samplers_cfg_denoiser", "CFGDenoiser", "update_inner_model", ["self"]),
    ("modules.scripts", "Script", "process_before_every_sampling", ["self", "p", "args", "kwargs"]),
]  # fmt: skip
"""(module, class or None, function, its parameters)"""


@pytest.mark.parametrize(
    ("host", "called"), [(host, called) for host, own in CALLED.items() for called in (*own, *BY_BOTH)]
)
def test_what_the_adapter_calls_takes_what_it_gives(host, called):
    module, owner, name, parameters = called
    facts = FACTS[host][module]["functions"] if owner is None else FACTS[host][module]["classes"][owner]
    assert [each[0] for each in facts[name]] == parameters


@pytest.mark.parametrize("host", FACTS)
def test_the_stand_in_has_the_hosts_parameters(host):
    compared = 0
    for path in LAYOUTS[host].rglob("*.py"):
        name = ".".join(path.relative_to(LAYOUTS[host]).with_suffix("").parts)
        facts = FACTS[host].get(name, {"functions": {}})["functions"]
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name in facts:
                ours = [arg.arg for arg in node.args.args]
                assert ours == [each[0] for each in facts[node.name]][: len(ours)], node.name
                compared += 1
    assert compared > 8


@pytest.mark.parametrize(
    ("there", "name"),
    [
        ({"modules_forge", "backend.patcher", "modules.sd_hijack_clip"}, FORGE),
        (
            {"modules_forge", "ldm_patched.modules.patcher_extension", "modules.sd_hijack_clip"},
            REFORGE,
        ),
        ({"modules_forge", "modules.sd_hijack_clip"}, None),
        ({"modules.sd_hijack_clip"}, detect.A1111),
        (set(), None),
    ],
)
def test_a_host_is_known_by_what_only_it_has(webui, monkeypatch, there, name):
    monkeypatch.setattr(detect, "_is_there", there.__contains__)
    assert detect.host_name() == name
    assert (detect.problem() is None) == (name is not None)
    assert name or detect.problem().endswith("stay off.")
