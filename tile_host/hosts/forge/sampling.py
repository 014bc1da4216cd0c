"""One sampling pass: a conditioning modifier of the pass' UNet puts our model in the place of the host's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from modules import shared
from tile_host.hosts.family import job
from tile_host.hosts.family.sampling import PassOfFamily
from tile_host.hosts.forge.controls import Held
from tile_host.hosts.forge.engine import engine
from tile_host.hosts.protocol import Denoise, DenoiserCall, Step
from tile_host.rows import Asked
from tile_methods.fuse import Prediction
from tile_utils import patching
from tile_utils.settings import SettingsError

MODIFIERS, PEAK, WRAPPER = (
    "conditioning_modifiers",
    "memory_peak_estimation_modifier",
    "model_function_wrapper",
)
TAG, CHUNK = "tiled rows", "tiled chunks"
"""Keys in a condition: which rows of a step a call is about; the chunk of each row of a call."""
Modifier = Callable[..., tuple[Any, ...]]
TAKEN = (
    "Tiled Diffusion stands back: '{}' draws this pass in its own way. Allowed is one of them; switch 'MultiDiffusion "
    "Integrated' off to have Tiled Diffusion draw."
)
SAG = (
    "Tiled Diffusion: 'SelfAttentionGuidance Integrated' is on, which needs the attention of the whole picture at "
    "once; allowed is it or Tiled Diffusion. 'PerturbedAttentionGuidance Integrated' works with tiles."
)


class _Tag:
    """A condition's numbers among the rows of a step, through the host's batching."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self.numbers = tuple(numbers)

    def process_cond(self, **_how: Any) -> _Tag:
        return self

    def can_concat(self, other: _Tag) -> bool:
        return True

    def concat(self, others: Sequence[_Tag]) -> tuple[int, ...]:
        return sum((other.numbers for other in others), self.numbers)

    def size(self) -> list[int]:
        """reForge asks it, for its estimate of memory."""
        return [len(self.numbers)]


class _Replaced:
    """The model of a pass with its calls replaced and all else passed through.

    Args:
        call: `call(denoise, x, sigma, cond, rows)`.
        size: (height, width) of the canvas; calls about anything else are let through.
        largest: latent pixels a row of the largest call that `call` makes.
    """

    def __init__(self, model: Any, call: Callable[..., Tensor], size: tuple[int, ...], largest: int) -> None:
        self._model, self._call, self._size, self._largest = model, call, size, largest

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def memory_required(self, input_shape: Sequence[int], **more: Any) -> Any:
        return self._model.memory_required(_at_most(input_shape, self._largest), **more)

    def apply_model(self, x: Tensor, t: Tensor, **c: Any) -> Tensor:
        rows, options = c.pop(TAG, ()), c.pop("transformer_options")

        def denoise(x: Tensor, sigma: Tensor, cond: Any) -> Tensor:
            return _denoise(self._model, x, sigma, cond, options)

        cond = {**c, CHUNK: _chunks(options, len(x))}
        tiled = len(rows) == len(x) and tuple(x.shape[-2:]) == self._size
        return self._call(denoise, x, t, cond, rows) if tiled else denoise(x, t, cond)


def _chunks(options: dict[str, Any], rows: int) -> Tensor:
    """The chunk of each row of a call."""
    return torch.arange(rows) // (rows // len(options["cond_or_uncond"]))


def _denoise(model: Any, x: Tensor, sigma: Tensor, cond: dict[str, Any], options: dict[str, Any]) -> Tensor:
    """The host's model about rows that may be patches of the canvas' rows."""
    told = {key: value for key, value in cond.items() if key != CHUNK}
    told["transformer_options"] = _options(options, cond[CHUNK].tolist(), sigma)
    held = told.get("control")
    if isinstance(held, Held):
        bare = {key: value for key, value in told.items() if key not in engine.CONTROL}
        told.update(zip(engine.CONTROL, (held.output(x, sigma, bare), held.net)))
    return model.apply_model(x, sigma, **told)


