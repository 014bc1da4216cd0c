"""Single-file checkpoints of Stable Diffusion 1.x: one map between their keys and those of diffusers' networks.

The networks' configurations are read off the tensors' shapes, so that any checkpoint of the layout loads: the real
ones and the small demo.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ModelMixin, UNet2DConditionModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

UNET, VAE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer."
HEADS = 8
"""Attention heads of SD 1.x's UNet at every level (diffusers calls this number attention_head_dim)."""
CLIP_HEAD_WIDTH = 64
NORM_GROUPS = 32
"""What SD 1.x has; the shapes do not tell the number of heads and of normalisation groups, so a checkpoint that has
others says so in its metadata, under "architecture"."""


class CheckpointError(ValueError):
    """The file cannot be used as a checkpoint; the text is one sentence."""


@dataclass
class Components:
    """The three networks of a checkpoint."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    metadata: dict[str, str] = field(default_factory=dict)
    prediction_type: str = "epsilon"


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


def _text_keys(text_encoder: CLIPTextModel) -> dict[str, str]:
    """transformers' key -> single-file key, for every tensor of the text encoder."""
    return {
        key: TEXT + (key if key.startswith("text_model.") else f"text_model.{key}")
        for key in text_encoder.state_dict()
    }


def _all_keys(parts: Components) -> list[tuple[nn.Module, dict[str, str]]]:
    return [
        (parts.unet, unet_keys(parts.unet, UNET)),
        (parts.vae, _vae_keys(parts.vae)),
        (parts.text_encoder, _text_keys(parts.text_encoder)),
    ]


def save_checkpoint(
    path: Path, components: Components, metadata: Mapping[str, str], dtype: torch.dtype = torch.float16
) -> None:
    """Write the three networks to one safetensors file with the keys of Stable Diffusion 1.x."""
    tensors = {}
    for module, keys in _all_keys(components):
        for key, value in module.state_dict().items():
            if (
                ".mid.attn_1." in keys[key] and value.ndim == 2
            ):  # a linear layer here, a 1x1 convolution there
                value = value[:, :, None, None]
            tensors[keys[key]] = value.to(dtype).contiguous()
    architecture = {
        "text_heads": components.text_encoder.config.num_attention_heads,
        "unet_norm_groups": components.unet.config.norm_num_groups,
        "vae_norm_groups": components.vae.config.norm_num_groups,
    }
    save_file(tensors, path, {**metadata, "architecture": json.dumps(architecture)})


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file by key, and its metadata. Raises CheckpointError if it cannot be read."""
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint {path}.")
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
        state = torch.load(path, map_location="cpu", weights_only=True)
        return state.get("state_dict", state), {}
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError, AttributeError) as error:
        raise CheckpointError(f"The checkpoint {path} cannot be read ({error}); is it whole?") from error
    except Exception as error:  # pickle's own errors have no common base
        raise CheckpointError(
            f"The checkpoint {path} is not one this program can read: it loads nothing but tensors, because other "
            "objects in a file can run code, so convert it to .safetensors."
        ) from error


def _unet_from(tensors: Mapping[str, Tensor], architecture: Mapping[str, Any]) -> UNet2DConditionModel:
    """An empty UNet of the shapes in the file."""
    widths: list[int] = []
    attention: list[bool] = []
    layers, index, context = 0, 1, 0
    while f"{UNET}input_blocks.{index}.0.in_layers.2.weight" in tensors:
        layers = 0
        while (key := f"{UNET}input_blocks.{index}.0.in_layers.2.weight") in tensors:
            width, layers = tensors[key].shape[0], layers + 1
            cross = f"{UNET}input_blocks.{index}.1.transformer_blocks.0.attn2.to_k.weight"
            context = tensors[cross].shape[1] if cross in tensors else context
            index += 1
        widths.append(width)
        attention.append(cross in tensors)
        index += 1  # the downsampling
    first, last = tensors[f"{UNET}input_blocks.0.0.weight"], tensors[f"{UNET}out.2.weight"]
    return UNet2DConditionModel(
        in_channels=first.shape[1],
        out_channels=last.shape[0],
        block_out_channels=tuple(widths),
        down_block_types=tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attention),
        up_block_types=tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attention)),
        layers_per_block=layers,
        cross_attention_dim=context,
        attention_head_dim=HEADS,
        norm_num_groups=architecture.get("unet_norm_groups", NORM_GROUPS),
    )


def _vae_from(tensors: Mapping[str, Tensor], architecture: Mapping[str, Any]) -> AutoencoderKL:
    """An empty VAE of the shapes in the file."""

    def count(pattern: str) -> int:
        index = 0
        while f"{VAE}{pattern.format(index)}" in tensors:
            index += 1
        return index

    levels = count("encoder.down.{}.block.0.conv1.weight")
    widths = [tensors[f"{VAE}encoder.down.{i}.block.0.conv1.weight"].shape[0] for i in range(levels)]
    return AutoencoderKL(
        block_out_channels=tuple(widths),
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=count("encoder.down.0.block.{}.conv1.weight"),
        latent_channels=tensors[f"{VAE}post_quant_conv.weight"].shape[0],
        scaling_factor=0.18215,
        norm_num_groups=architecture.get("vae_norm_groups", NORM_GROUPS),
    )


def _text_from(tensors: Mapping[str, Tensor], architecture: Mapping[str, Any]) -> CLIPTextModel:
    """An empty text encoder of the shapes in the file."""
    base = f"{TEXT}text_model."
    vocabulary, width = tensors[f"{base}embeddings.token_embedding.weight"].shape
    layers = 0
    while f"{base}encoder.layers.{layers}.mlp.fc1.weight" in tensors:
        layers += 1
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=tensors[f"{base}encoder.layers.0.mlp.fc1.weight"].shape[0],
            num_hidden_layers=layers,
            num_attention_heads=architecture.get("text_heads", max(1, width // CLIP_HEAD_WIDTH)),
            max_position_embeddings=77,
            bos_token_id=49406,
            eos_token_id=49407,
            pad_token_id=49407,
        )
    )


def load_checkpoint(path: str | Path) -> Components:
    """The networks of a checkpoint, in float32, ready to draw.

    Raises:
        CheckpointError: the file is missing, damaged, or no checkpoint of Stable Diffusion 1.x.
    """
    path = Path(path)
    tensors, metadata = read_tensors(path)
    architecture = json.loads(metadata.get("architecture", "{}"))
    try:
        components = Components(
            _unet_from(tensors, architecture),
            _vae_from(tensors, architecture),
            _text_from(tensors, architecture),
            metadata,
            metadata.get("prediction_type", "epsilon"),
        )
    except (KeyError, IndexError, ValueError) as error:
        raise CheckpointError(
            f"The checkpoint {path} is not of Stable Diffusion 1.x's layout (missing or odd: {error})."
        ) from error
    for module, keys in _all_keys(components):
        state = {}
        for key, like in module.state_dict().items():
            if keys[key] not in tensors:
                raise CheckpointError(f"The checkpoint {path} lacks the tensor {keys[key]}.")
            state[key] = tensors[keys[key]].float().reshape(like.shape)
        module.load_state_dict(state)
        module.eval().requires_grad_(False)
    return components
