"""The text that is written into a picture, and what a generation returns."""

import json
import random

from modules import errors, infotext_text, launch_utils, sd_samplers_common
from modules.shared import opts, state

SEED_LIMIT = 4294967294
SEED_MOST = 10**18
"""PyTorch's generators take 64 bits, and the seeds of a job's pictures count on from the first."""
NO_TAG = "<none>"


def get_fixed_seed(seed) -> int:
    """A seed as a number; −1, None, '' and what is no number draw one. Raises ValueError beyond 64 bits."""
    try:
        seed = -1 if seed in ("", None) else int(seed)
    except ValueError:
        seed = -1
    if abs(seed) > SEED_MOST:
        raise ValueError(f"The seed is {str(seed):.40}; allowed is {-SEED_MOST} to {SEED_MOST}.")
    return random.randrange(SEED_LIMIT) if seed == -1 else seed


def fix_seed(p) -> None:
    p.seed = get_fixed_seed(p.seed)
    p.subseed = get_fixed_seed(p.subseed)


def program_version() -> str | None:
    tag = launch_utils.git_tag()
    return None if tag == NO_TAG else tag


def _main_params(p, seed, subseed) -> dict:
    """What the infotext says of every generation, in the WebUI's order; None leaves an entry out."""
    clip_skip = getattr(p, "clip_skip", opts.CLIP_stop_at_last_layers)
    resized = p.seed_resize_from_w > 0 and p.seed_resize_from_h > 0
    varied = p.subseed_strength != 0
    uses_ensd = opts.eta_noise_seed_delta != 0 and (
        sd_samplers_common.is_sampler_using_eta_noise_seed_delta(p)
    )
    mask_weight = getattr(p, "inpainting_mask_weight", opts.inpainting_mask_weight)
    return {
        "Steps": p.steps,
        "Sampler": p.sampler_name,
        "Schedule type": p.scheduler,
        "CFG scale": p.cfg_scale,
        "Seed": seed,
        "Size": f"{p.width}x{p.height}",
        "Model hash": p.sd_model_hash if opts.add_model_hash_to_info else None,
        "Model": p.sd_model_name if opts.add_model_name_to_info else None,
        "Variation seed": subseed if varied else None,
        "Variation seed strength": p.subseed_strength if varied else None,
        "Seed resize from": f"{p.seed_resize_from_w}x{p.seed_resize_from_h}" if resized else None,
        "Denoising strength": p.extra_generation_params.get("Denoising strength"),
        "Conditional mask weight": mask_weight if p.is_using_inpainting_conditioning else None,
        "Clip skip": clip_skip if clip_skip > 1 else None,
        "ENSD": opts.eta_noise_seed_delta if uses_ensd else None,
        "RNG": opts.randn_source if opts.randn_source != "GPU" else None,
        "Tiling": "True" if p.tiling else None,
    }


def create_infotext(
    p,
    all_prompts,
    all_seeds,
    all_subseeds,
    comments=None,
    iteration=0,
    position_in_batch=0,
    use_main_prompt=False,
    index=None,
    all_negative_prompts=None,
) -> str:
    """Prompt, negative prompt and parameters of one picture.

    The lists may be of the job or of the batch; `index` (else made of position and iteration) is the place in
    them. In `p.extra_generation_params` a value may be a list (one entry a picture) or a function of what is
    known here: `f(p, index, prompt_text, negative_prompt, **kwargs) -> str | None`.
    """
    if use_main_prompt:  # of the job as a whole
        index, prompt_text, negative_prompt = 0, p.main_prompt, p.main_negative_prompt
        seed, subseed = p.all_seeds[0], p.all_subseeds[0]
    else:
        index = iteration * p.batch_size + position_in_batch if index is None else index
        negatives = p.all_negative_prompts if all_negative_prompts is None else all_negative_prompts
        prompt_text, negative_prompt = all_prompts[index], negatives[index]
        seed, subseed = all_seeds[index], all_subseeds[index]

    generation_params = {
        **_main_params(p, seed, subseed),
        **p.extra_generation_params,
        "Version": program_version() if opts.add_version_to_infotext else None,
        "User": p.user if opts.add_user_name_to_info else None,
    }
    scope = locals()
    for key, value in generation_params.items():
        generation_params[key] = _resolved(key, value, scope)

    params_text = ", ".join(
        key if key == value else f"{key}: {infotext_text.quote(value)}"
        for key, value in generation_params.items()
        if value is not None
    )
    negative_text = f"\nNegative prompt: {negative_prompt}" if negative_prompt else ""
    return f"{prompt_text}{negative_text}\n{params_text}".strip()


