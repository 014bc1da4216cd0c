"""Files of ControlNets for Stable Diffusion 1.x: the usual single-file layout (`control_model.*`) and diffusers' own.

A network's sizes are those of the UNet that it controls; only its look at the hint has sizes of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from diffusers import ControlNetModel, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor

from miniwebui.checkpoint_layout import CheckpointError, read_tensors, unet_keys

ROOT = "control_model."
HINT = "controlnet_cond_embedding."
"""What diffusers' names of the layers that see the hint begin with; the single file calls them `input_hint_block`."""


def _keys(network: ControlNetModel) -> dict[str, str]:
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


def _hint_widths(tensors: Mapping[str, Tensor]) -> tuple[int, ...]:
    """Channels of the hint's layers: those at the hint's size, and after each that halves it."""
    widths, block = [tensors[f"{HINT}conv_in.weight"].shape[0]], 1
    while f"{HINT}blocks.{block}.weight" in tensors:
        widths.append(tensors[f"{HINT}blocks.{block}.weight"].shape[0])
        block += 2
    return tuple(widths)


def _hint_as_diffusers_has_it(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of `input_hint_block`, by diffusers' keys."""
    block = f"{ROOT}input_hint_block."
    numbers = sorted({int(key.removeprefix(block).split(".")[0]) for key in tensors if key.startswith(block)})
    names = ["conv_in", *(f"blocks.{index}" for index in range(len(numbers) - 2)), "conv_out"]
    return {
        f"{HINT}{name}.{kind}": tensors[f"{block}{number}.{kind}"]
        for name, number in zip(names, numbers)
        for kind in ("weight", "bias")
    }


def save_controlnet(path: Path, network: ControlNetModel, metadata: Mapping[str, str]) -> None:
    """Write the network in half precision, in the single-file layout."""
    keys = _keys(network)
    tensors = {keys[key]: value.cpu().half().contiguous() for key, value in network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, dict(metadata))


def load_controlnet(path: Path, unet: UNet2DConditionModel) -> ControlNetModel:
    """A ControlNet for this UNet, in float32, from a file of either layout.

    Raises:
        CheckpointError: the file is missing, damaged, no ControlNet, or one for another kind of UNet.
    """
    tensors, _ = read_tensors(path)
    if f"{HINT}conv_in.weight" not in tensors:
        tensors = {f"{ROOT}{key.removeprefix(ROOT)}": value for key, value in tensors.items()}
        tensors |= _hint_as_diffusers_has_it(tensors)
    if f"{HINT}conv_in.weight" not in tensors:
        raise CheckpointError(f"The file {path.name} is no ControlNet: it has no layers that see a hint.")
    network = ControlNetModel.from_unet(
        unet,
        conditioning_embedding_out_channels=_hint_widths(tensors),
        load_weights_from_unet=False,
        conditioning_channels=tensors[f"{HINT}conv_in.weight"].shape[1],
    )
    state = {}
    for key, other in _keys(network).items():
        found, wanted = tensors.get(key, tensors.get(other)), network.get_parameter(key).shape
        if found is None or found.shape != wanted:
            has = "nothing" if found is None else list(found.shape)
            raise CheckpointError(
                f"The ControlNet {path.name} does not fit the checkpoint in use: its {other} has the shape "
                f"{has}, and this checkpoint's UNet needs {list(wanted)}."
            )
        state[key] = found.float()
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)
