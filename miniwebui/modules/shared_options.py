"""The options that the WebUI itself reads, with the defaults of 1.10.1; few of them are shown on the page."""

import os

import gradio as gr

from modules import localization, shared_items
from modules.options import OptionInfo, categories, options_section
from modules.paths_internal import default_output_dir

_OUTPUTS = {
    f"outdir_{name}": os.path.join(default_output_dir, folder)
    for name, folder in {
        "txt2img_samples": "txt2img-images",
        "img2img_samples": "img2img-images",
        "txt2img_grids": "txt2img-grids",
        "img2img_grids": "img2img-grids",
    }.items()
}

# fmt: off
DEFAULTS = {
    **_OUTPUTS,
    # saving
    "samples_save": True, "samples_format": "png", "samples_filename_pattern": "[seed]",
    "save_images_add_number": True, "save_images_replace_action": "Replace", "grid_save": True,
    "grid_format": "png", "grid_only_if_multiple": True, "grid_background_color": "#ffffff",
    "jpeg_quality": 80, "webp_lossless": False, "save_incomplete_images": False,
    "outdir_samples": "", "outdir_grids": "", "save_to_dirs": True, "grid_save_to_dirs": True,
    "enable_pnginfo": True, "multiple_tqdm": True,
    # models and prompts
    "sd_checkpoints_limit": 1, "enable_quantization": False,
    "emphasis": "Original", "comma_padding_backtrack": 20, "enable_prompt_comments": True,
    "tiling": False, "hires_fix_refiner_pass": "second pass",
    "auto_vae_precision": True, "upscaler_for_img2img": None,
    # img2img
    "inpainting_mask_weight": 1.0, "initial_noise_multiplier": 1.0, "img2img_extra_noise": 0.0,
    "img2img_fix_steps": False, "img2img_background_color": "#ffffff",
    "overlay_inpaint": True,
    "img2img_batch_show_results_limit": 32,
    # upscaling
    "ESRGAN_tile": 192, "ESRGAN_tile_overlap": 8, "enable_upscale_progressbar": True,
    # sampling
    "s_min_uncond": 0.0, "s_min_uncond_all": False, "pad_cond_uncond": False,
    "pad_cond_uncond_v0": False, "persistent_cond_cache": True, "batch_cond_uncond": True,
    "use_old_karras_scheduler_sigmas": False, "no_dpmpp_sde_batch_determinism": False,
    "hires_fix_use_firstpass_conds": False, "use_old_scheduling": False, "use_downcasted_alpha_bar": False,
    "refiner_switch_by_sample_steps": False,
    "eta_ddim": 0.0, "eta_ancestral": 1.0, "s_churn": 0.0, "s_tmin": 0.0,
    "s_tmax": 0.0, "s_noise": 1.0, "sigma_min": 0.0, "sigma_max": 0.0, "rho": 0.0,
    "eta_noise_seed_delta": 0, "always_discard_next_to_last_sigma": False, "sgm_noise_multiplier": False,
    "uni_pc_variant": "bh1", "uni_pc_skip_type": "time_uniform", "uni_pc_order": 3,
    "uni_pc_lower_order_final": True, "sd_noise_schedule": "Default", "skip_early_cond": 0.0,
    "beta_dist_alpha": 0.6, "beta_dist_beta": 0.6, "hide_samplers": [],
    # page and infotext
    "return_grid": True, "add_model_name_to_info": True, "add_model_hash_to_info": True,
    "add_user_name_to_info": False, "add_version_to_infotext": True, "infotext_skip_pasting": [],
    "live_previews_image_format": "png", "show_progress_grid": True,
    "show_progress_type": "Approx NN", "live_preview_content": "Prompt",
    "live_preview_fast_interrupt": False, "disabled_extensions": [], "disable_all_extensions": "none",
    "disable_weights_auto_swap": False, "gallery_height": "",
    "do_not_show_images": False, "img_max_size_mp": 200,
}
# fmt: on

LIMITS = {
    "samples_format": {"choices": ["png", "jpg", "jpeg", "webp"]},
    "grid_format": {"choices": ["png", "jpg", "jpeg", "webp"]},
    "live_previews_image_format": {"choices": ["png", "jpeg", "webp"]},
    "show_progress_type": {"choices": ["Full", "Approx NN", "Approx cheap"]},
    "save_images_replace_action": {"choices": ["Replace", "Add number suffix"]},
    "emphasis": {"choices": ["None", "Ignore", "Original", "No norm"]},
    "hires_fix_refiner_pass": {"choices": ["first pass", "second pass", "both passes"]},
    "sd_noise_schedule": {"choices": ["Default", "Zero Terminal SNR"]},
    "uni_pc_variant": {"choices": ["bh1", "bh2"]},
    "uni_pc_skip_type": {"choices": ["time_uniform", "time_quadratic", "logSNR"]},
    "uni_pc_order": {"minimum": 1, "maximum": 50},
    "sd_checkpoints_limit": {"minimum": 1, "maximum": 10},
    "jpeg_quality": {"minimum": 1, "maximum": 100},
    "ESRGAN_tile": {"minimum": 0, "maximum": 2048},
    "ESRGAN_tile_overlap": {"minimum": 0, "maximum": 48},
    "beta_dist_alpha": {"minimum": 0.01, "maximum": 1.0},
    "beta_dist_beta": {"minimum": 0.01, "maximum": 1.0},
}
"""What an option that is not shown may be, where its type does not say it."""