def _resolved(key: str, value, scope: dict):
    try:
        if isinstance(value, list):
            return value[scope["index"]]
        return value(**scope) if callable(value) else value
    except Exception:
        errors.report(f"'{key}' is left out of the picture's text", exc_info=True)
        return None


def _first(value):
    return value[0] if isinstance(value, list) else value


class Processed:
    """What a generation returns: pictures (a grid may come first) and how they were made."""

    COPIED = (
        "subseed_strength", "width", "height", "sampler_name", "cfg_scale", "steps", "batch_size",
        "restore_faces", "sd_model_name", "sd_model_hash", "sd_vae_name", "sd_vae_hash", "seed_resize_from_w",
        "seed_resize_from_h", "extra_generation_params", "styles", "token_merging_ratio",
        "token_merging_ratio_hr", "eta", "ddim_discretize", "s_churn", "s_tmin", "s_tmax", "s_noise",
        "s_min_uncond", "sampler_noise_scheduler_override", "is_using_inpainting_conditioning",
    )  # fmt: skip

    JSON_FIELDS = (
        "prompt", "all_prompts", "negative_prompt", "all_negative_prompts", "seed", "all_seeds", "subseed",
        "all_subseeds", "subseed_strength", "width", "height", "sampler_name", "cfg_scale", "steps",
        "batch_size", "restore_faces", "face_restoration_model", "sd_model_name", "sd_model_hash",
        "sd_vae_name", "sd_vae_hash", "seed_resize_from_w", "seed_resize_from_h", "denoising_strength",
        "extra_generation_params", "index_of_first_image", "infotexts", "styles", "job_timestamp",
        "clip_skip", "is_using_inpainting_conditioning", "version",
    )  # fmt: skip

    def __init__(
        self,
        p,
        images_list,
        seed=-1,
        info="",
        subseed=None,
        all_prompts=None,
        all_negative_prompts=None,
        all_seeds=None,
        all_subseeds=None,
        index_of_first_image=0,
        infotexts=None,
        comments="",
    ):
        for name in self.COPIED:
            setattr(self, name, getattr(p, name))
        self.images = images_list
        self.info = info
        self.comments = "".join(f"{comment}\n" for comment in p.comments)
        self.image_cfg_scale = getattr(p, "image_cfg_scale", None)
        self.denoising_strength = getattr(p, "denoising_strength", None)
        self.face_restoration_model = None
        self.index_of_first_image = index_of_first_image
        self.job_timestamp = state.job_timestamp
        self.clip_skip = opts.CLIP_stop_at_last_layers

        self.prompt = _first(p.prompt)
        self.negative_prompt = _first(p.negative_prompt)
        self.seed = -1 if seed is None else int(_first(seed))
        self.subseed = -1 if subseed is None else int(_first(subseed))
        of_all = {
            "prompt": all_prompts, "negative_prompt": all_negative_prompts, "seed": all_seeds, "subseed": all_subseeds,
        }  # fmt: skip
        for one, given in of_all.items():
            setattr(self, f"all_{one}s", given or getattr(p, f"all_{one}s") or [getattr(self, one)])
        self.infotexts = infotexts or [info] * len(images_list)
        self.version = program_version()

    def js(self) -> str:
        """The fields that the page and the API read, as JSON."""
        return json.dumps({name: getattr(self, name) for name in self.JSON_FIELDS}, default=lambda o: None)

    def infotext(self, p, index) -> str:
        position, iteration = index % self.batch_size, index // self.batch_size
        return create_infotext(
            p,
            self.all_prompts,
            self.all_seeds,
            self.all_subseeds,
            comments=[],
            position_in_batch=position,
            iteration=iteration,
        )

    def get_token_merging_ratio(self, for_hr=False):
        return self.token_merging_ratio_hr if for_hr else self.token_merging_ratio
