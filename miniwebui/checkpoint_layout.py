"""Single-file checkpoints of Stable Diffusion 1.x, read into diffusers' networks by diffusers' own conversion.

The networks' configurations are read off the tensors' shapes, so that any checkpoint of the layout loads: the real
ones and the small demo.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders import single_file_utils
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

UNET, VAE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer."
HEADS = 8
"""Attention heads of SD 1.x's UNet at every level (diffusers calls this number attention_head_dim)."""
CLIP_HEAD_WIDTH = 64
NORM_GROUPS = 32
"""What SD 1.x has; the shapes do not tell the number of heads and of normalisation groups, so a checkpoint that has
others says so in its metadata, under "architecture"."""

Tensors = Mapping[str, Tensor]


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


def _count(tensors: Tensors, pattern: str, first: int = 0) -> int:
    """How many numbers in a row, from `first`, name a tensor when they are put into the pattern."""
    return next(n for n in itertools.count() if pattern.format(first + n) not in tensors)


def _unet_from(tensors: Tensors, architecture: Mapping[str, Any]) -> UNet2DConditionModel:
    layers = _count(tensors, UNET + "input_blocks.{}.0.in_layers.2.weight", first=1)
    state = single_file_utils.convert_ldm_unet_checkpoint(tensors, {"layers_per_block": layers})
    levels = range(_count(state, "down_blocks.{}.resnets.0.conv1.weight"))
    has_attention = [f"down_blocks.{i}.attentions.0.proj_in.weight" in state for i in levels]
    (context,) = {value.shape[1] for key, value in state.items() if key.endswith("attn2.to_k.weight")}
    unet = UNet2DConditionModel(
        in_channels=state["conv_in.weight"].shape[1],
        out_channels=state["conv_out.weight"].shape[0],
        block_out_channels=tuple(state[f"down_blocks.{i}.resnets.0.conv1.weight"].shape[0] for i in levels),
        down_block_types=tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in has_attention),
        up_block_types=tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(has_attention)),
        layers_per_block=layers,
        cross_attention_dim=context,
        attention_head_dim=HEADS,
        norm_num_groups=architecture.get("unet_norm_groups", NORM_GROUPS),
    )
    return _filled(unet, state)


def _vae_from(tensors: Tensors, architecture: Mapping[str, Any]) -> AutoencoderKL:
    levels = _count(tensors, VAE + "encoder.down.{}.block.0.conv1.weight")
    types = {
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
    }
    own = {key: value for key, value in tensors.items() if key.startswith(VAE)}
    state = single_file_utils.convert_ldm_vae_checkpoint(own, types)
    first_convolutions = [state[f"encoder.down_blocks.{i}.resnets.0.conv1.weight"] for i in range(levels)]
    vae = AutoencoderKL(
        **types,
        block_out_channels=tuple(weight.shape[0] for weight in first_convolutions),
        layers_per_block=_count(state, "encoder.down_blocks.0.resnets.{}.conv1.weight"),
        latent_channels=state["post_quant_conv.weight"].shape[0],
        scaling_factor=0.18215,
        norm_num_groups=architecture.get("vae_norm_groups", NORM_GROUPS),
    )
    return _filled(vae, state)


def _text_from(tensors: Tensors, architecture: Mapping[str, Any]) -> CLIPTextModel:
    state = single_file_utils.convert_ldm_clip_checkpoint(tensors)
    state = {key.removeprefix("text_model."): value for key, value in state.items()}
    vocabulary, width = state["embeddings.token_embedding.weight"].shape
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=state["encoder.layers.0.mlp.fc1.weight"].shape[0],
            num_hidden_layers=_count(state, "encoder.layers.{}.mlp.fc1.weight"),
            num_attention_heads=architecture.get("text_heads", max(1, width // CLIP_HEAD_WIDTH)),
            max_position_embeddings=77,
            bos_token_id=49406,
            eos_token_id=49407,
            pad_token_id=49407,
        )
    )
    return _filled(text_encoder, state)


def _filled(module: nn.Module, state: Tensors) -> Any:
    """The module with these tensors, in float32, ready to draw. Raises KeyError: the tensor that is missing."""
    module.load_state_dict({key: state[key].float() for key in module.state_dict()})
    return module.eval().requires_grad_(False)


def load_checkpoint(path: str | Path) -> Components:
    """The networks of a checkpoint, in float32, ready to draw.

    Raises:
        CheckpointError: the file is missing, damaged, or no checkpoint of Stable Diffusion 1.x.
    """
    path = Path(path)
    tensors, metadata = read_tensors(path)
    architecture = json.loads(metadata.get("architecture", "{}"))
    try:
        unet, vae, text_encoder = (
            make(tensors, architecture) for make in (_unet_from, _vae_from, _text_from)
        )
    except (KeyError, IndexError, ValueError, RuntimeError, AttributeError) as error:
        raise CheckpointError(
            f"The checkpoint {path} is not of Stable Diffusion 1.x's layout (missing or odd: {error})."
        ) from error
    return Components(unet, vae, text_encoder, metadata, metadata.get("prediction_type", "epsilon"))
