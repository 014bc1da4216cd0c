"""What all samplers share: the sampler's base class, latents to pictures and back, the refiner switch."""

import inspect
from collections import namedtuple

import numpy as np
import torch
from PIL import Image

from miniwebui import k_diffusion_import

k_diffusion_import.install()

import k_diffusion.sampling
import torchsde._brownian.brownian_interval

from modules import devices, images, sd_models, sd_vae_approx, shared
from modules.script_callbacks import ExtraNoiseParams, extra_noise_callback
from modules.shared import opts, state

SamplerDataTuple = namedtuple("SamplerData", ["name", "constructor", "aliases", "options"])

approximation_indexes = {"Full": 0, "Approx NN": 1, "Approx cheap": 2, "TAESD": 3}
FULL = 0


class SamplerData(SamplerDataTuple):
    """A sampler of the list."""

    def total_steps(self, steps: int) -> int:
        """Denoiser calls that this many steps take."""
        return steps * 2 if self.options.get("second_order", False) else steps


class InterruptedException(BaseException):
    """The user stops the sampling; not an Exception, so that nobody handles it by chance."""


def setup_img2img_steps(p, steps=None) -> tuple[int, int]:
    """(steps of the whole schedule, index from its end where img2img enters it)."""
    strength = min(p.denoising_strength, 0.999)
    if opts.img2img_fix_steps or steps is not None:
        requested = steps or p.steps
        return (int(requested / strength) if strength > 0 else 0), requested - 1
    return p.steps, int(strength * p.steps)


def samples_to_images_tensor(sample, approximation=None, model=None) -> torch.Tensor:
    """Latents [B, 4, h, w] -> pictures [B, 3, H, W] in [−1, 1].

    approximation: an index of `approximation_indexes`; None is the live preview's setting. After an interrupt
    the cheap one is taken, if the settings allow it.
    """
    if approximation is None or (state.interrupted and opts.live_preview_fast_interrupt):
        approximation = approximation_indexes.get(opts.show_progress_type, FULL)
    if approximation != FULL:
        return sd_vae_approx.cheap_approximation(sample)
    model = model or shared.sd_model
    with torch.no_grad(), devices.without_autocast():
        return model.decode_first_stage(sample.to(model.first_stage_model.dtype))


def images_tensor_to_samples(image, approximation=None, model=None) -> torch.Tensor:
    """Pictures [B, 3, H, W] in [0, 1] -> latents; one by one, to save memory."""
    model = model or shared.sd_model
    model.first_stage_model.to(devices.dtype_vae)
    image = image.to(shared.device, dtype=devices.dtype_vae) * 2 - 1
    encoded = [model.get_first_stage_encoding(model.encode_first_stage(one[None])) for one in image]
    return torch.cat(encoded)


def tensor_to_pil(picture: torch.Tensor) -> Image.Image:
    """[3, H, W] in [0, 1] -> an RGB image; values are cut off, not rounded, as the WebUI does."""
    array = 255.0 * np.moveaxis(picture.cpu().numpy(), 0, 2)
    return Image.fromarray(array.astype(np.uint8))


def single_sample_to_image(sample, approximation=None) -> Image.Image:
    """One latent [4, h, w] -> an image."""
    picture = samples_to_images_tensor(sample.unsqueeze(0), approximation)[0] * 0.5 + 0.5
    return tensor_to_pil(picture.clamp(0.0, 1.0).float())


def decode_first_stage(model, x) -> torch.Tensor:
    """Latents -> pictures in [−1, 1], by the VAE."""
    return samples_to_images_tensor(x.to(devices.dtype_vae), FULL, model)


def sample_to_image(samples, index=0, approximation=None) -> Image.Image:
    return single_sample_to_image(samples[index], approximation)


def samples_to_image_grid(samples, approximation=None) -> Image.Image:
    return images.image_grid([single_sample_to_image(sample, approximation) for sample in samples])


def store_latent(decoded) -> None:
    """Hand the live preview a latent; it is decoded here only where the page may not decode it."""
    state.current_latent = decoded
    every = opts.show_progress_every_n_steps
    due = opts.live_previews_enable and every > 0 and state.sampling_step % every == 0
    if due and not shared.parallel_processing_allowed:
        state.assign_current_image(sample_to_image(decoded))