INFOTEXT = {
    "emphasis": "Emphasis", "tiling": "Tiling",
    "hires_fix_refiner_pass": "Hires refiner", "inpainting_mask_weight": "Conditional mask weight",
    "initial_noise_multiplier": "Noise multiplier", "img2img_extra_noise": "Extra noise", "s_min_uncond": "NGMS",
    "s_min_uncond_all": "NGMS all steps", "pad_cond_uncond": "Pad conds", "pad_cond_uncond_v0": "Pad conds v0",
    "use_old_scheduling": "Old prompt editing timelines",
    "use_downcasted_alpha_bar": "Downcast alphas_cumprod",
    "refiner_switch_by_sample_steps": "Refiner switch by sampling steps", "eta_ddim": "Eta DDIM",
    "eta_ancestral": "Eta", "s_churn": "Sigma churn", "s_tmin": "Sigma tmin", "s_tmax": "Sigma tmax",
    "s_noise": "Sigma noise", "sigma_min": "Schedule min sigma", "sigma_max": "Schedule max sigma",
    "rho": "Schedule rho", "eta_noise_seed_delta": "ENSD", "uni_pc_order": "UniPC order",
    "always_discard_next_to_last_sigma": "Discard penultimate sigma", "uni_pc_variant": "UniPC variant",
    "sgm_noise_multiplier": "SGM noise multiplier", "uni_pc_skip_type": "UniPC skip type",
    "uni_pc_lower_order_final": "UniPC lower order final", "sd_noise_schedule": "Noise Schedule",
    "skip_early_cond": "Skip Early CFG", "beta_dist_alpha": "Beta scheduler alpha",
    "beta_dist_beta": "Beta scheduler beta",
}  # fmt: skip
"""What an option is called in the text of a picture; pasting one offers it as an override."""

for _id, _label in (("saving", "Saving images"), ("sd", "Stable Diffusion"), ("ui", "User Interface")):
    categories.register_category(_id, _label)

options_templates = options_section(
    (None, "Hidden options"),
    {
        key: OptionInfo(value, key, component_args=LIMITS.get(key), infotext=INFOTEXT.get(key))
        for key, value in DEFAULTS.items()
    },
)
_checkpoint = OptionInfo(
    None,
    "Stable Diffusion checkpoint",
    gr.Dropdown,
    lambda: {"choices": shared_items.list_checkpoint_tiles()},
    refresh=shared_items.refresh_checkpoints,
    infotext="Model hash",
)
_clip_skip = OptionInfo(
    1, "Clip skip", gr.Slider, {"minimum": 1, "maximum": 12, "step": 1}, infotext="Clip skip"
)
_randn = OptionInfo(
    "GPU", "Random number generator source.", gr.Radio, {"choices": ["GPU", "CPU", "NV"]}, infotext="RNG"
)
_localization = OptionInfo(
    "None",
    "Localization",
    gr.Dropdown,
    lambda: {"choices": ["None", *localization.localizations]},
    refresh=lambda: localization.list_localizations(localization.default_dir),
)
options_templates.update(
    options_section(
        ("sd", "Stable Diffusion", "sd"),
        {
            "sd_model_checkpoint": _checkpoint,
            "CLIP_stop_at_last_layers": _clip_skip.info("the text encoder's layer, counted from the last"),
            "randn_source": _randn.info("use CPU to get the same picture on every card"),
        },
    )
)
options_templates.update(
    options_section(
        ("ui", "User interface", "ui"),
        {
            "localization": _localization.needs_reload_ui(),
            "interrupt_after_current": OptionInfo(True, "Don't Interrupt in the middle").info(
                "of several pictures, stop after the current one is finished"
            ),
            "send_seed": OptionInfo(True, "Send seed when sending prompt or image to other interface"),
            "send_size": OptionInfo(True, "Send size when sending prompt or image to another interface"),
            "live_previews_enable": OptionInfo(True, "Show live previews of the created image"),
            "show_progress_every_n_steps": OptionInfo(
                10, "Live preview display period", gr.Slider, {"minimum": -1, "maximum": 32, "step": 1}
            ).info("a preview every so many sampling steps; -1: when a batch is done"),
        },
    )
)
restricted_opts: set[str] = set()
