"""The sampler of latent consistency models (Luo et al., arXiv 2310.04378)."""

import torch
from k_diffusion import sampling, utils
from k_diffusion.external import CompVisDenoiser, DiscreteEpsDDPMDenoiser
from k_diffusion.sampling import default_noise_sampler, trange

from modules import sd_samplers_cfg_denoiser, sd_samplers_common, sd_samplers_kdiffusion, shared

TIMESTEPS = 1000
ORIGINAL_TIMESTEPS = 50
SIGMA_DATA = 0.5
TIMESTEP_SCALING = 10.0


class LCMCompVisDenoiser(DiscreteEpsDDPMDenoiser):
    """Knows only every 20th timestep, those that LCM is distilled at, and its boundary scalings."""

    def __init__(self, model):
        self.skip_steps = TIMESTEPS // ORIGINAL_TIMESTEPS
        super().__init__(model, model.alphas_cumprod[self.skip_steps - 1 :: self.skip_steps].float(), None)

    def get_sigmas(self, n=None):
        if n is None:
            return sampling.append_zero(self.sigmas.flip(0))
        start, end = self.sigma_to_t(self.sigma_max), self.sigma_to_t(self.sigma_min)
        t = torch.linspace(float(start), float(end), n, device=shared.sd_model.device)
        return sampling.append_zero(self.t_to_sigma(t))

    def sigma_to_t(self, sigma, quantize=None):
        distances = (sigma.log() - self.log_sigmas[:, None]).abs()
        return distances.argmin(dim=0).view(sigma.shape) * self.skip_steps + (self.skip_steps - 1)

    def t_to_sigma(self, timestep):
        index = (timestep - (self.skip_steps - 1)) / self.skip_steps
        return super().t_to_sigma(index.float().clamp(0, len(self.sigmas) - 1))

    get_eps = CompVisDenoiser.get_eps

    def get_scaled_out(self, sigma, output, input):
        """c_out · output + c_skip · input, eq. 9 of consistency models with LCM's timestep scaling."""
        scaled = utils.append_dims(self.sigma_to_t(sigma), output.ndim) * TIMESTEP_SCALING
        c_skip = SIGMA_DATA**2 / (scaled**2 + SIGMA_DATA**2)
        c_out = scaled / (scaled**2 + SIGMA_DATA**2) ** 0.5
        return c_out * output + c_skip * input

    def forward(self, input, sigma, **kwargs):
        """The denoised latent: k-diffusion's of the same noise prediction, then the boundary scalings."""
        return self.get_scaled_out(sigma, super().forward(input, sigma, **kwargs), input)


@torch.no_grad()
def sample_lcm(model, x, sigmas, extra_args=None, callback=None, disable=None, noise_sampler=None):
    """Denoise in one step, add noise of the next level, again (arXiv 2310.04378, algorithm 3)."""
    noise_of = noise_sampler or default_noise_sampler(x)
    for step in trange(len(sigmas) - 1, disable=disable):
        level, following = sigmas[step : step + 2]
        denoised = model(x, x.new_full((len(x),), level.item()), **(extra_args or {}))
        if callback is not None:
            callback({"i": step, "x": x, "denoised": denoised, "sigma": level, "sigma_hat": level})
        x = denoised
        if following > 0:
            x = denoised + following * noise_of(level, following)
    return x


class CFGDenoiserLCM(sd_samplers_cfg_denoiser.CFGDenoiser):
    """The inner model returns what LCM's one step from sigma gives."""

    @property
    def inner_model(self):
        self.model_wrap = self.model_wrap or LCMCompVisDenoiser(shared.sd_model)
        return self.model_wrap


class LCMSampler(sd_samplers_kdiffusion.KDiffusionSampler):
    denoiser_class = CFGDenoiserLCM


samplers_lcm = [("LCM", sample_lcm, ["k_lcm"], {})]
samplers_data_lcm = [
    sd_samplers_common.SamplerData(
        label, lambda model, funcname=funcname: LCMSampler(funcname, model), aliases, options
    )
    for label, funcname, aliases, options in samplers_lcm
]
