"""One call of the denoiser about a canvas: what its networks are asked about a batch of patches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from torch import Tensor

from tile_diffusers.adapters import Switch
from tile_diffusers.caches import Caches
from tile_diffusers.control import Control
from tile_diffusers.eager import eager
from tile_diffusers.latents import Latents
from tile_diffusers.telling import Telling
from tile_methods.patch import Batch


class Call:
    """See `model`, which is `fuse.Model`.

    Args:
        forward: the denoiser's.
    """

    def __init__(
        self,
        forward: Callable[..., Any],
        latents: Latents,
        control: Control | None,
        telling: Telling,
        caches: Caches,
        switch: Switch,
    ) -> None:
        self._forward, self._latents, self._caches, self._switch = forward, latents, caches, switch
        self._control = None if control is None else control.of(latents.surface, telling)
        self._tell = telling.of(latents.cond, len(latents.x))
        dictionary = latents.cond.get("return_dict", True)
        self._kind: type[Any] = UNet2DConditionOutput if dictionary else tuple
        """Of the denoiser's outputs; as good as its own for a rank without a tile, which never sees one."""

    @eager
    def model(self, batch: Batch, x: Tensor, sigma: Tensor, told: Any) -> Tensor:
        """What the denoiser predicts of a batch's patches."""
        self._switch.use(batch.networks)
        call = {**self._latents.arguments(x, batch.windows[0]), **self._tell(batch, told)}
        if self._control is not None:
            call |= self._control(batch)
        with self._caches.of(batch.patches[0].place):
            out = self._forward(**call)
        self._kind = type(out)
        return self._latents.prediction(out[0], batch.windows[0])

    def output(self, canvas: Tensor) -> Any:
        """The canvas as the denoiser gives it: in a tuple, or in a class of its own."""
        sample = self._latents.output(canvas)
        return (sample,) if issubclass(self._kind, tuple) else self._kind(sample=sample)
