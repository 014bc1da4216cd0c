"""Which LoRA files there are, and which act on the model now."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Sequence

import network
import torch
from safetensors.torch import load_file

from modules import errors, sd_hijack, shared

ENDINGS = (".safetensors", ".pt", ".ckpt")

extra_network_lora = None
"""The ExtraNetwork that prompts reach; set by the script."""
available_networks: dict[str, network.NetworkOnDisk] = {}
available_network_aliases: dict[str, network.NetworkOnDisk] = {}
available_network_hash_lookup: dict[str, network.NetworkOnDisk] = {}
loaded_networks: list[network.Network] = []
_hooks: list = []


def list_available_networks() -> None:
    """Look again which files there are, subfolders included."""
    for known in (available_networks, available_network_aliases, available_network_hash_lookup):
        known.clear()
    for folder, _, files in sorted(os.walk(shared.cmd_opts.lora_dir)):
        for file in sorted(files):
            name, ending = os.path.splitext(file)
            if ending.lower() not in ENDINGS:
                continue
            entry = network.NetworkOnDisk(name, os.path.join(folder, file))
            available_networks[name] = available_network_aliases[name] = entry
            available_network_aliases[entry.alias] = available_network_hash_lookup[entry.shorthash] = entry


def layers_of(sd_model) -> dict[str, torch.nn.Module]:
    """The model's layers by the names that kohya's files have for them."""
    text = getattr(sd_model.cond_stage_model, "wrapped", sd_model.cond_stage_model).transformer
    roots = {
        "lora_unet": sd_model.model.diffusion_model.unet,
        "lora_te_text_model": sd_hijack.text_model_of(text),
    }
    return {
        f"{prefix}_{name}".replace(".", "_"): layer
        for prefix, root in roots.items()
        for name, layer in root.named_modules()
    }


def load_network(name: str, network_on_disk: network.NetworkOnDisk) -> network.Network:
    """Read a file. Raises KeyError if one of its layers lacks a half, else what reading raises."""
    if network_on_disk.is_safetensors:
        weights = load_file(network_on_disk.filename)
    else:
        weights = torch.load(network_on_disk.filename, map_location="cpu", weights_only=True)
    parts: dict[str, dict[str, torch.Tensor]] = defaultdict(dict)
    for key, weight in weights.items():
        layer, _, part = key.partition(".")
        parts[layer][part] = weight
    modules = {layer: network.NetworkModule(tensors) for layer, tensors in parts.items()}
    return network.Network(name, network_on_disk, modules)


def load_networks(
    names: Sequence[str],
    te_multipliers: Sequence[float] | None = None,
    unet_multipliers: Sequence[float] | None = None,
    dyn_dims: Sequence[int | None] | None = None,
) -> None:
    """Let exactly these act on the model from now on; none of them is read again that acts already."""
    before = {net.mentioned_name: net for net in loaded_networks}
    _detach()
    if any(name not in available_network_aliases for name in names):
        list_available_networks()
    missing = []
    for index, name in enumerate(names):
        on_disk = available_network_aliases.get(name)
        if on_disk is None:
            missing.append(name)
            logging.info(f"No file for the network {name}")
            continue
        try:
            net = before.get(name) or load_network(on_disk.name, on_disk)
        except Exception as error:
            errors.display(error, f"loading network {on_disk.filename}")
            continue
        net.mentioned_name = name
        net.te_multiplier = te_multipliers[index] if te_multipliers else 1.0
        net.unet_multiplier = unet_multipliers[index] if unet_multipliers else 1.0
        net.dyn_dim = dyn_dims[index] if dyn_dims else None
        loaded_networks.append(net)
    if missing:
        sd_hijack.model_hijack.comments.append(f"Lora not found: {', '.join(missing)}")
    if loaded_networks:
        _attach(shared.sd_model)


def _detach() -> None:
    for hook in _hooks:
        hook.remove()
    _hooks.clear()
    loaded_networks.clear()


def _attach(sd_model) -> None:
    layers = layers_of(sd_model)
    for net in loaded_networks:
        for key, module in net.modules.items():
            if key not in layers:
                logging.debug(f"{net.network_on_disk.filename}: the model has no layer {key}")
                continue
            try:
                beside = module.beside(layers[key], net.multiplier(key), net.dyn_dim)
            except RuntimeError as error:
                logging.debug(f"Network {net.name} layer {key}: {error}")
                extra_network_lora.errors[net.name] = extra_network_lora.errors.get(net.name, 0) + 1
                continue
            _hooks.append(layers[key].register_forward_hook(beside))
