"""The settings of a generation and what goes with every kind of it: `StableDiffusionProcessing`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from modules import (
    devices,
    errors,
    extra_networks,
    processing_conditioning,
    prompt_parser,
    rng,
    scripts,
    sd_samplers,
    sd_samplers_common,
    shared,
)
from modules.shared import opts, state

opt_C = 4
opt_f = 8
MAX_SIDE = 16384
"""Pixels of a picture's longest side."""


@dataclass(repr=False)
class StableDiffusionProcessing:
    """One generation. Field names and their order are the WebUI's; lists are per picture."""

    sd_model: object = None
    outpath_samples: str = None
    outpath_grids: str = None
    prompt: str = ""
    prompt_for_display: str = None
    negative_prompt: str = ""
    styles: list[str] = None
    seed: int = -1
    subseed: int = -1
    subseed_strength: float = 0
    seed_resize_from_h: int = -1
    seed_resize_from_w: int = -1
    seed_enable_extras: bool = True
    sampler_name: str = None
    scheduler: str = None
    batch_size: int = 1
    n_iter: int = 1
    steps: int = 50
    cfg_scale: float = 7.0
    width: int = 512
    height: int = 512
    restore_faces: bool = None
    tiling: bool = None
    do_not_save_samples: bool = False
    do_not_save_grid: bool = False
    extra_generation_params: dict[str, Any] = None
    overlay_images: list = None
    eta: float = None
    do_not_reload_embeddings: bool = False
    denoising_strength: float = None
    ddim_discretize: str = None
    s_min_uncond: float = None
    s_churn: float = None
    s_tmax: float = None
    s_tmin: float = None
    s_noise: float = None
    override_settings: dict[str, Any] = None
    override_settings_restore_afterwards: bool = True
    sampler_index: int = None
    refiner_checkpoint: str = None
    refiner_switch_at: float = None
    token_merging_ratio = 0
    token_merging_ratio_hr = 0
    disable_extra_networks: bool = False
    firstpass_image: Image = None

    scripts_value: scripts.ScriptRunner = field(default=None, init=False)
    script_args_value: list = field(default=None, init=False)
    scripts_setup_complete: bool = field(default=False, init=False)

    cached_uc = [None, None]
    cached_c = [None, None]

    comments: dict = None
    sampler: sd_samplers_common.Sampler | None = field(default=None, init=False)
    is_using_inpainting_conditioning: bool = field(default=False, init=False)
    paste_to: tuple | None = field(default=None, init=False)
    is_hr_pass: bool = field(default=False, init=False)
    c: tuple = field(default=None, init=False)
    uc: tuple = field(default=None, init=False)
    rng: rng.ImageRNG | None = field(default=None, init=False)
    step_multiplier: int = field(default=1, init=False)

    all_prompts: list = field(default=None, init=False)
    all_negative_prompts: list = field(default=None, init=False)
    all_seeds: list = field(default=None, init=False)
    all_subseeds: list = field(default=None, init=False)
    iteration: int = field(default=0, init=False)
    main_prompt: str = field(default=None, init=False)
    main_negative_prompt: str = field(default=None, init=False)

    prompts: list = field(default=None, init=False)
    negative_prompts: list = field(default=None, init=False)
    seeds: list = field(default=None, init=False)
    subseeds: list = field(default=None, init=False)
    extra_network_data: dict = field(default=None, init=False)

    user: str = field(default=None, init=False)
    sd_model_name: str = field(default=None, init=False)
    sd_model_hash: str = field(default=None, init=False)
    sd_vae_name: str = field(default=None, init=False)
    sd_vae_hash: str = field(default=None, init=False)
    is_api: bool = field(default=False, init=False)

    def __post_init__(self):
        if self.sampler_index is not None:
            errors.report("sampler_index does nothing in StableDiffusionProcessing; use sampler_name")
        self.comments = {}
        self.styles = self.styles or []
        self.sampler_noise_scheduler_override = None
        self.extra_generation_params = self.extra_generation_params or {}
        self.override_settings = self.override_settings or {}
        self.script_args = self.script_args or {}
        self.refiner_checkpoint_info = None
        if not self.seed_enable_extras:
            self.subseed = -1
            self.subseed_strength = 0
            self.seed_resize_from_h = self.seed_resize_from_w = 0
        # the caches belong to the class: conditions are kept from one generation to the next
        self.cached_uc = StableDiffusionProcessing.cached_uc
        self.cached_c = StableDiffusionProcessing.cached_c

    def fill_fields_from_opts(self):
        for name in ("s_min_uncond", "s_churn", "s_tmin", "s_tmax", "s_noise"):
            if getattr(self, name) is None:
                setattr(self, name, getattr(opts, name))
        self.s_tmax = self.s_tmax or float("inf")

    @property
    def sd_model(self):
        return shared.sd_model

    @sd_model.setter
    def sd_model(self, value):
        """The loaded model is used, whatever is assigned; the field exists for callers."""

    @property
    def scripts(self):
        return self.scripts_value

    @scripts.setter
    def scripts(self, value):
        self.scripts_value = value
        self._setup_scripts_when_complete()

    @property
    def script_args(self):
        return self.script_args_value

    @script_args.setter
    def script_args(self, value):
        self.script_args_value = value
        self._setup_scripts_when_complete()

    def _setup_scripts_when_complete(self):
        if self.scripts_value and self.script_args_value and not self.scripts_setup_complete:
            self.setup_scripts()

    def setup_scripts(self):
        self.scripts_setup_complete = True
        self.scripts.setup_scrips(self, is_ui=not self.is_api)

    def comment(self, text):
        self.comments[text] = 1

    def txt2img_image_conditioning(self, x, width=None, height=None):
        key = self.sd_model.model.conditioning_key
        self.is_using_inpainting_conditioning = key in processing_conditioning.INPAINTING_KEYS
        return processing_conditioning.txt2img_image_conditioning(
            self.sd_model, x, width or self.width, height or self.height
        )

    def img2img_image_conditioning(self, source_image, latent_image, image_mask=None, round_image_mask=True):
        """source_image: [B, 3, H, W] in [−1, 1]."""
        return processing_conditioning.img2img_image_conditioning(
            self, devices.cond_cast_float(source_image), latent_image, image_mask, round_image_mask
        )

    def init(self, all_prompts, all_seeds, all_subseeds):
        """Prepare what all batches share."""

    def sample(self, conditioning, unconditional_conditioning, seeds, subseeds, subseed_strength, prompts):
        """Draw one batch -> latents [B, C, h, w], or DecodedSamples."""
        raise NotImplementedError

    def close(self):
        self.sampler = None
        self.c = self.uc = None
        if not opts.persistent_cond_cache:
            cls = StableDiffusionProcessing
            cls.cached_c, cls.cached_uc = [None, None], [None, None]

    def get_token_merging_ratio(self, for_hr=False):
        return (self.token_merging_ratio_hr if for_hr else 0) or self.token_merging_ratio

    def setup_prompts(self):
        """Prompts of the whole job, styles applied. Raises RuntimeError if their numbers differ."""
        count = self.batch_size * self.n_iter
        if isinstance(self.prompt, list):
            prompts = self.prompt
        else:
            count = len(self.negative_prompt) if isinstance(self.negative_prompt, list) else count
            prompts = [self.prompt] * count
        negative = self.negative_prompt
        negative = negative if isinstance(negative, list) else [negative] * len(prompts)
        if len(prompts) != len(negative):
            raise RuntimeError(f"There are {len(prompts)} prompts, but {len(negative)} negative prompts.")

        apply_styles = shared.prompt_styles.apply_styles_to_prompt
        apply_negative_styles = shared.prompt_styles.apply_negative_styles_to_prompt
        self.all_prompts = [apply_styles(prompt, self.styles) for prompt in prompts]
        self.all_negative_prompts = [apply_negative_styles(prompt, self.styles) for prompt in negative]
        self.main_prompt = self.all_prompts[0]
        self.main_negative_prompt = self.all_negative_prompts[0]

    def cached_params(
        self, required_prompts, steps, extra_network_data, hires_steps=None, use_old_scheduling=False
    ):
        """What conditions depend on; as long as it is equal, they are kept."""
        return (
            required_prompts,
            steps,
            hires_steps,
            use_old_scheduling,
            opts.CLIP_stop_at_last_layers,
            shared.sd_model.sd_checkpoint_info,
            extra_network_data,
            self.width,
            self.height,
            opts.emphasis,
        )

    def get_conds_with_caching(
        self, function, required_prompts, steps, caches, extra_network_data, hires_steps=None
    ):
        """function(model, prompts, steps, hires_steps, use_old_scheduling), or what a cache holds of it.

        A cache is [cached_params, conditions]; the first one is written to.
        """
        old_scheduling = opts.use_old_scheduling
        if old_scheduling:
            old, new = (
                prompt_parser.get_learned_conditioning_prompt_schedules(
                    required_prompts, steps, hires_steps, is_old
                )
                for is_old in (True, False)
            )
            if old != new:
                self.extra_generation_params["Old prompt editing timelines"] = True

        params = self.cached_params(required_prompts, steps, extra_network_data, hires_steps, old_scheduling)
        for cached_params, conds in caches:
            if cached_params is not None and cached_params == params:
                return conds
        with devices.autocast():
            conds = function(shared.sd_model, required_prompts, steps, hires_steps, old_scheduling)
        caches[0][:] = [params, conds]
        return conds

    def setup_conds(self):
        """Conditions of the current batch's prompts."""
        config = sd_samplers.find_sampler_config(self.sampler_name)
        total_steps = config.total_steps(self.steps) if config else self.steps
        self.step_multiplier = total_steps // self.steps
        self.firstpass_steps = total_steps
        size = self.width, self.height
        caches = [self.cached_c], [self.cached_uc]
        texts = self.prompts, self.negative_prompts
        self.c, self.uc = self.learned_conds(texts, size, caches, self.extra_network_data, total_steps)

    def learned_conds(self, texts, size, caches, extra_network_data, steps, hires_steps=None):
        """(conditions, negative ones) of (prompts, negative prompts); `size` in pixels; a list of caches for each."""
        width, height = size
        prompts, negative = (
            prompt_parser.SdConditioning(text, is_negative, width, height)
            for text, is_negative in zip(texts, (False, True))
        )
        functions = prompt_parser.get_multicond_learned_conditioning, prompt_parser.get_learned_conditioning
        asked = zip(functions, (prompts, negative), caches)
        # the negative ones first: the order in which the WebUI notes what embeddings it has used
        c_uc = [
            self.get_conds_with_caching(function, text, steps, known, extra_network_data, hires_steps)
            for function, text, known in reversed(list(asked))
        ]
        return tuple(reversed(c_uc))

    def get_conds(self):
        return self.c, self.uc

    def parse_extra_network_prompts(self):
        self.prompts, self.extra_network_data = extra_networks.parse_prompts(self.prompts)

    def save_samples(self) -> bool:
        """Whether the pictures are written to disk."""
        stopped = state.interrupted or state.skipped
        wanted = opts.samples_save and not self.do_not_save_samples
        return wanted and (opts.save_incomplete_images or not stopped)
