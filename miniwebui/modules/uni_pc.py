"""UniPC, multistep predictor-corrector (Zhao et al., arXiv 2302.04867), on a discrete noise schedule.

Notation of the paper: λ = log α − log σ, h = λ_t − λ_s. The scalars of a step are computed in float64.
"""

import math
from collections.abc import Callable

import torch
import tqdm

ModelFn = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class DiscreteSchedule:
    """log α over continuous time t in [1/N, 1], linear between the N training steps."""

    def __init__(self, alphas_cumprod: torch.Tensor):
        self.log_alpha = 0.5 * torch.log(alphas_cumprod.double().cpu())
        self.count = len(self.log_alpha)
        self.times = torch.arange(1, self.count + 1, dtype=torch.float64) / self.count

    def log_alpha_at(self, t: float) -> float:
        """Linear interpolation; outside the range the outermost piece goes on."""
        left = min(max(int(t * self.count) - 1, 0), self.count - 2)
        low, high = self.log_alpha[left].item(), self.log_alpha[left + 1].item()
        return low + (high - low) * (t * self.count - (left + 1))

    def alpha_sigma_lambda(self, t: float) -> tuple[float, float, float]:
        log_alpha = self.log_alpha_at(t)
        sigma = math.sqrt(-math.expm1(2 * log_alpha))
        return math.exp(log_alpha), sigma, log_alpha - math.log(sigma)

    def time_of_lambda(self, lamb: float) -> float:
        """The t of a λ."""
        log_alpha = -0.5 * math.log1p(math.exp(-2 * lamb))
        right = int(torch.searchsorted(-self.log_alpha, torch.tensor(-log_alpha, dtype=torch.float64)))
        left = min(max(right - 1, 0), self.count - 2)
        low, high = self.log_alpha[left].item(), self.log_alpha[left + 1].item()
        return (left + 1 + (log_alpha - low) / (high - low)) / self.count

    def time_steps(self, skip_type: str, t_start: float, steps: int) -> list[float]:
        """steps + 1 times from t_start down to 1/N."""
        t_end = 1.0 / self.count
        fractions = torch.linspace(0, 1, steps + 1, dtype=torch.float64).tolist()
        if skip_type == "time_uniform":
            return [t_start + (t_end - t_start) * f for f in fractions]
        if skip_type == "time_quadratic":
            return [(t_start**0.5 + (t_end**0.5 - t_start**0.5) * f) ** 2 for f in fractions]
        if skip_type == "logSNR":
            first, last = (self.alpha_sigma_lambda(t)[2] for t in (t_start, t_end))
            return [self.time_of_lambda(first + (last - first) * f) for f in fractions]
        raise ValueError(f"UniPC's skip type {skip_type!r} is none of time_uniform, time_quadratic, logSNR.")


def _coefficients(ratios: list[float], hh: float, variant: str) -> tuple[list[float], list[float], float]:
    """Weights of predictor and corrector, and B(h) (section 3.1); ratios are the r_i, the last one 1."""
    order = len(ratios)
    if variant not in ("bh1", "bh2"):
        raise ValueError(f"UniPC's variant {variant!r} is none of bh1, bh2.")
    b_h = hh if variant == "bh1" else math.expm1(hh)
    phi = math.expm1(hh) / hh - 1
    factorial = 1
    right_side = []
    for i in range(1, order + 1):
        right_side.append(phi * factorial / b_h)
        factorial *= i + 1
        phi = phi / hh - 1 / factorial

    r = torch.tensor(ratios, dtype=torch.float64)
    matrix = torch.stack([r**i for i in range(order)])
    b = torch.tensor(right_side, dtype=torch.float64)
    corrector = [0.5] if order == 1 else torch.linalg.solve(matrix, b).tolist()
    if order <= 2:  # the degenerate case of the paper, weight 1/2
        return [0.5][: order - 1], corrector, b_h
    return torch.linalg.solve(matrix[:-1, :-1], b[:-1]).tolist(), corrector, b_h


def _weighted_sum(weights: list[float], tensors: list[torch.Tensor]):
    return sum((weight * tensor for weight, tensor in zip(weights, tensors, strict=True)), 0.0)


class UniPC:
    """One sampling run; `history` holds (t, x0 predicted there), the latest last."""

    def __init__(self, model: ModelFn, schedule: DiscreteSchedule, variant: str):
        self.model = model
        self.schedule = schedule
        self.variant = variant
        self.history: list[tuple[float, torch.Tensor]] = []

    def predict_x0(self, x: torch.Tensor, t: float) -> torch.Tensor:
        timestep = (t - 1.0 / self.schedule.count) * 1000.0
        eps = self.model(x, x.new_full((x.shape[0],), timestep))
        alpha, sigma, _ = self.schedule.alpha_sigma_lambda(t)
        return (x - sigma * eps) / alpha

    def update(self, x: torch.Tensor, t: float, order: int, use_corrector: bool):
        """x at time t, and x0 predicted there by the corrector (None without it)."""
        t_0, x0_0 = self.history[-1]
        _, sigma_0, lambda_0 = self.schedule.alpha_sigma_lambda(t_0)
        alpha, sigma, lambda_t = self.schedule.alpha_sigma_lambda(t)
        h = lambda_t - lambda_0

        older = self.history[-2 : -order - 1 : -1]
        ratios = [(self.schedule.alpha_sigma_lambda(t_i)[2] - lambda_0) / h for t_i, _ in older]
        differences = [(x0_i - x0_0) / r for (_, x0_i), r in zip(older, ratios, strict=True)]
        predictor, corrector, b_h = _coefficients([*ratios, 1.0], -h, self.variant)

        base = sigma / sigma_0 * x - alpha * math.expm1(-h) * x0_0
        x_t = base - alpha * b_h * _weighted_sum(predictor, differences)
        if not use_corrector:
            return x_t, None
        x0_t = self.predict_x0(x_t, t)
        correction = _weighted_sum(corrector, [*differences, x0_t - x0_0])
        return base - alpha * b_h * correction, x0_t


def sample_unipc(
    model: ModelFn,
    x: torch.Tensor,
    *,
    alphas_cumprod: torch.Tensor,
    steps: int,
    t_start: float,
    order: int,
    variant: str,
    skip_type: str,
    lower_order_final: bool,
    callback: Callable[[torch.Tensor, int, torch.Tensor | None], None],
    disable: bool | None = None,
) -> torch.Tensor:
    """From x [B, C, h, w] at time t_start to the end; `model(x, timesteps)` returns eps.

    Raises ValueError if there are fewer steps than the order.
    """
    if steps < order:
        raise ValueError(f"UniPC of order {order} needs at least {order} sampling steps, not {steps}.")
    schedule = DiscreteSchedule(alphas_cumprod)
    times = schedule.time_steps(skip_type, t_start, steps)
    solver = UniPC(model, schedule, variant)
    solver.history = [(times[0], solver.predict_x0(x, times[0]))]
    for step in tqdm.trange(1, steps + 1, disable=disable):
        step_order = min(step, order)
        if step >= order and lower_order_final:
            step_order = min(order, steps + 1 - step)
        x, x0 = solver.update(x, times[step], step_order, use_corrector=step < steps)
        callback(x, step - 1, x0)
        if x0 is not None:
            solver.history = [*solver.history, (times[step], x0)][-order:]
    return x