def is_sampler_using_eta_noise_seed_delta(p) -> bool:
    """Whether the setting `eta_noise_seed_delta` changes this generation's picture."""
    from modules import sd_samplers

    config = sd_samplers.find_sampler_config(p.sampler_name)
    eta = p.eta
    if eta is None and p.sampler is not None:
        eta = p.sampler.eta
    if eta is None and config is not None:
        eta = 0 if config.options.get("default_eta_is_0", False) else 1.0
    return eta != 0 and config.options.get("uses_ensd", False)


def replace_torchsde_browinan() -> None:
    """Let the Brownian noise of the SDE samplers come from `randn_source`, too."""

    def torchsde_randn(size, dtype, device, seed):
        return devices.randn_local(seed, size).to(device=device, dtype=dtype)

    torchsde._brownian.brownian_interval._randn = torchsde_randn


replace_torchsde_browinan()


def _completed_ratio(cfg_denoiser, sigma) -> float:
    """How far the sampling is, 0 … 1, for the refiner switch."""
    p = cfg_denoiser.p
    if opts.refiner_switch_by_sample_steps or sigma is None:
        p.extra_generation_params["Refiner switch by sampling steps"] = True
        return cfg_denoiser.step / cfg_denoiser.total_steps
    sigmas = getattr(cfg_denoiser.inner_model, "sigmas", None)
    if sigmas is None:  # the samplers without sigmas call with timesteps
        timestep = torch.max(sigma).to(dtype=int)
    else:
        timestep = torch.argmin(torch.abs(sigmas.to(sigma.device) - torch.max(sigma)))
    return (999 - timestep) / 1000


def apply_refiner(cfg_denoiser, sigma=None) -> bool:
    """Switch to the refiner's checkpoint when its time has come; True if it has just happened."""
    p = cfg_denoiser.p
    info = p.refiner_checkpoint_info
    if info is None or shared.sd_model.sd_checkpoint_info == info:
        return False
    if p.refiner_switch_at is not None and _completed_ratio(cfg_denoiser, sigma) < p.refiner_switch_at:
        return False
    if getattr(p, "enable_hr", False):
        excluded = "first pass" if p.is_hr_pass else "second pass"
        if opts.hires_fix_refiner_pass == excluded:
            return False
        if opts.hires_fix_refiner_pass != "second pass":
            p.extra_generation_params["Hires refiner"] = opts.hires_fix_refiner_pass

    p.extra_generation_params["Refiner"] = info.short_title
    p.extra_generation_params["Refiner switch at"] = p.refiner_switch_at
    with sd_models.SkipWritingToConfig():
        sd_models.reload_model_weights(info=info)
    devices.torch_gc()
    p.setup_conds()
    cfg_denoiser.update_inner_model()
    return True


class TorchHijack:
    """Stands for torch in k_diffusion.sampling: `randn_like` draws from the pictures' own generators.

    Not every sampler takes a noise sampler; this makes a picture independent of its batch in all of them.
    """

    def __init__(self, p):
        self.rng = p.rng

    def __getattr__(self, item):
        return getattr(torch, item)

    def randn_like(self, x):
        return self.rng.next()