def _options(options: dict[str, Any], chunks: list[int], sigma: Tensor) -> dict[str, Any]:
    """What the host tells of its rows, told of rows from these chunks: they stay in chunks where there are as many of
    each."""
    marks = options["cond_or_uncond"]
    size, new = len(chunks) // len(marks), list(range(len(marks)))
    if chunks != [chunk for chunk in new for _ in range(size)]:
        size, new = 1, chunks
    told = {**options, "cond_or_uncond": [marks[chunk] for chunk in new], "sigmas": sigma[:size]}
    return engine.told(told, new, [marks[chunk] for chunk in chunks])


def _at_most(shape: Sequence[int], pixels: int) -> list[int]:
    """A shape [B, C, h, w] with no more latent pixels a row: estimates go by the area."""
    return [*shape[:2], 1, min(shape[-2] * shape[-1], pixels)]


class Sampling(PassOfFamily):
    """See `protocol.Sampling`."""

    @contextmanager
    def hooked(self, p: Any, call: DenoiserCall, largest: int) -> Iterator[None]:
        denoiser = p.sampler.model_wrap_cfg
        modifier = _modifier(p, call, largest)
        with ExitStack() as attached:

            def attach() -> None:
                attached.enter_context(_attached(shared.sd_model, modifier, largest))

            def following(update: Callable[[], None]) -> Callable[[], None]:
                def updated() -> None:
                    update()
                    attach()

                return updated

            attach()
            # The refiner: the host tells the denoiser of its new checkpoint before it makes room for it.
            attached.enter_context(patching.wrapped(denoiser, "update_inner_model", following))
            yield

    def network(self, p: Any) -> nn.Module:
        network: nn.Module = shared.sd_model.forge_objects.unet.model.diffusion_model
        return network

    def model(self, p: Any) -> Denoise:
        unet = shared.sd_model.forge_objects.unet

        def denoise(x: Tensor, sigma: Tensor, cond: Any) -> Tensor:
            options = {**unet.model_options["transformer_options"], "cond_or_uncond": [0], **engine.CALL}
            return _denoise(unet.model, x, sigma, {CHUNK: _chunks(options, len(x)), **cond}, options)

        return denoise

    @contextmanager
    def ready(self, p: Any, x: Tensor, largest: int) -> Iterator[None]:
        unet = shared.sd_model.forge_objects.unet.clone()
        _count_on(unet, largest)
        engine.sampling_prepare(unet, x)
        try:
            yield
        finally:
            engine.sampling_cleanup(unet)

    def prediction(self, p: Any, sigma: Tensor) -> Prediction:
        one = torch.ones_like(sigma).view(-1, 1, 1, 1)
        return Prediction(torch.zeros_like(one), one)

    def condition(self, text: Any, image: Tensor) -> dict[str, Any]:
        unet = shared.sd_model.forge_objects.unet
        (told,) = engine.compiled(text)
        cond = {name: part.cond for name, part in told["model_conds"].items()}
        if image.shape[-2:] != (1, 1):  # what the host has where the checkpoint sees no picture
            cond["c_concat"] = image
        if (net := unet.controlnet_linked_list) is not None:
            cond["control"] = Held(net)
        return cond

    @contextmanager
    def retouched(self, p: Any, factor: float) -> Iterator[None]:
        def divided(timestep: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
            return lambda sigma: timestep(sigma) / factor

        schedule = engine.schedule(shared.sd_model.forge_objects.unet.model)
        with ExitStack() as patches:
            if factor != 1:
                patches.enter_context(patching.wrapped(schedule, "timestep", divided))
            yield

    def noise_between(self, latent: Tensor, noisy: Tensor, sigma: Tensor) -> Tensor:
        return (noisy - engine.kept(shared.sd_model.forge_objects.unet.model, latent, sigma)) / sigma


@contextmanager
def _attached(model: Any, modifier: Modifier, largest: int) -> Iterator[None]:
    """The modifier on the checkpoint's UNet of this pass, and on the copies that others make of it."""
    objects = model.forge_objects
    before = objects.unet
    if modifier in before.model_options.get(MODIFIERS, ()):
        yield
        return
    objects.unet = unet = before.clone()
    unet.model_options[MODIFIERS] = [*unet.model_options.get(MODIFIERS, ()), modifier]
    estimate = _count_on(unet, largest)
    try:
        yield
    finally:
        for left in {id(each): each for each in (objects, model.forge_objects)}.values():
            if left.unet is unet:
                left.unet = before
            else:
                _detach(left.unet, modifier, estimate)


def _detach(unet: Any, modifier: Modifier, estimate: Callable[..., Any]) -> None:
    """Off a copy that somebody else has made."""
    options = unet.model_options
    kept = [each for each in options.pop(MODIFIERS, ()) if each is not modifier]
    if kept:
        options[MODIFIERS] = kept
    if options.get(PEAK) is estimate:
        del options[PEAK]


def _count_on(unet: Any, largest: int) -> Callable[[Sequence[int]], Any]:
    """Let the host make room for no more than our largest call."""
    own = unet.model_options.get(PEAK, unet.memory_required)

    def estimate(shape: Sequence[int]) -> Any:
        return own(_at_most(shape, largest))

    unet.model_options[PEAK] = estimate
    unet.memory_required = estimate  # Neo asks nobody else
    return estimate


def _modifier(p: Any, call: DenoiserCall, largest: int) -> Modifier:
    """A plain function: the host copies a UNet's options deeply."""
    denoiser = p.sampler.model_wrap_cfg
    order = p.sampler.config.total_steps(1)  # calls of a step

    def model_call(model: Denoise, x: Tensor, sigma: Tensor, cond: Any, rows: tuple[int, ...]) -> Tensor:
        step = Step(denoiser.step // order, denoiser.step, denoiser.total_steps or 0)
        return call(model, x, sigma, cond, step, Asked(denoiser.step, rows))

    def modifier(
        model: Any, x: Tensor, sigma: Tensor, uncond: Any, cond: Any, scale: Any, options: Any, seed: Any
    ) -> tuple[Any, ...]:
        if (wrapper := options.get(WRAPPER)) is not None:
            job.tell(p, TAKEN.format(type(wrapper).__module__))
        elif not isinstance(model, _Replaced):
            _refuse(options)
            cond, uncond = _tagged(cond, uncond, denoiser, len(x))
            model = _Replaced(model, model_call, tuple(x.shape[-2:]), largest)
        return model, x, sigma, uncond, cond, scale, options, seed

    return modifier


def _refuse(options: dict[str, Any]) -> None:
    """Raises SettingsError for what fails on tiles."""
    for function in options.get("sampler_post_cfg_function", ()):
        if "SelfAttentionGuidance" in getattr(function, "__qualname__", ""):
            raise SettingsError(SAG)


def _tagged(cond: Any, uncond: Any, denoiser: Any, pictures: int) -> tuple[Any, Any]:
    """The host's entries (one for each part of the prompts) with their rows' numbers; control networks are held."""
    parts = [len(each) for each in denoiser.sampler.sampler_extra_args["cond"].batch]
    starts = [sum(parts[:picture]) for picture in range(pictures)]
    held: dict[int, Held] = {}

    def tagged(entry: dict[str, Any], numbers: Sequence[int]) -> dict[str, Any]:
        new = {**entry, "model_conds": {**entry["model_conds"], TAG: _Tag(numbers)}}
        if (net := entry.get("control")) is not None:
            new["control"] = held.setdefault(id(net), Held(net))
        return new

    conds = [tagged(entry, [start + part for start in starts]) for part, entry in enumerate(cond)]
    if uncond is None:
        return conds, None
    first = sum(parts)
    return conds, [tagged(entry, range(first, first + pictures)) for entry in uncond]
