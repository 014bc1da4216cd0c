"""The samplers that call the model with timesteps: DDIM, PLMS, UniPC."""

import inspect
import sys

import torch

from modules import devices, sd_samplers_common, sd_samplers_timesteps_impl, shared
from modules.sd_samplers_cfg_denoiser import CFGDenoiser
from modules.shared import opts

samplers_timesteps = [
    ("DDIM", sd_samplers_timesteps_impl.ddim, ["ddim"], {}),
    ("DDIM CFG++", sd_samplers_timesteps_impl.ddim_cfgpp, ["ddim_cfgpp"], {}),
    ("PLMS", sd_samplers_timesteps_impl.plms, ["plms"], {}),
    ("UniPC", sd_samplers_timesteps_impl.unipc, ["unipc"], {}),
]

samplers_data_timesteps = [
    sd_samplers_common.SamplerData(
        label, lambda model, funcname=funcname: CompVisSampler(funcname, model), aliases, options
    )
    for label, funcname, aliases, options in samplers_timesteps
]


class CompVisTimestepsDenoiser(torch.nn.Module):
    """An eps model as it is: (x, timesteps, cond) -> eps."""

    def __init__(self, model, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.inner_model = model

    def forward(self, input, timesteps, **kwargs):
        return self.inner_model.apply_model(input, timesteps, **kwargs)


class CompVisTimestepsVDenoiser(torch.nn.Module):
    """A v model made to return eps."""

    def __init__(self, model, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.inner_model = model

    def predict_eps_from_z_and_v(self, x_t, t, v):
        """eps = √ᾱ · v + √(1 − ᾱ) · x (Salimans & Ho, arXiv 2202.00512)."""
        alphas = self.inner_model.alphas_cumprod[t.to(torch.int), None, None, None]
        return torch.sqrt(alphas) * v + torch.sqrt(1 - alphas) * x_t

    def forward(self, input, timesteps, **kwargs):
        v = self.inner_model.apply_model(input, timesteps, **kwargs)
        return self.predict_eps_from_z_and_v(input, timesteps, v)


class CFGDenoiserTimesteps(CFGDenoiser):
    """Calls the model with timesteps in place of sigmas; the inner model returns eps."""

    def __init__(self, sampler):
        super().__init__(sampler)
        self.alphas = shared.sd_model.alphas_cumprod
        self.mask_before_denoising = True

    def get_pred_x0(self, x_in, x_out, sigma):
        alphas = self.alphas[sigma.to(dtype=int)][:, None, None, None]
        return (x_in - (1 - alphas).sqrt() * x_out) / alphas.sqrt()

    @property
    def inner_model(self):
        if self.model_wrap is None:
            v = shared.sd_model.parameterization == "v"
            self.model_wrap = (CompVisTimestepsVDenoiser if v else CompVisTimestepsDenoiser)(shared.sd_model)
        return self.model_wrap


class CompVisSampler(sd_samplers_common.Sampler):
    """`funcname` is a function of sd_samplers_timesteps_impl."""

    def __init__(self, funcname, sd_model):
        super().__init__(funcname)
        self.eta_option_field = "eta_ddim"
        self.eta_infotext_field = "Eta DDIM"
        self.eta_default = 0.0
        self.model_wrap_cfg = CFGDenoiserTimesteps(self)
        self.model_wrap = self.model_wrap_cfg.inner_model

    def get_timesteps(self, p, steps) -> torch.Tensor:
        """Every (1000 // steps)-th timestep, rising, at most 999."""
        discard = self.config is not None and self.config.options.get("discard_next_to_last_sigma", False)
        if opts.always_discard_next_to_last_sigma and not discard:
            discard = True
            p.extra_generation_params["Discard penultimate sigma"] = True
        steps += 1 if discard else 0
        return torch.clip(torch.arange(0, 1000, 1000 // steps, device=devices.device) + 1, 0, 999)

    def _run(self, p, x, steps: int, timesteps, is_img2img: bool, conditions: tuple):
        arguments = self.initialize(p)
        parameters = inspect.signature(self.func).parameters
        if "timesteps" in parameters:
            arguments["timesteps"] = timesteps
        if is_img2img and "is_img2img" in parameters:
            arguments["is_img2img"] = True
        return self._launch(p, x, steps, arguments, conditions)

    def sample_img2img(
        self, p, x, noise, conditioning, unconditional_conditioning, steps=None, image_conditioning=None
    ):
        steps, t_enc = sd_samplers_common.setup_img2img_steps(p, steps)
        timesteps = self.get_timesteps(p, steps)
        alpha = shared.sd_model.alphas_cumprod[timesteps[t_enc]]
        noised = x * torch.sqrt(alpha) + noise * torch.sqrt(1 - alpha)
        xi = self._with_extra_noise(p, x, noise, noised, torch.sqrt(alpha))

        self.model_wrap_cfg.init_latent = x
        self.last_latent = x
        conditions = (conditioning, unconditional_conditioning, image_conditioning)
        return self._run(p, xi, t_enc + 1, timesteps[:t_enc], True, conditions)

    def sample(self, p, x, conditioning, unconditional_conditioning, steps=None, image_conditioning=None):
        steps = steps or p.steps
        timesteps = self.get_timesteps(p, steps)
        self.last_latent = x
        conditions = (conditioning, unconditional_conditioning, image_conditioning)
        return self._run(p, x, steps, timesteps, False, conditions)


sys.modules["modules.sd_samplers_compvis"] = sys.modules[__name__]
VanillaStableDiffusionSampler = CompVisSampler
