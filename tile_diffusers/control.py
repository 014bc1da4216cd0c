"""ControlNet of `diffusers`: pipelines run it before the denoiser, on the whole canvas; here it runs for tiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers import ControlNetModel, MultiControlNetModel
from diffusers.hooks import ModelHook
from diffusers.models.controlnets.controlnet import ControlNetOutput
from diffusers.utils.torch_utils import unwrap_module
from torch import Tensor, nn

from tile_diffusers.calls import bound
from tile_diffusers.eager import eager
from tile_diffusers.telling import Telling
from tile_methods.patch import Batch
from tile_utils.conditions import condition_of
from tile_utils.settings import SettingsError
from tile_utils.surface import Surface

RESIDUALS = ("down_block_additional_residuals", "mid_block_additional_residual")


def control_of(pipe: Any) -> nn.Module | None:
    """The pipeline's control network.

    Raises:
        SettingsError: it is of a kind that cannot be cut into tiles.
    """
    net = getattr(pipe, "controlnet", None)
    kind = type(unwrap_module(net))
    if net is None or kind in (ControlNetModel, MultiControlNetModel) or issubclass(kind, ControlNetModel):
        return net
    raise SettingsError(
        f"tiled_diffusion: the control network {kind.__name__} is not supported; allowed are ControlNetModel and "
        "MultiControlNetModel (Stable Diffusion 1 and 2, SDXL)."
    )


class Deferred(ModelHook):
    """Remembers what the control network is asked about the canvas, and answers with the numbers of the rows, from 1,
    [rows, 1]. Pipelines put rows of zeros beside them (guess mode), no more: so the denoiser's hook knows which is
    which.
    """

    def __init__(self, cuts: Callable[[dict[str, Any]], bool]) -> None:
        """Args:
        cuts: whether a call's canvas is drawn in tiles.
        """
        super().__init__()
        self._cuts, self._open = cuts, False
        self._net: nn.Module | None = None
        self.asked: dict[str, Any] | None = None

    @eager
    def new_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """The control network's forward."""
        if self._open:
            return self.fn_ref.original_forward(*args, **kwargs)
        self.asked = None
        call = bound(module, args, kwargs)
        if not self._cuts(call):
            return self.fn_ref.original_forward(*args, **kwargs)
        self.asked, self._net = call, module
        sample = call["sample"]
        numbers = torch.arange(1, len(sample) + 1, device=sample.device, dtype=torch.float32)[:, None]
        return (
            ([numbers], numbers)
            if not call.get("return_dict", True)
            else ControlNetOutput([numbers], numbers)
        )

    def taken(self, call: dict[str, Any]) -> Control | None:
        """The control that a denoiser's call asks for, taken out of the call."""
        asked, self.asked = self.asked, None
        numbers = call.get(RESIDUALS[1])
        if asked is None or numbers is None:
            return None
        for name in RESIDUALS:
            del call[name]
        return Control(self, asked, [int(number) for number in numbers[:, 0]])

    def run(self, call: dict[str, Any]) -> tuple[Sequence[Tensor], Tensor]:
        """The network itself, with what offload puts around it."""
        assert self._net is not None
        self._open = True
        try:
            down, mid = self._net(**call)
        finally:
            self._open = False
        return down, mid


class Control:
    """What the control network says to one step's tiles.

    Args:
        asked: its call about the canvas.
        numbers: for each row of the denoiser, which of its rows (from 1) belongs to it, 0: none.
    """

    def __init__(self, net: Deferred, asked: dict[str, Any], numbers: Sequence[int]) -> None:
        self._net, self._asked, self._numbers = net, asked, numbers
        self._rows = len(asked["sample"])

    def of(self, surface: Surface, telling: Telling) -> Callable[[Batch], dict[str, Any]]:
        """The denoiser's arguments for a batch."""
        scale = self._asked["conditioning_scale"]
        if not any(scale) if isinstance(scale, (list, tuple)) else not scale:
            return lambda batch: {}
        tell = telling.of(self._asked, self._rows)

        def residuals(batch: Batch) -> dict[str, Any]:
            told = condition_of(self._asked, batch.windows, surface, self._rows)
            down, mid = self._net.run(tell(batch, told))
            return dict(zip(RESIDUALS, ([self._spread(one) for one in down], self._spread(mid))))

        return eager(residuals)

    def _spread(self, residual: Tensor) -> Tensor:
        """From the control network's rows to the denoiser's."""
        if list(self._numbers) == list(range(1, self._rows + 1)):
            return residual
        rows = residual.unflatten(0, (self._rows, -1))
        zeros = torch.zeros_like(rows[0])
        return torch.stack([rows[number - 1] if number else zeros for number in self._numbers]).flatten(0, 1)
