"""txt2img with hires fix: a second, larger pass over the upscaled first one."""

from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image

from modules import (
    devices,
    extra_networks,
    images,
    rng,
    sd_models,
    sd_samplers,
    shared,
)
from modules.processing_base import MAX_SIDE, StableDiffusionProcessing, opt_f
from modules.processing_pictures import decode_latent_batch
from modules.sd_samplers_common import (
    decode_first_stage,
    images_tensor_to_samples,
    tensor_to_pil,
)
from modules.shared import opts, state


def _hr_prompt(p, index, prompt_text, **kwargs):
    """For the infotext: the second pass's prompt, where it differs."""
    prompt = p.all_hr_prompts[index]
    return None if prompt == prompt_text else prompt


def _hr_negative_prompt(p, index, negative_prompt, **kwargs):
    prompt = p.all_hr_negative_prompts[index]
    return None if prompt == negative_prompt else prompt


def _pixels(image: Image.Image) -> np.ndarray:
    """An RGB image -> [3, H, W] float32 in [0, 1]."""
    return np.moveaxis(np.array(image).astype(np.float32) / 255.0, 2, 0)


@dataclass(repr=False)
class StableDiffusionProcessingTxt2Img(StableDiffusionProcessing):
    """`denoising_strength` and the `hr_…` fields are of the second pass."""

    enable_hr: bool = False
    denoising_strength: float = 0.75
    firstphase_width: int = 0
    firstphase_height: int = 0
    hr_scale: float = 2.0
    hr_upscaler: str = None
    hr_second_pass_steps: int = 0
    hr_resize_x: int = 0
    hr_resize_y: int = 0
    hr_checkpoint_name: str = None
    hr_sampler_name: str = None
    hr_scheduler: str = None
    hr_prompt: str = ""
    hr_negative_prompt: str = ""
    force_task_id: str = None

    cached_hr_uc = [None, None]
    cached_hr_c = [None, None]

    hr_checkpoint_info: dict = field(default=None, init=False)
    hr_upscale_to_x: int = field(default=0, init=False)
    hr_upscale_to_y: int = field(default=0, init=False)
    truncate_x: int = field(default=0, init=False)
    truncate_y: int = field(default=0, init=False)
    latent_scale_mode: dict = field(default=None, init=False)
    hr_c: tuple | None = field(default=None, init=False)
    hr_uc: tuple | None = field(default=None, init=False)
    all_hr_prompts: list = field(default=None, init=False)
    all_hr_negative_prompts: list = field(default=None, init=False)
    hr_prompts: list = field(default=None, init=False)
    hr_negative_prompts: list = field(default=None, init=False)
    hr_extra_network_data: list = field(default=None, init=False)

    def __post_init__(self):
        super().__post_init__()
        if self.firstphase_width != 0 or self.firstphase_height != 0:
            self.hr_upscale_to_x, self.hr_upscale_to_y = self.width, self.height
            self.width, self.height = self.firstphase_width, self.firstphase_height
        self.cached_hr_uc = StableDiffusionProcessingTxt2Img.cached_hr_uc
        self.cached_hr_c = StableDiffusionProcessingTxt2Img.cached_hr_c

    def calculate_target_resolution(self):
        """The second pass's size: by a factor, or by given sides; what is too much is cut off."""
        wanted_x, wanted_y = self.hr_resize_x, self.hr_resize_y
        if wanted_x == 0 and wanted_y == 0:
            self.extra_generation_params["Hires upscale"] = self.hr_scale
            self.hr_upscale_to_x = int(self.width * self.hr_scale)
            self.hr_upscale_to_y = int(self.height * self.hr_scale)
            self._check_target()
            return

        self.extra_generation_params["Hires resize"] = f"{wanted_x}x{wanted_y}"
        by_width = wanted_y == 0 or (wanted_x and self.width / self.height < wanted_x / wanted_y)
        if by_width:
            self.hr_upscale_to_x, self.hr_upscale_to_y = wanted_x, wanted_x * self.height // self.width
        else:
            self.hr_upscale_to_x, self.hr_upscale_to_y = wanted_y * self.width // self.height, wanted_y
        self._check_target()
        if wanted_x and wanted_y:
            self.truncate_x = (self.hr_upscale_to_x - wanted_x) // opt_f
            self.truncate_y = (self.hr_upscale_to_y - wanted_y) // opt_f

    def _check_target(self):
        width, height = self.hr_upscale_to_x, self.hr_upscale_to_y
        if min(width, height) < opt_f or max(width, height) > MAX_SIDE:
            raise ValueError(f"Hires. fix makes {width}x{height}; allowed are {opt_f} to {MAX_SIDE} pixels.")

    def init(self, all_prompts, all_seeds, all_subseeds):
        if not self.enable_hr:
            return
        notes = self.extra_generation_params
        notes["Denoising strength"] = self.denoising_strength
        if self.hr_checkpoint_name and self.hr_checkpoint_name != "Use same checkpoint":
            self.hr_checkpoint_info = sd_models.get_closet_checkpoint_match(self.hr_checkpoint_name)
            if self.hr_checkpoint_info is None:
                raise ValueError(f"There is no checkpoint '{self.hr_checkpoint_name}'.")
            notes["Hires checkpoint"] = self.hr_checkpoint_info.short_title
        if self.hr_sampler_name is not None and self.hr_sampler_name != self.sampler_name:
            notes["Hires sampler"] = self.hr_sampler_name
        notes["Hires prompt"] = _hr_prompt
        notes["Hires negative prompt"] = _hr_negative_prompt
        notes["Hires schedule type"] = None  # its place in the order; get_sigmas fills it in
        if self.hr_scheduler is None:
            self.hr_scheduler = self.scheduler

        self._choose_upscaler()
        self.calculate_target_resolution()
        self._count_both_passes()
        if self.hr_second_pass_steps:
            notes["Hires steps"] = self.hr_second_pass_steps
        if self.hr_upscaler is not None:
            notes["Hires upscaler"] = self.hr_upscaler

    def _choose_upscaler(self):
        """Set `latent_scale_mode`, None for an upscaler of pictures. Raises ValueError if there is none."""
        modes = shared.latent_upscale_modes
        name = self.hr_upscaler if self.hr_upscaler is not None else shared.latent_upscale_default_mode
        self.latent_scale_mode = modes.get(name)
        names = [data.name for data in shared.sd_upscalers]
        if self.latent_scale_mode is None and name not in names:
            raise ValueError(f"There is no upscaler '{name}'; there are: {', '.join([*modes, *names])}.")

    def _count_both_passes(self):
        """Tell the progress bars that every batch takes two passes."""
        if state.processing_has_refined_job_count:
            return
        if state.job_count == -1:
            state.job_count = self.n_iter
        steps = self.steps + (self.hr_second_pass_steps or self.steps)
        shared.total_tqdm.updateTotal(steps * state.job_count)
        state.job_count *= 2
        state.processing_has_refined_job_count = True

    def sample(self, conditioning, unconditional_conditioning, seeds, subseeds, subseed_strength, prompts):
        self.sampler = sd_samplers.create_sampler(self.sampler_name, self.sd_model)
        samples, decoded_samples = self._first_pass(conditioning, unconditional_conditioning), None
        if not self.enable_hr:
            return samples
        devices.torch_gc()
        if self.latent_scale_mode is None:
            decoded = decode_latent_batch(
                self.sd_model, samples, target_device=devices.cpu, check_for_nans=True
            )
            decoded_samples = torch.stack(decoded).to(dtype=torch.float32)

        with sd_models.SkipWritingToConfig():
            sd_models.reload_model_weights(info=self.hr_checkpoint_info)
        return self.sample_hr_pass(samples, decoded_samples, seeds, subseeds, subseed_strength, prompts)

    def _first_pass(self, conditioning, unconditional_conditioning):
        x = self.rng.next()
        if self.scripts is not None:
            self.scripts.process_before_every_sampling(
                p=self, x=x, noise=x, c=conditioning, uc=unconditional_conditioning
            )
        return self.sampler.sample(
            self,
            x,
            conditioning,
            unconditional_conditioning,
            image_conditioning=self.txt2img_image_conditioning(x),
        )

    def _upscale_latents(self, samples):
        """-> (latents of the second pass's size, their image condition)."""
        samples = torch.nn.functional.interpolate(
            samples,
            size=(self.hr_upscale_to_y // opt_f, self.hr_upscale_to_x // opt_f),
            mode=self.latent_scale_mode["mode"],
            antialias=self.latent_scale_mode["antialias"],
        )
        if getattr(self, "inpainting_mask_weight", opts.inpainting_mask_weight) < 1.0:
            pictures = decode_first_stage(self.sd_model, samples)
            return samples, self.img2img_image_conditioning(pictures, samples)
        return samples, self.txt2img_image_conditioning(samples)

    def _upscale_pictures(self, decoded_samples):
        """As _upscale_latents, by an upscaler of pictures; decoded_samples in [−1, 1]."""
        upscaled = []
        for sample in torch.clamp((decoded_samples + 1.0) / 2.0, min=0.0, max=1.0):
            image = tensor_to_pil(sample)
            size = self.hr_upscale_to_x, self.hr_upscale_to_y
            upscaled.append(_pixels(images.resize_image(0, image, *size, upscaler_name=self.hr_upscaler)))
        pictures = torch.from_numpy(np.array(upscaled)).to(shared.device, dtype=devices.dtype_vae)
        samples = images_tensor_to_samples(pictures)
        # the WebUI passes [0, 1] where [−1, 1] is expected; only inpainting checkpoints see it
        return samples, self.img2img_image_conditioning(pictures, samples)

    def sample_hr_pass(self, samples, decoded_samples, seeds, subseeds, subseed_strength, prompts):
        """The second pass -> DecodedSamples; after an interrupt the first pass's latents."""
        if state.interrupted:
            return samples
        self.is_hr_pass = True
        self.sampler = sd_samplers.create_sampler(self.hr_sampler_name or self.sampler_name, self.sd_model)
        if self.latent_scale_mode is not None:
            samples, image_conditioning = self._upscale_latents(samples)
        else:
            samples, image_conditioning = self._upscale_pictures(decoded_samples)
        state.nextjob()
        samples = self._cut_to_target(samples)
        noise = self._hires_noise(samples.shape[1:])
        devices.torch_gc()
        with devices.autocast():
            if not self.disable_extra_networks:
                extra_networks.activate(self, self.hr_extra_network_data)
            self.calculate_hr_conds()

        if self.scripts is not None:
            self.scripts.before_hr(self)
            self.scripts.process_before_every_sampling(
                p=self, x=samples, noise=noise, c=self.hr_c, uc=self.hr_uc
            )
        samples = self.sampler.sample_img2img(
            self,
            samples,
            noise,
            self.hr_c,
            self.hr_uc,
            steps=self.hr_second_pass_steps or self.steps,
            image_conditioning=image_conditioning,
        )
        self.sampler = None
        devices.torch_gc()
        decoded = decode_latent_batch(self.sd_model, samples, target_device=devices.cpu, check_for_nans=True)
        self.is_hr_pass = False
        return decoded

    def _cut_to_target(self, samples):
        """Latents without what the target has too much, half of it on each side, the odd one at the end."""
        over_y, over_x = self.truncate_y, self.truncate_x
        height, width = samples.shape[2:]
        rows = slice(over_y // 2, height - (over_y + 1) // 2)
        columns = slice(over_x // 2, width - (over_x + 1) // 2)
        return samples[:, :, rows, columns]

    def _hires_noise(self, shape):
        """The second pass's noise, from a generator of its own, which the sampler goes on with."""
        seeds = {
            name: getattr(self, name)
            for name in ("subseeds", "subseed_strength", "seed_resize_from_h", "seed_resize_from_w")
        }
        self.rng = rng.ImageRNG(shape, self.seeds, **seeds)
        return self.rng.next()

    def close(self):
        super().close()
        self.hr_c = self.hr_uc = None
        if not opts.persistent_cond_cache:
            cls = StableDiffusionProcessingTxt2Img
            cls.cached_hr_c, cls.cached_hr_uc = [None, None], [None, None]

    def setup_prompts(self):
        super().setup_prompts()
        if not self.enable_hr:
            return
        for name in ("prompt", "negative_prompt"):  # an empty one is that of the first pass
            if getattr(self, f"hr_{name}") == "":
                setattr(self, f"hr_{name}", getattr(self, name))

        count = self.batch_size * self.n_iter
        prompts, negative = (
            value if isinstance(value, list) else [value] * count
            for value in (self.hr_prompt, self.hr_negative_prompt)
        )
        apply_styles = shared.prompt_styles.apply_styles_to_prompt
        apply_negative_styles = shared.prompt_styles.apply_negative_styles_to_prompt
        self.all_hr_prompts = [apply_styles(prompt, self.styles) for prompt in prompts]
        self.all_hr_negative_prompts = [apply_negative_styles(prompt, self.styles) for prompt in negative]

    def calculate_hr_conds(self):
        """Conditions of the second pass; schedules in prompts count on from the first."""
        if self.hr_c is not None:
            return
        config = sd_samplers.find_sampler_config(self.hr_sampler_name or self.sampler_name)
        steps = self.hr_second_pass_steps or self.steps
        total_steps = config.total_steps(steps) if config else steps
        size = self.hr_upscale_to_x, self.hr_upscale_to_y
        caches = [self.cached_hr_c, self.cached_c], [self.cached_hr_uc, self.cached_uc]
        texts = self.hr_prompts, self.hr_negative_prompts
        self.hr_c, self.hr_uc = self.learned_conds(
            texts, size, caches, self.hr_extra_network_data, self.firstpass_steps, total_steps
        )

    def setup_conds(self):
        if self.is_hr_pass:
            # the refiner's switch asks within the second pass, where the first one's are of no use
            self.hr_c = None
            self.calculate_hr_conds()
            return
        super().setup_conds()
        self.hr_uc = self.hr_c = None
        if self.enable_hr and self.hr_checkpoint_info is None and opts.hires_fix_use_firstpass_conds:
            self.calculate_hr_conds()

    def get_conds(self):
        if self.is_hr_pass:
            return self.hr_c, self.hr_uc
        return super().get_conds()

    def parse_extra_network_prompts(self):
        super().parse_extra_network_prompts()
        if not self.enable_hr:
            return
        batch = slice(self.iteration * self.batch_size, (self.iteration + 1) * self.batch_size)
        self.hr_negative_prompts = self.all_hr_negative_prompts[batch]
        self.hr_prompts, self.hr_extra_network_data = extra_networks.parse_prompts(self.all_hr_prompts[batch])
