"""The hook on the denoiser: each of its calls becomes calls for the patches of a plan."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from diffusers.hooks import ModelHook
from diffusers.utils.torch_utils import unwrap_module
from torch import Tensor, nn

from tile_diffusers.drawing import Drawing
from tile_diffusers.eager import eager
from tile_diffusers.latents import Latents, latents_of
from tile_methods.fuse import Model, fuse
from tile_methods.patch import Batch

NAME = "tiled_diffusion"


def bound(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """A call's arguments by name, whichever way they were given."""
    signature = inspect.signature(type(unwrap_module(module)).forward)
    call = dict(signature.bind(module, *args, **kwargs).arguments)
    del call[next(iter(signature.parameters))]  # self
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            call.update(call.pop(parameter.name, {}))
    return call


class Tiles(ModelHook):
    """Draws by tiles what is larger than one."""

    def __init__(self, drawing: Drawing) -> None:
        super().__init__()
        self._drawing = drawing

    @eager
    def new_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """The denoiser's forward."""
        call = bound(module, args, kwargs)
        latents = latents_of(call)
        plan = self._drawing.plan(latents, call)
        if plan is None:
            return self.fn_ref.original_forward(*args, **kwargs)
        kinds: list[Any] = []  # of the network's outputs
        canvas = fuse(
            plan,
            self._model(latents, kinds),
            latents.x,
            latents.x.new_zeros(len(latents.x)),  # the timestep is among what the call is told
            latents.cond,
            channels=_channels(module),
            ranks=self._drawing.ranks,
        )
        return _as(kinds[-1], latents.output(canvas))

    def _model(self, latents: Latents, kinds: list[Any]) -> Model:
        @eager
        def model(batch: Batch, x: Tensor, sigma: Tensor, told: Any) -> Tensor:
            window = batch.windows[0]
            call = self._drawing.told(batch, told, len(latents.x), latents.surface)
            out = self.fn_ref.original_forward(**latents.arguments(x, window), **call)
            kinds[:] = [type(out)]
            return latents.prediction(out[0], window)

        return model


def _channels(module: nn.Module) -> int | None:
    config = getattr(unwrap_module(module), "config", {})
    return config.get("out_channels")


def _as(kind: Any, sample: Tensor) -> Any:
    """A network's output as it gives it: a tuple, or a class of its own."""
    return (sample,) if issubclass(kind, tuple) else kind(sample=sample)
