"""sd-webui-controlnet beside tiles: in every model call each patch sees its own cut of every unit's hint.

Its units are known by the attributes that its own hook reads (version 1.1.4xx). Their hints travel with the condition
of the canvas, so that they are cut for patches, and picked for rows, as everything else in it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tile_host.hosts.family import order
from tile_host.hosts.protocol import Denoise
from tile_utils.fingerprint import fingerprint
from tile_utils.settings import SettingsError
from tile_utils.surface import OPT_F, Surface

logger = logging.getLogger("Tiled Diffusion")
TITLE, SCRIPT, CLASS = "controlnet", "controlnet.py", "Script"
CUTS = "controlnet hints"
"""The key in a condition."""
NEEDED = (
    "control_model", "control_model_type", "preprocessor", "hint_cond", "hr_hint_cond", "used_hint_cond",
    "used_hint_cond_latent",
)  # fmt: skip
OLD = (
    "Tiled Diffusion: this version of ControlNet cannot be used with tiles (its units have no '{}'); update "
    "sd-webui-controlnet to 1.1.455, or switch its units off."
)
ENCODED_FOR = ("colorfix", "inpaint_only")
"""In names of preprocessors: the VAE encodes their hint."""
SETTINGS = (
    "control_model_type", "preprocessor", "weight", "advanced_weighting", "start_guidance_percent",
    "stop_guidance_percent", "soft_injection", "cfg_injection", "global_average_pooling", "hr_option",
)  # fmt: skip
BOUND = "Controlllite"
INPAINTING_CHANNELS = 9
MARK = 1024
"""What ControlNet puts in front of prompts, one token long; in front of negative ones the opposite."""


def installed() -> list[str]:
    return order.script_files(SCRIPT)


def let_go_first(file: str, script_class: type, hook: str) -> None:
    """Have `hook` of a script of ours called before ControlNet's, whose hints depend on what it sets."""
    order.before(file, script_class, hook, installed(), CLASS)


def _script(p: Any) -> Any:
    """ControlNet's script in this generation, or None."""
    scripts = p.scripts.alwayson_scripts if p.scripts else []
    return next((script for script in scripts if script.title().lower() == TITLE), None)


def release(p: Any) -> None:
    """Take out the hook that ControlNet leaves on the UNet when a generation fails; jobs of other tabs would fail."""
    network = getattr(_script(p), "latest_network", None)
    if network is not None and hasattr(network, "restore"):
        network.restore()
        _script(p).latest_network = None


def _units(p: Any) -> tuple[Any, list[Any]]:
    """(its hook, the units) that are on in this generation."""
    network = getattr(_script(p), "latest_network", None)
    return network, list(getattr(network, "control_params", None) or [])


def networks(p: Any) -> list[nn.Module]:
    models = [getattr(param, "control_model", None) for param in _units(p)[1]]
    return [model for model in models if isinstance(model, nn.Module)]


def is_uncut(p: Any) -> bool:
    """Is a unit on that gave its picture to the UNet's layers before sampling began?"""
    return any(_kind(param) == BOUND for param in _units(p)[1])


def hints(p: Any, surface: Surface, hires: bool, device: torch.device) -> Hints | None:
    """What its units show in a pass on this surface; None where none is on.

    Args:
        hires: is it the hires pass?
        device: where the hints wait.

    Raises:
        SettingsError: a version that is not known.
    """
    network, params = _units(p)
    if not params:
        return None
    for name in NEEDED:
        if any(not hasattr(param, name) for param in params):
            raise SettingsError(OLD.format(name))
    return Hints(network, p, _Canvas(surface, hires, device))


def _sees_picture(param: Any) -> bool:
    """Is its hint a picture of the canvas? Others have embeddings, or a form of their own."""
    hint = param.hint_cond
    return _kind(param) != BOUND and isinstance(hint, Tensor) and hint.ndim == 4 and hint.shape[1] in (3, 4)


@dataclass(frozen=True)
class _Canvas:
    """A pass' canvas; `device`: where hints wait."""

    surface: Surface
    hires: bool
    device: torch.device

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.surface.height * OPT_F, self.surface.width * OPT_F


