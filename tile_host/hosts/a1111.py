"""AUTOMATIC1111's WebUI 1.10: one hook on the denoiser of the pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from modules import sd_samplers_cfg_denoiser, sd_samplers_timesteps, shared
from tile_host.hosts import controlnet
from tile_host.hosts.family import facts, job, pictures, stages, vae, words
from tile_host.hosts.family.sampling import PassOfFamily
from tile_host.hosts.protocol import Denoise, DenoiserCall, Host, Step
from tile_host.rows import RowCursor
from tile_methods.fuse import Prediction
from tile_utils import patching

ModelCall = Callable[[Denoise, Tensor, Tensor, Any], Tensor]
"""`call(model, x, sigma, cond)`, which replaces `model(x, sigma, cond=cond)`"""


class _HookedModel:
    """The model that CFGDenoiser calls, with its call replaced and all else passed through."""

    def __init__(self, model: Any, call: ModelCall) -> None:
        vars(self).update(_model=model, _call=call)

    def __call__(self, x: Tensor, sigma: Tensor, cond: Any = None, **kwargs: Any) -> Tensor:
        def denoise(x: Tensor, sigma: Tensor, cond: Any) -> Tensor:
            return self._model(x, sigma, cond=cond, **kwargs)

        return self._call(denoise, x, sigma, cond)

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["_model"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(vars(self)["_model"], name, value)


def hooked_model(denoiser: Any, call: ModelCall) -> AbstractContextManager[None]:
    """Send every model call of one CFGDenoiser through `call`.

    The hook sits on the property `inner_model` of this one instance: a refiner switch, which rebuilds the wrapper
    behind the property, keeps it, and k-diffusion and timestep samplers need no separate treatment.
    """
    original = type(denoiser).inner_model

    def inner_model(self: Any) -> _HookedModel:
        return _HookedModel(original.fget(self), call)

    return patching.instance_class(denoiser, inner_model=property(inner_model))


def answers_told(told: Callable[[], None]) -> AbstractContextManager[None]:
    """Inside, `told` is called when CFGDenoiser has the answers of a step, before extensions hear of it."""

    def with_word(callback: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            told()
            return callback(*args)

        return call

    return patching.wrapped(sd_samplers_cfg_denoiser, "cfg_denoised_callback", with_word)


class Sampling(PassOfFamily):
    """See `protocol.Sampling`."""

    @contextmanager
    def hooked(self, p: Any, call: DenoiserCall, largest: int) -> Iterator[None]:
        denoiser, cursor = p.sampler.model_wrap_cfg, RowCursor()
        order = p.sampler.config.total_steps(1)  # calls of a step

        def model_call(model: Denoise, x: Tensor, sigma: Tensor, cond: Any) -> Tensor:
            asked = cursor.next(denoiser.step, _rows_of_a_step(denoiser), len(x), _told(cond))
            step = Step(denoiser.step // order, denoiser.step, denoiser.total_steps or 0)
            return call(model, x, sigma, cond, step, asked)

        with answers_told(cursor.answered), hooked_model(denoiser, model_call):
            yield

    def network(self, p: Any) -> nn.Module:
        network: nn.Module = shared.sd_model.model.diffusion_model
        return network

    def model(self, p: Any) -> Denoise:
        denoiser = p.sampler.model_wrap_cfg

        def denoise(x: Tensor, sigma: Tensor, cond: Any) -> Tensor:
            return denoiser.inner_model(x, sigma, cond=cond)

        return denoise

    def ready(self, p: Any, x: Tensor, largest: int) -> AbstractContextManager[None]:
        """The model is where it draws from the start."""
        return nullcontext()

    def prediction(self, p: Any, sigma: Tensor) -> Prediction:
        """k-diffusion's wrappers say x0; those of the timestep samplers eps, of an x that is not scaled."""
        denoiser = p.sampler.model_wrap_cfg
        if not isinstance(denoiser, sd_samplers_timesteps.CFGDenoiserTimesteps):
            one = torch.ones_like(sigma).view(-1, 1, 1, 1)
            return Prediction(torch.zeros_like(one), one)
        alphas = denoiser.alphas[sigma.to(torch.int)].view(-1, 1, 1, 1)
        return Prediction(alphas.rsqrt(), -((1 - alphas) / alphas).sqrt())

    def needed(self, p: Any) -> Tensor | None:
        """The timestep samplers' wrapper puts the init latent into what the model sees, not into what it says; so what
        it says there lies in the drawn latent, which soft inpainting (a mask that is not rounded) goes by."""
        needed = super().needed(p)
        is_seen = p.sampler.model_wrap_cfg.mask_before_denoising and needed is not None and not p.mask_round
        return None if is_seen else needed

    def condition(self, text: Any, image: Tensor) -> dict[str, Any]:
        if getattr(shared.sd_model.model, "conditioning_key", None) == "crossattn-adm":  # unCLIP
            return {"c_crossattn": [text], "c_adm": image}
        return {**(text if isinstance(text, dict) else {"c_crossattn": [text]}), "c_concat": [image]}

    def retouched(self, p: Any, factor: float) -> AbstractContextManager[None]:
        if factor == 1:
            return nullcontext()
        owner, name = p.sampler.model_wrap_cfg.model_wrap, "sigma_to_t"
        if (flow := getattr(shared.sd_model.model, "model_sampling", None)) is not None:
            owner, name = flow, "timestep"  # SD3's wrapper passes noise levels on
        timestep = getattr(owner, name)
        return patching.attribute(owner, name, lambda *args, **kw: timestep(*args, **kw) / factor)

    def noise_between(self, latent: Tensor, noisy: Tensor, sigma: Tensor) -> Tensor:
        add = getattr(shared.sd_model, "add_noise_to_latent", None)  # SD3 fades the latent out
        return (noisy - (latent if add is None else add(latent, torch.zeros_like(latent), sigma))) / sigma


def _told(cond: Any) -> Sequence[Tensor]:
    """The text of each row of a call."""
    if "crossattn" in cond:
        return cond["crossattn"]
    return cond["c_crossattn"][0] if "c_crossattn" in cond else ()


def _rows_of_a_step(denoiser: Any) -> list[int]:
    """What CFGDenoiser asks about, in its order: conds picture by picture, unconds, and with InstructPix2Pix, which
    guides by the picture too, the unconds once more."""
    args = denoiser.sampler.sampler_extra_args
    conds, unconds = sum(map(len, args["cond"].batch)), len(args["uncond"])
    rows = list(range(conds + unconds))
    if getattr(shared.sd_model, "cond_stage_key", None) == "edit" and denoiser.image_cfg_scale not in (
        None,
        1,
    ):
        rows += rows[conds:]
    return rows


A1111 = Host("AUTOMATIC1111 WebUI", facts, job, Sampling(), words, pictures, vae, controlnet, stages)
