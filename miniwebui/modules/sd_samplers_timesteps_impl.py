"""DDIM, DDIM CFG++, PLMS and UniPC over timesteps: `model(x, timesteps, **extra_args)` returns eps."""

from dataclasses import dataclass

import k_diffusion.sampling
import torch
import tqdm

from modules import shared
from modules.uni_pc import sample_unipc

CFGPP_SCALE = 12.5

# Adams–Bashforth: coefficients of the latest eps, the one before …
ADAMS_BASHFORTH = {
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}


@dataclass
class StepCoefficients:
    """ᾱ at each timestep and at the one that follows in sampling; both [timesteps]."""

    alphas: torch.Tensor
    alphas_prev: torch.Tensor

    @classmethod
    def of(cls, model, timesteps: torch.Tensor) -> "StepCoefficients":
        alphas_cumprod = model.inner_model.inner_model.alphas_cumprod
        double = torch.float32 if timesteps.device.type == "mps" else torch.float64
        previous = torch.nn.functional.pad(timesteps[:-1], pad=(1, 0))
        return cls(alphas_cumprod[timesteps], alphas_cumprod[previous].to(double))

    def sigma(self, index: int, eta: float) -> float:
        """Noise of a step (Song et al., arXiv 2010.02502, eq. 16)."""
        a, a_prev = self.alphas[index].item(), self.alphas_prev[index].item()
        return eta * ((1 - a_prev) / (1 - a) * (1 - a / a_prev)) ** 0.5

    def step(self, x, eps, direction_eps, index: int, sigma: float = 0.0):
        """(x of the next timestep without its noise, predicted x0), arXiv 2010.02502, eq. 12."""
        s_x = x.new_ones((x.shape[0], 1, 1, 1))
        a, a_prev = self.alphas[index].item() * s_x, self.alphas_prev[index].item() * s_x
        pred_x0 = (x - (1 - a).sqrt() * eps) / a.sqrt()
        direction = (1.0 - a_prev - sigma**2).sqrt() * direction_eps
        return a_prev.sqrt() * pred_x0 + direction, pred_x0


def _report(callback, x, step: int, pred_x0) -> None:
    if callback is not None:
        callback({"x": x, "i": step, "sigma": 0, "sigma_hat": 0, "denoised": pred_x0})


def _ddim_loop(model, x, timesteps, extra_args, callback, disable, eta, direction_of):
    """DDIM; `direction_of(eps)` is the eps that points to the next x."""
    coefficients = StepCoefficients.of(model, timesteps)
    s_in = x.new_ones(x.shape[0])
    for i in tqdm.trange(len(timesteps) - 1, disable=disable):
        index = len(timesteps) - 1 - i
        eps = model(x, timesteps[index].item() * s_in, **(extra_args or {}))
        sigma = coefficients.sigma(index, eta)
        x, pred_x0 = coefficients.step(x, eps, direction_of(eps), index, sigma)
        x = x + sigma * k_diffusion.sampling.torch.randn_like(x)
        _report(callback, x, i, pred_x0)
    return x


@torch.no_grad()
def ddim(model, x, timesteps, extra_args=None, callback=None, disable=None, eta=0.0):
    """Denoising diffusion implicit models (Song et al., arXiv 2010.02502)."""
    return _ddim_loop(model, x, timesteps, extra_args, callback, disable, eta, lambda eps: eps)


@torch.no_grad()
def ddim_cfgpp(model, x, timesteps, extra_args=None, callback=None, disable=None, eta=0.0):
    """CFG++ (Chung et al., arXiv 2406.08070): the direction is the unconditional eps.

    Its guidance goes from 0 to 1, which are CFG scales from 0 to 12.5 here.
    """
    model.cond_scale_miltiplier = 1 / CFGPP_SCALE
    model.need_last_noise_uncond = True
    return _ddim_loop(
        model, x, timesteps, extra_args, callback, disable, eta, lambda eps: model.last_noise_uncond
    )


@torch.no_grad()
def plms(model, x, timesteps, extra_args=None, callback=None, disable=None):
    """Pseudo linear multistep (Liu et al., arXiv 2202.09778)."""
    extra_args = extra_args or {}
    coefficients = StepCoefficients.of(model, timesteps)
    s_in = x.new_ones([x.shape[0]])
    history: list[torch.Tensor] = []
    for i in tqdm.trange(len(timesteps) - 1, disable=disable):
        index = len(timesteps) - 1 - i
        eps = model(x, timesteps[index].item() * s_in, **extra_args)
        history = [eps, *history[:3]]
        if len(history) == 1:
            # the first step is an improved Euler step, which takes a second call
            x_next, _ = coefficients.step(x, eps, eps, index)
            eps_next = model(x_next, timesteps[max(index - 1, 0)].item() * s_in, **extra_args)
            eps_prime = (eps + eps_next) / 2
        else:
            weights = ADAMS_BASHFORTH[len(history)]
            eps_prime = sum(weight * old for weight, old in zip(weights, history, strict=True))
        x, pred_x0 = coefficients.step(x, eps_prime, eps_prime, index)
        _report(callback, x, i, pred_x0)
    return x


@torch.no_grad()
def unipc(model, x, timesteps, extra_args=None, callback=None, disable=None, is_img2img=False):
    """UniPC (Zhao et al., arXiv 2302.04867) with the variant, order and spacing of the settings."""
    enters_late = is_img2img and len(timesteps) > 0
    return sample_unipc(
        lambda x_t, t: model(x_t, t, **(extra_args or {})),
        x,
        alphas_cumprod=model.inner_model.inner_model.alphas_cumprod,
        steps=len(timesteps),
        t_start=(timesteps[-1].item() + 1) / 1000 if enters_late else 1.0,
        order=shared.opts.uni_pc_order,
        variant=shared.opts.uni_pc_variant,
        skip_type=shared.opts.uni_pc_skip_type,
        lower_order_final=shared.opts.uni_pc_lower_order_final,
        callback=lambda x_t, step, denoised: _report(callback, x_t, step, denoised),
        disable=disable,
    )
