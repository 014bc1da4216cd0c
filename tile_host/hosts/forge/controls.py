"""The host's own ControlNet beside tiles: in every model call each patch sees its own cut of every unit's hint.

The host runs its control networks on what it is about to ask the model, and hands their output on. `Held` takes their
place until the patches are known. Their hints travel with the condition of the canvas, and are cut with it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tile_host.hosts.family import order
from tile_host.hosts.forge.engine import engine
from tile_host.hosts.protocol import Denoise
from tile_utils import patching
from tile_utils.fingerprint import fingerprint
from tile_utils.surface import OPT_F, Surface

SCRIPT, CLASS = "controlnet.py", "ControlNetForForgeOfficial"
CUTS = "controlnet hints"
"""The key in a condition."""
SETTINGS = (
    "strength",
    "timestep_percent_range",
    "positive_advanced_weighting",
    "negative_advanced_weighting",
)


class Held:
    """In the place of the first of a chain of control networks, then of their output.

    Args:
        cuts: for each of the chain what it sees, by its attributes' names; None: the host's own fitting.
    """

    previous_controlnet = None
    """The host walks the chain, to tell each of …"""
    transformer_options: Any = None
    """… the canvas' rows; `output` tells of its own."""

    def __init__(self, net: Any, cuts: Sequence[dict[str, Tensor]] | None = None) -> None:
        self.net, self._cuts = net, cuts

    def showing(self, cuts: Sequence[dict[str, Tensor]]) -> Held:
        return Held(self.net, cuts)

    def get_control(self, *_about: Any) -> Held:
        """What the host calls before the model."""
        return self

    def chain(self) -> Iterator[Any]:
        net = self.net
        while net is not None:
            yield net
            net = net.previous_controlnet

    def output(self, x: Tensor, t: Tensor, cond: dict[str, Any]) -> Any:
        """What the networks say about these rows."""
        nets = list(self.chain())
        with ExitStack() as shown:
            for index, net in enumerate(nets):
                for name, value in self._shown(net, index).items():
                    shown.enter_context(patching.attribute(net, name, value))
            return engine.said(nets, x, t, cond)

    def _shown(self, net: Any, index: int) -> dict[str, Any]:
        if self._cuts is None:
            return {}
        forgotten = {"control_input": None} if hasattr(net, "control_input") else {}  # a T2I adapter's
        return {**forgotten, **self._cuts[index]}


class Hints:
    """See `protocol.Hints`."""

    def __init__(self, net: Callable[[], Any], surface: Surface, device: torch.device) -> None:
        self._net, self._surface, self._device = net, surface, device
        self._fitted: dict[
            int, tuple[Any, dict[str, Tensor]]
        ] = {}  # of each network, and of what it was made

    def beside(self, cond: Any) -> Any:
        held = cond.get("control")
        if not isinstance(held, Held):
            return cond
        rows = len(cond["c_crossattn"])
        return {**cond, CUTS: [_by_row(self._whole(net), rows) for net in held.chain()]}

    def shown(self, denoise: Denoise) -> Denoise:
        def with_cuts(x: Tensor, sigma: Tensor, cond: Any) -> Tensor:
            if CUTS not in cond:
                return denoise(x, sigma, cond)
            told = {**cond, "control": cond["control"].showing(cond[CUTS])}
            del told[CUTS]
            return denoise(x, sigma, told)

        return with_cuts

    def _whole(self, net: Any) -> dict[str, Tensor]:
        """What a network sees of the whole canvas; made once a pass."""
        made_of, whole = self._fitted.get(id(net), (None, {}))
        if made_of is not net.cond_hint_original:
            made_of, whole = net.cond_hint_original, {}
            if isinstance(made_of, Tensor):
                whole["cond_hint"] = self._hint(net)
            if isinstance(mask := getattr(net, "advanced_mask_weighting", None), Tensor):
                size = (self._surface.height * OPT_F, self._surface.width * OPT_F)
                fitted = F.interpolate(mask.float(), size, mode="bilinear")
                whole["advanced_mask_weighting"] = fitted.to(self._device)
            self._fitted[id(net)] = made_of, whole
        return whole

    def _hint(self, net: Any) -> Tensor:
        """As the host fits it: the middle of the picture, in the canvas' ratio and size."""
        height, width = self._surface.height * OPT_F, self._surface.width * OPT_F
        hint = engine.fitted(net.cond_hint_original, width, height)
        if getattr(net, "channels_in", None) == 1 and hint.shape[1] > 1:
            hint = hint.mean(1, keepdim=True)
        model = getattr(net, "control_model", None)
        dtype = getattr(net, "manual_cast_dtype", None) or getattr(model, "dtype", torch.float32)
        return hint.to(self._device, dtype)

    def key(self) -> Hashable:
        held = Held(self._net())
        return fingerprint([(self._whole(net), _settings(net)) for net in held.chain()])


def _settings(net: Any) -> list[str]:
    return [
        type(getattr(net, "control_model", net)).__name__,
        *(str(getattr(net, n, None)) for n in SETTINGS),
    ]


def _by_row(whole: dict[str, Tensor], rows: int) -> dict[str, Tensor]:
    """Picture by picture in every chunk of rows, as the host repeats them; one for all stays one."""
    picks = torch.arange(rows)
    return {key: value if len(value) == 1 else value[picks % len(value)] for key, value in whole.items()}


def installed() -> list[str]:
    return order.script_files(SCRIPT)


def let_go_first(file: str, script_class: type, hook: str) -> None:
    order.before(file, script_class, hook, installed(), CLASS)


def hints(p: Any, surface: Surface, hires: bool, device: torch.device) -> Hints:
    """The units put their networks into the pass later than our script is asked: they are looked for at each call."""
    return Hints(lambda: p.sd_model.forge_objects.unet.controlnet_linked_list, surface, device)


def networks(p: Any) -> list[nn.Module]:
    chain = Held(p.sd_model.forge_objects.unet.controlnet_linked_list).chain()
    models = [getattr(net, "control_model", None) for net in chain]
    return [model for model in models if isinstance(model, nn.Module)]


def release(p: Any) -> None:
    """They leave nothing behind."""
