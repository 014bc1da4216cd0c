"""The samplers of k-diffusion, as `modules.sd_samplers_kdiffusion` of the WebUI runs them."""

import inspect

import k_diffusion.external
import k_diffusion.sampling
import torch

from modules import (
    devices,
    sd_samplers_cfg_denoiser,
    sd_samplers_common,  # first: it makes k_diffusion importable
    sd_samplers_extra,
    sd_schedulers,
    shared,
)
from modules.sd_samplers_cfg_denoiser import CFGDenoiser  # noqa: F401
from modules.shared import opts

KARRAS, EXPONENTIAL = {"scheduler": "karras"}, {"scheduler": "exponential"}
TWO_CALLS = {"second_order": True}
BROWNIAN = {"brownian_noise": True}
ENSD = {"uses_ensd": True}
DISCARD = {"discard_next_to_last_sigma": True}

samplers_k_diffusion = [
    ("DPM++ 2M", "sample_dpmpp_2m", ["k_dpmpp_2m"], KARRAS),
    ("DPM++ SDE", "sample_dpmpp_sde", ["k_dpmpp_sde"], {**KARRAS, **TWO_CALLS, **BROWNIAN}),
    ("DPM++ 2M SDE", "sample_dpmpp_2m_sde", ["k_dpmpp_2m_sde"], {**EXPONENTIAL, **BROWNIAN}),
    (
        "DPM++ 2M SDE Heun",
        "sample_dpmpp_2m_sde",
        ["k_dpmpp_2m_sde_heun"],
        {**EXPONENTIAL, **BROWNIAN, "solver_type": "heun"},
    ),
    ("DPM++ 2S a", "sample_dpmpp_2s_ancestral", ["k_dpmpp_2s_a"], {**KARRAS, **ENSD, **TWO_CALLS}),
    ("DPM++ 3M SDE", "sample_dpmpp_3m_sde", ["k_dpmpp_3m_sde"], {**EXPONENTIAL, **DISCARD, **BROWNIAN}),
    ("Euler a", "sample_euler_ancestral", ["k_euler_a", "k_euler_ancestral"], ENSD),
    ("Euler", "sample_euler", ["k_euler"], {}),
    ("LMS", "sample_lms", ["k_lms"], {}),
    ("Heun", "sample_heun", ["k_heun"], TWO_CALLS),
    ("DPM2", "sample_dpm_2", ["k_dpm_2"], {**KARRAS, **DISCARD, **TWO_CALLS}),
    ("DPM2 a", "sample_dpm_2_ancestral", ["k_dpm_2_a"], {**KARRAS, **DISCARD, **ENSD, **TWO_CALLS}),
    ("DPM fast", "sample_dpm_fast", ["k_dpm_fast"], ENSD),
    ("DPM adaptive", "sample_dpm_adaptive", ["k_dpm_ad"], ENSD),
    ("Restart", sd_samplers_extra.restart_sampler, ["restart"], {**KARRAS, **TWO_CALLS}),
]

samplers_data_k_diffusion = [
    sd_samplers_common.SamplerData(
        label, lambda model, funcname=funcname: KDiffusionSampler(funcname, model), aliases, options
    )
    for label, funcname, aliases, options in samplers_k_diffusion
]

CHURN = ["s_churn", "s_tmin", "s_tmax", "s_noise"]
sampler_extra_params = {
    "sample_euler": CHURN,
    "sample_heun": CHURN,
    "sample_dpm_2": CHURN,
    "sample_dpm_fast": ["s_noise"],
    "sample_dpm_2_ancestral": ["s_noise"],
    "sample_dpmpp_2s_ancestral": ["s_noise"],
    "sample_dpmpp_sde": ["s_noise"],
    "sample_dpmpp_2m_sde": ["s_noise"],
    "sample_dpmpp_3m_sde": ["s_noise"],
}

k_diffusion_samplers_map = {data.name: data for data in samplers_data_k_diffusion}
k_diffusion_scheduler = {scheduler.name: scheduler.function for scheduler in sd_schedulers.schedulers}


class CFGDenoiserKDiffusion(sd_samplers_cfg_denoiser.CFGDenoiser):
    """Calls the model with sigmas; the inner model returns the denoised latent."""

    @property
    def inner_model(self):
        if self.model_wrap is None:
            v = shared.sd_model.parameterization == "v"
            wrapper = k_diffusion.external.CompVisVDenoiser if v else k_diffusion.external.CompVisDenoiser
            self.model_wrap = wrapper(shared.sd_model, quantize=opts.enable_quantization)
        return self.model_wrap


