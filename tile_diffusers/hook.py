"""The hook on the denoiser: each of its calls becomes calls for the patches of a plan."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from diffusers.hooks import ModelHook
from diffusers.utils.torch_utils import unwrap_module
from torch import nn

from tile_diffusers import schedule
from tile_diffusers.adapters import Adapters
from tile_diffusers.caches import Caches
from tile_diffusers.calls import bound
from tile_diffusers.control import Control, Deferred
from tile_diffusers.drawing import Drawing
from tile_diffusers.eager import eager
from tile_diffusers.latents import Latents, latents_of
from tile_diffusers.limits import checked
from tile_diffusers.step import Call
from tile_diffusers.telling import Telling
from tile_diffusers.words import Words
from tile_methods.fuse import fuse
from tile_methods.patch import Plan
from tile_utils.settings import SettingsError

NAME = "tiled_diffusion"


class Tiles(ModelHook):
    """Draws by tiles what is larger than one."""

    def __init__(self, pipe: Any, name: str, drawing: Drawing) -> None:
        """Args:
        name: the pipeline's attribute that holds the denoiser.
        """
        super().__init__()
        self._pipe, self._name, self._drawing = pipe, name, drawing
        regions = dict(enumerate(drawing.settings.regions, 1))
        self._adapters = Adapters(pipe, {name for region in regions.values() for name in region.adapters})
        self._words = Words(pipe, regions, self._adapters)
        self.control = Deferred(self._cuts)
        self._net = getattr(pipe, name)
        self._caches: Caches | None = None

    @contextmanager
    def around(self, call: dict[str, Any]) -> Iterator[None]:
        """Around a call of the pipeline.

        Raises:
            SettingsError: its denoiser is another one by now.
        """
        if getattr(self._pipe, self._name) is not self._net:
            raise SettingsError(
                f"tiled_diffusion: the pipeline's '{self._name}' was exchanged inside the `with`; exchange it before."
            )
        self._drawing.begin(call)
        self._caches = None
        with self._drawing.ranks.together(), ExitStack() as stack:
            stack.enter_context(schedule.of_tiles(self._pipe, self._drawing.tokens))
            stack.enter_context(self._words.listening())
            yield

    def _cuts(self, call: dict[str, Any]) -> bool:
        return self._drawing.plan(latents_of(call), call) is not None

    @eager
    def new_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """The denoiser's forward."""
        call = bound(module, args, kwargs)
        control = self.control.taken(call)
        latents = latents_of(call)
        plan = self._drawing.plan(latents, call)
        if plan is None:
            return self.fn_ref.original_forward(*args, **kwargs)
        if self._caches is None:
            self._caches = Caches(unwrap_module(module), self._drawing.settings.shift)
        return self._drawn(module, plan, latents, control)

    def _drawn(self, module: nn.Module, plan: Plan, latents: Latents, control: Control | None) -> Any:
        """The denoiser's output for the canvas."""
        assert self._caches is not None
        latents.cond = checked(latents.cond, latents.surface)
        with self._adapters.kept() as switch:
            tell = Telling(self._words, latents.surface, self._drawing.told_unit(latents))
            call = Call(self.fn_ref.original_forward, latents, control, tell, self._caches, switch)
            canvas = fuse(
                plan,
                call.model,
                latents.x,
                latents.x.new_zeros(len(latents.x)),  # the timestep is among what the call is told
                latents.cond,
                channels=getattr(unwrap_module(module), "config", {}).get("out_channels"),
                ranks=self._drawing.ranks,
            )
        return call.output(canvas)
