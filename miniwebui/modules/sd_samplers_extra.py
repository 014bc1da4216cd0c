"""Restart sampling (Xu et al., arXiv 2306.14878)."""

import k_diffusion.sampling
import torch
import tqdm

RESTART_MIN_SIGMA = 0.1
RESTART_MAX_SIGMA = 2


def _plan(sigmas: torch.Tensor) -> tuple[torch.Tensor, dict]:
    """The schedule shortened by what the restarts take, and {min σ: [steps, times, max σ]}."""
    steps = len(sigmas) - 1
    if steps < 20:
        return sigmas, {}
    restart_steps, restart_times = (steps // 4, 2) if steps >= 36 else (9, 1)
    main_steps = steps - restart_steps * restart_times
    shorter = k_diffusion.sampling.get_sigmas_karras(
        main_steps, sigmas[-2].item(), sigmas[0].item(), device=sigmas.device
    )
    return shorter, {RESTART_MIN_SIGMA: [restart_steps + 1, restart_times, RESTART_MAX_SIGMA]}


def _nearest(sigmas: torch.Tensor, value: float) -> int:
    return int(torch.argmin(abs(sigmas - value), dim=0))


def _step_pairs(sigmas: torch.Tensor, restart_list: dict) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(σ before, σ after) of every step, restarts included."""
    restarts = {_nearest(sigmas, sigma): value for sigma, value in restart_list.items()}
    pairs = []
    for index, pair in enumerate(zip(sigmas[:-1], sigmas[1:], strict=True), start=1):
        pairs.append(pair)
        if index not in restarts:
            continue
        restart_steps, restart_times, restart_max = restarts[index]
        highest = _nearest(sigmas, restart_max)
        if highest < index:
            again = k_diffusion.sampling.get_sigmas_karras(
                restart_steps, sigmas[index].item(), sigmas[highest].item(), device=sigmas.device
            )[:-1]
            pairs += list(zip(again[:-1], again[1:], strict=True)) * restart_times
    return pairs


@torch.no_grad()
def restart_sampler(
    model, x, sigmas, extra_args=None, callback=None, disable=None, s_noise=1.0, restart_list=None
):
    """Heun's method; where σ rises again, noise is added and the range is drawn anew.

    restart_list: {min σ: [restart steps, restart times, max σ]}; None chooses by the number of steps.
    """
    extra_args = extra_args or {}
    s_in = x.new_ones([x.shape[0]])
    if restart_list is None:
        sigmas, restart_list = _plan(sigmas)

    last_sigma = None
    for step, (sigma, sigma_next) in enumerate(tqdm.tqdm(_step_pairs(sigmas, restart_list), disable=disable)):
        if last_sigma is not None and last_sigma < sigma:
            noise = k_diffusion.sampling.torch.randn_like(x)
            x = x + noise * s_noise * (sigma**2 - last_sigma**2) ** 0.5
        last_sigma = sigma_next

        denoised = model(x, sigma * s_in, **extra_args)
        d = k_diffusion.sampling.to_d(x, sigma, denoised)
        if callback is not None:
            callback({"x": x, "i": step, "sigma": sigma_next, "sigma_hat": sigma, "denoised": denoised})
        dt = sigma_next - sigma
        if sigma_next != 0:
            x_2 = x + d * dt
            denoised_2 = model(x_2, sigma_next * s_in, **extra_args)
            d = (d + k_diffusion.sampling.to_d(x_2, sigma_next, denoised_2)) / 2
        x = x + d * dt
    return x