class Sampler:
    """Runs a sampling function on a CFGDenoiser. Subclasses make the schedule and add the noise."""

    SIGMA_OPTIONS = (
        ("s_churn", "Sigma churn"),
        ("s_tmin", "Sigma tmin"),
        ("s_tmax", "Sigma tmax"),
        ("s_noise", "Sigma noise"),
    )

    def __init__(self, funcname):
        self.funcname = funcname
        self.func = funcname
        self.extra_params: list[str] = []
        self.sampler_noises = None
        self.stop_at = None
        self.eta = None
        self.config: SamplerData | None = None  # set by create_sampler
        self.last_latent = None
        self.s_min_uncond = None
        self.s_churn = 0.0
        self.s_tmin = 0.0
        self.s_tmax = float("inf")
        self.s_noise = 1.0

        self.eta_option_field = "eta_ancestral"
        self.eta_infotext_field = "Eta"
        self.eta_default = 1.0

        self.conditioning_key = getattr(shared.sd_model.model, "conditioning_key", "crossattn")
        self.p = None
        self.model_wrap_cfg = None
        self.sampler_extra_args: dict | None = None
        self.options: dict = {}

    def callback_state(self, d) -> None:
        """Called by the sampling function after each denoiser call of a step."""
        if self.stop_at is not None and d["i"] > self.stop_at:
            raise InterruptedException
        state.sampling_step = d["i"]
        shared.total_tqdm.update()

    def launch_sampling(self, steps: int, func):
        """Run `func`; an interrupt returns the latest denoised latent."""
        self.model_wrap_cfg.steps = steps
        self.model_wrap_cfg.total_steps = self.config.total_steps(steps)
        state.sampling_steps = steps
        state.sampling_step = 0
        try:
            return func()
        except InterruptedException:
            return self.last_latent

    def initialize(self, p) -> dict:
        """Get ready for p; the arguments of the sampling function that come from settings."""
        self.p = p
        denoiser = self.model_wrap_cfg
        denoiser.p = p
        denoiser.mask, denoiser.nmask = getattr(p, "mask", None), getattr(p, "nmask", None)
        denoiser.step = 0
        denoiser.image_cfg_scale = getattr(p, "image_cfg_scale", None)
        self.eta = p.eta if p.eta is not None else getattr(opts, self.eta_option_field, 0.0)
        self.s_min_uncond = getattr(p, "s_min_uncond", 0.0)
        k_diffusion.sampling.torch = TorchHijack(p)

        parameters = inspect.signature(self.func).parameters
        arguments = {name: getattr(p, name) for name in self.extra_params if name in parameters}
        if "eta" in parameters:
            if self.eta != self.eta_default:
                p.extra_generation_params[self.eta_infotext_field] = self.eta
            arguments["eta"] = self.eta
        self._apply_sigma_options(p, arguments)
        return arguments

    def _apply_sigma_options(self, p, arguments: dict) -> None:
        """The settings of churn and noise that differ from the default, where the sampler has them."""
        for name, infotext_field in self.SIGMA_OPTIONS:
            if name not in arguments:
                continue
            value = getattr(opts, name, getattr(p, name))
            if name == "s_tmax":
                value = value or self.s_tmax  # 0 means without end
            if value != getattr(self, name):
                arguments[name] = value
                setattr(p, name, value)
                p.extra_generation_params[infotext_field] = value

    def create_noise_sampler(self, x, sigmas, p):
        """Brownian noise of each picture's own seed, for the SDE samplers."""
        if opts.no_dpmpp_sde_batch_determinism:
            return None
        positive = sigmas[sigmas > 0]
        seeds = p.all_seeds[p.iteration * p.batch_size : (p.iteration + 1) * p.batch_size]
        return k_diffusion.sampling.BrownianTreeNoiseSampler(x, positive.min(), sigmas.max(), seed=seeds)

    def _with_extra_noise(self, p, x, noise, xi, scale=1.0):
        """The noised latents xi of x with the settings' extra noise, which callbacks may change, `scale` times."""
        strength = opts.img2img_extra_noise
        if strength <= 0:
            return xi
        p.extra_generation_params["Extra noise"] = strength
        params = ExtraNoiseParams(noise, x, xi)
        extra_noise_callback(params)
        xi += params.noise * strength * scale  # in place: a callback may have kept it
        return xi

    def _launch(self, p, x, steps: int, arguments: dict, conditions: tuple):
        """Run the sampling function from x. `conditions`: cond, uncond, image_cond."""
        cond, uncond, image_cond = conditions
        self.sampler_extra_args = {
            "cond": cond,
            "uncond": uncond,
            "image_cond": image_cond,
            "cond_scale": p.cfg_scale,
            "s_min_uncond": self.s_min_uncond,
        }
        arguments |= {
            "disable": False,
            "callback": self.callback_state,
            "extra_args": self.sampler_extra_args,
        }
        samples = self.launch_sampling(steps, lambda: self.func(self.model_wrap_cfg, x, **arguments))
        self.add_infotext(p)
        return samples

    def sample(self, p, x, conditioning, unconditional_conditioning, steps=None, image_conditioning=None):
        """From noise x [B, C, h, w] to latents."""
        raise NotImplementedError

    def sample_img2img(
        self, p, x, noise, conditioning, unconditional_conditioning, steps=None, image_conditioning=None
    ):
        """From latents x and noise, both [B, C, h, w], to latents."""
        raise NotImplementedError

    def add_infotext(self, p) -> None:
        if self.model_wrap_cfg.padded_cond_uncond:
            p.extra_generation_params["Pad conds"] = True
        if self.model_wrap_cfg.padded_cond_uncond_v0:
            p.extra_generation_params["Pad conds v0"] = True