class _Unit:
    """One unit, with what of it lies on the canvas."""

    def __init__(self, network: Any, p: Any, param: Any, canvas: _Canvas) -> None:
        self.param, self._network, self._p, self._canvas = param, network, p, canvas
        self._sources: tuple[Any, Any] = (None, None)
        self._whole: dict[str, Tensor] = {}

    def whole(self) -> dict[str, Tensor]:
        """Hint, mask and latents of the whole canvas, by the names that ControlNet has for them; made once, and again
        where another extension has put another hint in."""
        param = self.param
        own = (
            param.hr_hint_cond
            if self._canvas.hires and isinstance(param.hr_hint_cond, Tensor)
            else param.hint_cond
        )
        mask = getattr(param, "effective_region_mask", None)
        if self._sources[0] is not own or self._sources[1] is not mask:
            self._sources = own, mask
            self._whole = {
                key: _waiting(value, self._canvas.device) for key, value in self._made(own, mask).items()
            }
        return self._whole

    def _made(self, own: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
        hint = _fitted(own, self._canvas.size, self._canvas.surface.wraps)
        whole = {"hint_cond": hint}
        if mask is not None:
            whole["effective_region_mask"] = F.interpolate(mask.float(), self._canvas.size, mode="bilinear")
        name = self.param.preprocessor["name"]
        if _kind(self.param) == "AttentionInjection" or any(part in name for part in ENCODED_FOR):
            whole["used_hint_cond_latent"] = self._network.call_vae_using_process(self._p, hint)
        if hint.shape[1] == 4 and _unet_channels(self._network) == INPAINTING_CHANNELS:
            whole["used_hint_inpaint_hijack"] = _masked_picture(self._network, self._p, hint)
        return whole

    def settings(self) -> dict[str, str]:
        """What else it does, as text."""
        return {name: str(vars(self.param).get(name)) for name in SETTINGS}

    @contextmanager
    def showing(self, cuts: Mapping[str, Tensor], hires: bool, mark: Callable[[], Tensor]) -> Iterator[None]:
        """Inside, ControlNet sees these cuts; afterwards what it saw before."""
        before = dict(vars(self.param))
        hint = cuts["hint_cond"]
        try:
            self.param.hint_cond = (
                hint  # in newer versions a property, which forgets what was made of another
            )
            shown = {**cuts, "used_hint_cond": hint, "hr_hint_cond": hint if hires else None}
            vars(self.param).update({key: value for key, value in shown.items() if key != "hint_cond"})
            if _kind(self.param) == "T2I_Adapter":
                cfg = self.param.cfg_injection
                self.param.control_model = _ForgetfulAdapter(self.param.control_model, mark if cfg else None)
                self.param.cfg_injection = False
            yield
        finally:
            vars(self.param).clear()
            vars(self.param).update(before)


class _ForgetfulAdapter:
    """A T2I adapter, which keeps what it made of the first hint that it was given.

    `mark`: 1 for prompts and 0 for negative ones, where these are drawn without it: ControlNet itself takes for granted
    that the hint has one row.
    """

    def __init__(self, adapter: Any, mark: Callable[[], Tensor] | None) -> None:
        self._adapter, self._mark = adapter, mark

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["_adapter"], name)

    def __call__(self, **given: Any) -> list[Tensor]:
        self._adapter.reset()
        try:
            control = self._adapter(**given)
        finally:
            self._adapter.reset()
        return control if self._mark is None else [part * self._mark() for part in control]


class Hints:
    """What ControlNet's units show in one pass."""

    def __init__(self, network: Any, p: Any, canvas: _Canvas) -> None:
        self._network, self._p, self._canvas = network, p, canvas
        self._known: dict[int, _Unit] = {}
        for unit in self._units():
            unit.whole()

    def _units(self) -> list[_Unit]:
        """Those that are on now."""
        params = [param for param in self._network.control_params or [] if _sees_picture(param)]
        return [
            self._known.setdefault(id(param), _Unit(self._network, self._p, param, self._canvas))
            for param in params
        ]

    def beside(self, cond: Any) -> Any:
        """The condition of the canvas with the hints in it."""
        return {**cond, CUTS: [unit.whole() for unit in self._units()]}

    def shown(self, denoise: Denoise) -> Denoise:
        """The host's model, shown what its condition holds of the hints."""
        units = self._units()

        def with_cuts(x: Tensor, sigma: Tensor, cond: Any) -> Tensor:
            rest = {key: value for key, value in cond.items() if key != CUTS}
            with ExitStack() as stack:
                for unit, cuts in zip(units, cond[CUTS]):
                    near = {key: cut.to(x.device, non_blocking=True) for key, cut in cuts.items()}
                    stack.enter_context(
                        unit.showing(near, self._canvas.hires, lambda: self._network.model.cond_mark)
                    )
                return denoise(x, sigma, rest)

        return with_cuts

    def key(self) -> Hashable:
        """Equal where the units show, and do, the same."""
        return fingerprint([(unit.whole(), unit.settings()) for unit in self._units()])


def marked_as(text: Any, main: Any) -> Any:
    """A prompt's encoding [tokens, channels] with the mark that another of the same row has.

    Without it ControlNet takes negative prompts for prompts.
    """
    if isinstance(text, dict):
        return {**text, "crossattn": marked_as(text["crossattn"], main["crossattn"])}
    return torch.cat([main[:1].to(text), text]) if _is_marked(main) and not _is_marked(text) else text


def _is_marked(text: Tensor) -> bool:
    return bool((text[0].abs() == MARK).all())


def _kind(param: Any) -> str:
    return str(getattr(param.control_model_type, "name", ""))


def _unet_channels(network: Any) -> int:
    return int(getattr(network.model, "in_channels", 4))


def _fitted(hint: Tensor, size: tuple[int, int], wraps: tuple[bool, bool]) -> Tensor:
    """A hint [B, C, h, w] in the canvas' size, smoothed across edges that are joined; its mask, if any, stays hard."""
    if hint.shape[-2:] == size:
        return hint
    copies = [3 if joined else 1 for joined in wraps]  # it lies between itself
    sides = [side * count for side, count in zip(size, copies)]
    larger = F.interpolate(hint[:, :3].float().repeat(1, 1, *copies), sides, mode="bilinear", antialias=True)
    top, left = (side * joined for side, joined in zip(size, wraps))
    picture = larger[..., top : top + size[0], left : left + size[1]]
    return torch.cat([picture, F.interpolate(hint[:, 3:].float(), size)], 1) if hint.shape[1] > 3 else picture


def _masked_picture(network: Any, p: Any, hint: Tensor) -> Tensor:
    """What a checkpoint for inpainting sees beside its latent: the mask, and the latent of the rest. [1, 5, h, w]"""
    mask = (hint[:, 3:] > 0.5).to(hint)
    latent = network.call_vae_using_process(p, hint[:, :3], mask=mask)
    return torch.cat([F.max_pool2d(mask, OPT_F).to(latent), latent], 1)


def _waiting(tensor: Tensor, device: torch.device) -> Tensor:
    """On the device where it waits; pinned in the host's memory if that is the CPU's, so that cuts get away fast."""
    there = tensor.detach().to(device)
    return there.pin_memory() if device.type == "cpu" and torch.cuda.is_available() else there
