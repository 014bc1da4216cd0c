"""Noise schedules: functions (n, sigma_min, sigma_max, …, device) -> sigmas [n + 1], the last one 0."""

import dataclasses
from collections.abc import Callable

import numpy as np
import torch

from miniwebui import k_diffusion_import

k_diffusion_import.install()

import k_diffusion.sampling
from scipy import stats

from modules import shared

# Sabour et al., arXiv 2404.14507, https://research.nvidia.com/labs/toronto-ai/AlignYourSteps/howto.html
ALIGN_YOUR_STEPS_SD1 = [14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029]
ALIGN_YOUR_STEPS_SDXL = [14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029]


def to_d(x, sigma, denoised):
    """The derivative of Karras et al. (arXiv 2206.00364), with a plain division as the WebUI has it."""
    return (x - denoised) / sigma


k_diffusion.sampling.to_d = to_d


@dataclasses.dataclass
class Scheduler:
    """An entry of the list "Schedule type"."""

    name: str
    label: str
    function: Callable | None

    default_rho: float = -1
    need_inner_model: bool = False
    aliases: list[str] | None = None


def _ending_in_zero(sigmas, device) -> torch.Tensor:
    return torch.tensor([*map(float, sigmas), 0.0], dtype=torch.float32, device=device)


def uniform(n, sigma_min, sigma_max, inner_model, device):
    return inner_model.get_sigmas(n).to(device)


def _timesteps_between(inner_model, sigma_max, sigma_min, count: int) -> torch.Tensor:
    device = inner_model.sigmas.device
    start, end = (inner_model.sigma_to_t(torch.tensor(s, device=device)) for s in (sigma_max, sigma_min))
    return torch.linspace(float(start), float(end), count, device=device)


def sgm_uniform(n, sigma_min, sigma_max, inner_model, device):
    timesteps = _timesteps_between(inner_model, sigma_max, sigma_min, n + 1)[:-1]
    return _ending_in_zero((inner_model.t_to_sigma(t) for t in timesteps), device)


def normal_scheduler(n, sigma_min, sigma_max, inner_model, device, sgm=False, floor=False):
    if sgm:
        return sgm_uniform(n, sigma_min, sigma_max, inner_model, device)
    timesteps = _timesteps_between(inner_model, sigma_max, sigma_min, n)
    return _ending_in_zero((inner_model.t_to_sigma(t) for t in timesteps), device)


def get_align_your_steps_sigmas(n, sigma_min, sigma_max, device):
    table = ALIGN_YOUR_STEPS_SDXL if shared.sd_model.is_sdxl else ALIGN_YOUR_STEPS_SD1
    if n != len(table):
        positions = np.linspace(0, 1, len(table))
        table = np.exp(np.interp(np.linspace(0, 1, n), positions, np.log(table)))
    return _ending_in_zero(table, device)


def kl_optimal(n, sigma_min, sigma_max, device):
    """Linear in the angle arctan σ, n + 1 values from sigma_max to sigma_min."""
    alpha_min = torch.arctan(torch.tensor(sigma_min, device=device))
    alpha_max = torch.arctan(torch.tensor(sigma_max, device=device))
    fraction = torch.arange(n + 1, device=device) / n
    return torch.tan(fraction * alpha_min + (1.0 - fraction) * alpha_max)


def simple_scheduler(n, sigma_min, sigma_max, inner_model, device):
    stride = len(inner_model.sigmas) / n
    return _ending_in_zero((inner_model.sigmas[-(1 + int(i * stride))] for i in range(n)), device)


def ddim_scheduler(n, sigma_min, sigma_max, inner_model, device):
    stride = max(len(inner_model.sigmas) // n, 1)
    return _ending_in_zero(inner_model.sigmas[1::stride].flip(0), device)


def beta_scheduler(n, sigma_min, sigma_max, inner_model, device):
    """Quantiles of a beta distribution (Lee et al., arXiv 2407.12173)."""
    quantiles = stats.beta.ppf(
        1 - np.linspace(0, 1, n), shared.opts.beta_dist_alpha, shared.opts.beta_dist_beta
    )
    return _ending_in_zero(sigma_min + quantiles * (sigma_max - sigma_min), device)


schedulers = [
    Scheduler("automatic", "Automatic", None),
    Scheduler("uniform", "Uniform", uniform, need_inner_model=True),
    Scheduler("karras", "Karras", k_diffusion.sampling.get_sigmas_karras, default_rho=7.0),
    Scheduler("exponential", "Exponential", k_diffusion.sampling.get_sigmas_exponential),
    Scheduler(
        "polyexponential", "Polyexponential", k_diffusion.sampling.get_sigmas_polyexponential, default_rho=1.0
    ),
    Scheduler("sgm_uniform", "SGM Uniform", sgm_uniform, need_inner_model=True, aliases=["SGMUniform"]),
    Scheduler("kl_optimal", "KL Optimal", kl_optimal),
    Scheduler("align_your_steps", "Align Your Steps", get_align_your_steps_sigmas),
    Scheduler("simple", "Simple", simple_scheduler, need_inner_model=True),
    Scheduler("normal", "Normal", normal_scheduler, need_inner_model=True),
    Scheduler("ddim", "DDIM", ddim_scheduler, need_inner_model=True),
    Scheduler("beta", "Beta", beta_scheduler, need_inner_model=True),
]

schedulers_map = {key: scheduler for scheduler in schedulers for key in (scheduler.name, scheduler.label)}
