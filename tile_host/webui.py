"""The WebUI 1.10 side of sampling: hook the denoiser, stop on request, surface errors."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NoReturn

import torch
from torch import Tensor

from modules import devices, rng, shared
from modules.sd_samplers_common import InterruptedException
from tile_utils import patching
from tile_utils.geometry import OPT_F

DenoiserCall = Callable[[Callable[..., Tensor], Tensor, Tensor, Any], Tensor]
"""`call(model, x, sigma, cond)`, which replaces `model(x, sigma, cond=cond)`"""
SEEDS = 4294967294
"""The host draws seeds below this."""
MULTIPLES = [OPT_F * 2**power for power in range(8)]
SAMPLING = ("sample", "sample_img2img")
"""The methods of the host's sampler that go through the steps of a pass."""


class _HookedModel:
    """The model that CFGDenoiser calls, with its call replaced and all else passed through."""

    def __init__(self, model: Any, call: DenoiserCall) -> None:
        vars(self).update(_model=model, _call=call)

    def __call__(self, x: Tensor, sigma: Tensor, cond: Any = None, **kwargs: Any) -> Tensor:
        def denoise(x: Tensor, sigma: Tensor, cond: Any) -> Tensor:
            return self._model(x, sigma, cond=cond, **kwargs)

        return self._call(denoise, x, sigma, cond)

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["_model"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(vars(self)["_model"], name, value)


@contextmanager
def hooked_denoiser(cfg_denoiser: Any, call: DenoiserCall) -> Iterator[None]:
    """Send every model call of one CFGDenoiser through `call`.

    The hook sits on the property `inner_model` of this one instance: a refiner switch, which rebuilds the wrapper
    behind the property, keeps it, and k-diffusion and timestep samplers need no separate treatment.
    """
    original = type(cfg_denoiser).inner_model

    def inner_model(self: Any) -> _HookedModel:
        return _HookedModel(original.fget(self), call)

    with patching.instance_class(cfg_denoiser, inner_model=property(inner_model)):
        yield


def interrupted() -> bool:
    """Has the user asked to stop, or to go on with the next batch?"""
    return bool(shared.state.interrupted or shared.state.skipped)


def stop_if_interrupted() -> None:
    """Leave the sampler in the middle of a step when the user asked to; the host keeps the last latent."""
    if interrupted():
        raise InterruptedException


def fail_generation(owner: Any, methods: tuple[str, ...], error: Exception) -> None:
    """Make the host's next call of one of `methods` on `owner` raise `error`, once.

    The host logs exceptions of script hooks and goes on without the script. A person who switched the script on
    must see why it cannot work, so the error is raised where the host does not swallow it.
    """

    def fail(*_args: Any, **_kwargs: Any) -> NoReturn:
        for method in methods:
            vars(owner).pop(method, None)
        raise error

    for method in methods:
        setattr(owner, method, fail)


@contextmanager
def followed(owner: Any, methods: tuple[str, ...], after: Callable[[], None]) -> Iterator[None]:
    """Call `after` whenever one of these methods of `owner` has ended, by an error too."""

    def with_end(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return method(*args, **kwargs)
            finally:
                after()

        return call

    with ExitStack() as patches:
        for method in methods:
            patches.enter_context(patching.wrapped(owner, method, with_end))
        yield


def seeded_noise(seed: int, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Unit normal noise from the host's generator, without touching its state."""
    return rng.randn_local(seed, shape).to(like)


def sampling_step() -> int:
    """The sampler's current step, from 0."""
    return int(shared.state.sampling_step)


def progress_hidden() -> bool:
    """Has the user asked for no progress bars in the console?"""
    return bool(shared.cmd_opts.disable_console_progressbars)


def report_steps(name: str, done: int, steps: int) -> None:
    """Tell the page how far a part of the work is that is no sampling."""
    state = shared.state
    state.sampling_step, state.sampling_steps = done, steps
    state.textinfo = f"{name}: step {done} of {steps}"


def report_nothing() -> None:
    """What `report_steps` told is over; the sampling that follows counts its own steps, and its previews anew."""
    shared.state.textinfo = None
    shared.state.sampling_step = shared.state.current_image_sampling_step = 0


def condition(text: Any, image: Tensor) -> dict[str, Any]:
    """The `cond` of a denoiser call as the host builds it.

    Args:
        text: condition of the prompt, [rows, tokens, channels] or a dict of tensors (SDXL).
        image: conditioning by a picture, [rows, ...].
    """
    if getattr(shared.sd_model.model, "conditioning_key", None) == "crossattn-adm":  # unCLIP
        return {"c_crossattn": [text], "c_adm": image}
    return {**(text if isinstance(text, dict) else {"c_crossattn": [text]}), "c_concat": [image]}


def noise_between(latent: Tensor, noisy: Tensor, sigma: Tensor) -> Tensor:
    """The noise that the host would have to add to `latent` at noise level `sigma` to get `noisy`."""
    add = getattr(shared.sd_model, "add_noise_to_latent", None)  # SD3 fades the latent out
    return (noisy - (latent if add is None else add(latent, torch.zeros_like(latent), sigma))) / sigma


def drawn_seed(p: Any, index: int) -> int:
    """A seed for region `index`, drawn from the picture's: the page's seed fixes the whole picture."""
    return random.Random(f"{p.all_seeds[0]}/{index}").randrange(SEEDS)


def size_multiple() -> int:
    """Pixels of which the checkpoint in use wants a picture's sides to be a multiple: 8, or more (SD3's patches)."""
    fix = getattr(shared.sd_model, "fix_dimensions", None)
    if fix is None:
        return OPT_F
    return next(multiple for multiple in MULTIPLES if tuple(fix(multiple, multiple)) == (multiple, multiple))


def free_gpu() -> str:
    """Drop what is cached, on every device; returns a sentence for the user."""
    gc.collect()
    devices.torch_gc()
    gc.collect()
    return "Caches dropped, unused memory given back."
