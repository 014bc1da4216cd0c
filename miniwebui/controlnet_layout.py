"""Files of ControlNets for Stable Diffusion 1.x: the usual single-file layout (`control_model.*`) and diffusers' own.

A network's sizes are those of the UNet that it controls; only its look at the hint has sizes of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from diffusers import ControlNetModel, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint
from torch import Tensor

from miniwebui.checkpoint_layout import CheckpointError, read_tensors

ROOT = "control_model."
HINT = "controlnet_cond_embedding."
"""What diffusers' names of the layers that see the hint begin with; the single file calls them `input_hint_block`."""


def _hint_widths(tensors: Mapping[str, Tensor]) -> tuple[int, ...]:
    """Channels of the hint's layers: those at the hint's size, and after each that halves it."""
    widths, block = [tensors[f"{HINT}conv_in.weight"].shape[0]], 1
    while f"{HINT}blocks.{block}.weight" in tensors:
        widths.append(tensors[f"{HINT}blocks.{block}.weight"].shape[0])
        block += 2
    return tuple(widths)


def load_controlnet(path: Path, unet: UNet2DConditionModel) -> ControlNetModel:
    """A ControlNet for this UNet, in float32, from a file of either layout.

    Raises:
        CheckpointError: the file is missing, damaged, no ControlNet, or one for another kind of UNet.
    """
    tensors, _ = read_tensors(path)
    state = convert_controlnet_checkpoint(tensors, {"layers_per_block": unet.config.layers_per_block})
    if f"{HINT}conv_in.weight" not in state:
        raise CheckpointError(f"The file {path.name} is no ControlNet: it has no layers that see a hint.")
    network = ControlNetModel.from_unet(
        unet,
        conditioning_embedding_out_channels=_hint_widths(state),
        load_weights_from_unet=False,
        conditioning_channels=state[f"{HINT}conv_in.weight"].shape[1],
    )
    for key, wanted in network.state_dict().items():
        found = state.get(key)
        if found is None or found.shape != wanted.shape:
            has = "nothing" if found is None else list(found.shape)
            raise CheckpointError(
                f"The ControlNet {path.name} does not fit the checkpoint in use: its {key} has the shape "
                f"{has}, and this checkpoint's UNet needs {list(wanted.shape)}."
            )
    network.load_state_dict({key: state[key].float() for key in network.state_dict()})
    return network.eval().requires_grad_(False)