class KDiffusionSampler(sd_samplers_common.Sampler):
    """`funcname` names a function of k_diffusion.sampling, or is a function of that kind."""

    denoiser_class = CFGDenoiserKDiffusion

    def __init__(self, funcname, sd_model, options=None):
        super().__init__(funcname)
        self.extra_params = sampler_extra_params.get(funcname, []) if isinstance(funcname, str) else []
        self.options = options or {}
        self.func = funcname if callable(funcname) else getattr(k_diffusion.sampling, funcname)
        self.model_wrap_cfg = self.denoiser_class(self)
        self.model_wrap = self.model_wrap_cfg.inner_model

    def _discards_penultimate(self, p) -> bool:
        if self.config is not None and self.config.options.get("discard_next_to_last_sigma", False):
            return True
        if opts.always_discard_next_to_last_sigma:
            p.extra_generation_params["Discard penultimate sigma"] = True
            return True
        return False

    def get_sigmas(self, p, steps) -> torch.Tensor:
        """The schedule of this pass, [steps + 1] on the CPU, falling to 0."""
        discard = self._discards_penultimate(p)
        steps += 1 if discard else 0

        scheduler_name = (p.hr_scheduler if p.is_hr_pass else p.scheduler) or "Automatic"
        if scheduler_name == "Automatic":
            scheduler_name = self.config.options.get("scheduler", None)
        scheduler = sd_schedulers.schedulers_map.get(scheduler_name)

        if p.sampler_noise_scheduler_override:
            sigmas = p.sampler_noise_scheduler_override(steps)
        elif scheduler is None or scheduler.function is None:
            sigmas = self.model_wrap.get_sigmas(steps)
        else:
            arguments = self._scheduler_arguments(p, scheduler)
            sigmas = scheduler.function(n=steps, **arguments, device=devices.cpu)

        if discard:
            sigmas = torch.cat([sigmas[:-2], sigmas[-1:]])
        return sigmas.cpu()

    def _scheduler_arguments(self, p, scheduler) -> dict:
        """The range of sigmas and what else the settings say; p's infotext is told."""
        notes = p.extra_generation_params
        if scheduler.label != "Automatic" and not p.is_hr_pass:
            notes["Schedule type"] = scheduler.label
        elif scheduler.label != notes.get("Schedule type"):
            notes["Hires schedule type"] = scheduler.label

        model_min, model_max = self.model_wrap.sigmas[0].item(), self.model_wrap.sigmas[-1].item()
        use_old = opts.use_old_karras_scheduler_sigmas
        arguments = {"sigma_min": 0.1, "sigma_max": 10} if use_old else {
            "sigma_min": model_min, "sigma_max": model_max,
        }  # fmt: skip
        if opts.sigma_min not in (0, model_min):
            arguments["sigma_min"] = notes["Schedule min sigma"] = opts.sigma_min
        if opts.sigma_max not in (0, model_max):
            arguments["sigma_max"] = notes["Schedule max sigma"] = opts.sigma_max
        if scheduler.default_rho != -1 and opts.rho not in (0, scheduler.default_rho):
            arguments["rho"] = notes["Schedule rho"] = opts.rho
        if scheduler.need_inner_model:
            arguments["inner_model"] = self.model_wrap
        if scheduler.label == "Beta":
            notes["Beta schedule alpha"] = opts.beta_dist_alpha
            notes["Beta schedule beta"] = opts.beta_dist_beta
        return arguments

    def _run(self, p, x, steps: int, sigmas, whole_schedule, candidates: dict, conditions: tuple):
        """Start the sampling function with those of `candidates` that it takes."""
        arguments = self.initialize(p)
        parameters = inspect.signature(self.func).parameters
        arguments |= {name: value for name, value in candidates.items() if name in parameters}
        if "sigmas" in parameters:
            arguments["sigmas"] = sigmas
        if self.config.options.get("brownian_noise", False):
            arguments["noise_sampler"] = self.create_noise_sampler(x, whole_schedule, p)
        if self.config.options.get("solver_type") == "heun":
            arguments["solver_type"] = "heun"
        return self._launch(p, x, steps, arguments, conditions)

    def sample_img2img(
        self, p, x, noise, conditioning, unconditional_conditioning, steps=None, image_conditioning=None
    ):
        steps, t_enc = sd_samplers_common.setup_img2img_steps(p, steps)
        sigmas = self.get_sigmas(p, steps)
        sigma_sched = sigmas[steps - t_enc - 1 :]
        xi = self._with_extra_noise(p, x, noise, x + noise * sigma_sched[0])

        self.model_wrap_cfg.init_latent = x
        self.last_latent = x
        # the last sigma is 0, which DPM fast and DPM adaptive cannot take as their end
        candidates = {
            "sigma_min": sigma_sched[-2],
            "sigma_max": sigma_sched[0],
            "n": len(sigma_sched) - 1,
            "sigma_sched": sigma_sched,
        }
        conditions = (conditioning, unconditional_conditioning, image_conditioning)
        return self._run(p, xi, t_enc + 1, sigma_sched, sigmas, candidates, conditions)

    def sample(self, p, x, conditioning, unconditional_conditioning, steps=None, image_conditioning=None):
        steps = steps or p.steps
        sigmas = self.get_sigmas(p, steps)
        start = sigmas[0]
        if opts.sgm_noise_multiplier:  # as if the picture's own variance, 1, were there too
            start = torch.sqrt(1.0 + start**2.0)
            p.extra_generation_params["SGM noise multiplier"] = True
        x = x * start

        self.last_latent = x
        candidates = {
            "n": steps,
            "sigma_min": self.model_wrap.sigmas[0].item(),
            "sigma_max": self.model_wrap.sigmas[-1].item(),
        }
        conditions = (conditioning, unconditional_conditioning, image_conditioning)
        return self._run(p, x, steps, sigmas, sigmas, candidates, conditions)
