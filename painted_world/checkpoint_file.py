"""One file with the keys of Stable Diffusion 1.x from networks of diffusers: the reverse of diffusers' conversion."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from diffusers import AutoencoderKL, ControlNetModel, ModelMixin
from safetensors.torch import save_file

from miniwebui.checkpoint_layout import TEXT, UNET, VAE, Components
from miniwebui.controlnet_layout import HINT, ROOT

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_VAE_ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}


def _unet_prefixes(levels: int, layers: int, attention: list[bool]) -> Iterator[tuple[str, str]]:
    """Pairs of module names (diffusers, single file), for that many levels and residual blocks a level."""
    yield "time_embedding.linear_1", "time_embed.0"
    yield "time_embedding.linear_2", "time_embed.2"
    yield "conv_in", "input_blocks.0.0"
    index = 1
    for level in range(levels):
        for layer in range(layers):
            yield f"down_blocks.{level}.resnets.{layer}", f"input_blocks.{index}.0"
            yield f"down_blocks.{level}.attentions.{layer}", f"input_blocks.{index}.1"
            index += 1
        yield f"down_blocks.{level}.downsamplers.0.conv", f"input_blocks.{index}.0.op"
        index += 1
    yield "mid_block.resnets.0", "middle_block.0"
    yield "mid_block.attentions.0", "middle_block.1"
    yield "mid_block.resnets.1", "middle_block.2"
    for level in range(levels):
        for layer in range(layers + 1):
            index = level * (layers + 1) + layer
            yield f"up_blocks.{level}.resnets.{layer}", f"output_blocks.{index}.0"
            yield f"up_blocks.{level}.attentions.{layer}", f"output_blocks.{index}.1"
        place = 2 if attention[levels - 1 - level] else 1
        yield f"up_blocks.{level}.upsamplers.0.conv", f"output_blocks.{index}.{place}.conv"
    yield "conv_norm_out", "out.0"
    yield "conv_out", "out.2"


def unet_keys(network: ModelMixin, root: str, others: Mapping[str, str] | None = None) -> dict[str, str]:
    """diffusers' key -> single-file key, for every tensor of a UNet or its first half.

    Args:
        root: what single-file keys begin with.
        others: module names (diffusers -> single file) of what no UNet has.
    """
    config = network.config
    attention = ["CrossAttn" in kind for kind in config.down_block_types]
    prefixes = dict(_unet_prefixes(len(attention), config.layers_per_block, attention)) | dict(others or {})
    keys = {}
    for key in network.state_dict():
        prefix = next(p for p in _prefixes_of(key) if p in prefixes)
        rest = key[len(prefix) + 1 :]
        if ".resnets." in prefix:
            name, kind = rest.rsplit(".", 1)
            rest = f"{_RESNET[name]}.{kind}"
        keys[key] = f"{root}{prefixes[prefix]}.{rest}"
    return keys


def _prefixes_of(key: str) -> Iterator[str]:
    """a.b.c -> a.b, a: the longest first."""
    while "." in key:
        key = key.rsplit(".", 1)[0]
        yield key


def _vae_keys(vae: AutoencoderKL) -> dict[str, str]:
    """diffusers' key -> single-file key, for every tensor of the VAE."""
    last = len(vae.config.block_out_channels) - 1
    rules = [
        (r"down_blocks\.(\d+)\.resnets\.", lambda m: f"down.{m[1]}.block."),
        (r"down_blocks\.(\d+)\.downsamplers\.0\.", lambda m: f"down.{m[1]}.downsample."),
        (r"up_blocks\.(\d+)\.resnets\.", lambda m: f"up.{last - int(m[1])}.block."),
        (r"up_blocks\.(\d+)\.upsamplers\.0\.", lambda m: f"up.{last - int(m[1])}.upsample."),
        (r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}"),
        (r"mid_block\.attentions\.0\.(.+)\.(\w+)$", lambda m: f"mid.attn_1.{_VAE_ATTENTION[m[1]]}.{m[2]}"),
        (r"conv_shortcut", lambda m: "nin_shortcut"),
        (r"conv_norm_out", lambda m: "norm_out"),
    ]
    keys = {}
    for key in vae.state_dict():
        name = key
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        keys[key] = VAE + name
    return keys


def save_checkpoint(
    path: Path, components: Components, metadata: Mapping[str, str], dtype: torch.dtype = torch.float16
) -> None:
    """Write the three networks to one safetensors file with the keys of Stable Diffusion 1.x."""
    tensors = {}
    text_keys = {key: f"{TEXT}text_model.{key}" for key in components.text_encoder.state_dict()}
    for module, keys in (
        (components.unet, unet_keys(components.unet, UNET)),
        (components.vae, _vae_keys(components.vae)),
        (components.text_encoder, text_keys),
    ):
        for key, value in module.state_dict().items():
            if ".mid.attn_1." in keys[key] and value.ndim == 2:
                value = value[:, :, None, None]  # a linear layer here, a 1x1 convolution there
            tensors[keys[key]] = value.to(dtype).contiguous()
    architecture = {
        "text_heads": components.text_encoder.config.num_attention_heads,
        "unet_norm_groups": components.unet.config.norm_num_groups,
        "vae_norm_groups": components.vae.config.norm_num_groups,
    }
    save_file(tensors, path, {**metadata, "architecture": json.dumps(architecture)})


def _controlnet_keys(network: ControlNetModel) -> dict[str, str]:
    """diffusers' key -> single-file key, for every tensor of the network."""
    blocks = len(network.controlnet_cond_embedding.blocks)
    hint = ["conv_in", *(f"blocks.{index}" for index in range(blocks)), "conv_out"]
    others = {  # every second layer there is an activation
        f"{HINT}{name}": f"input_hint_block.{2 * number}" for number, name in enumerate(hint)
    }
    for index in range(len(network.controlnet_down_blocks)):
        others[f"controlnet_down_blocks.{index}"] = f"zero_convs.{index}.0"
    others["controlnet_mid_block"] = "middle_block_out.0"
    return unet_keys(network, ROOT, others)


def save_controlnet(path: Path, network: ControlNetModel, metadata: Mapping[str, str]) -> None:
    """Write the network in half precision, in the single-file layout."""
    keys = _controlnet_keys(network)
    tensors = {keys[key]: value.cpu().half().contiguous() for key, value in network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, dict(metadata))
