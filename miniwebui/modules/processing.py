"""Drawing a job: batches, hooks, pictures; the entry is `process_images`.

The order of the hooks is the WebUI's, which extensions rely on.
"""

import os

import torch

from modules import (
    devices,
    extra_networks,
    images,
    paths,
    rng,
    scripts,
    sd_models,
    sd_samplers,
    shared,
    util,
)
from modules.processing_base import StableDiffusionProcessing, opt_C, opt_f
from modules.processing_checks import check_settings
from modules.processing_conditioning import txt2img_image_conditioning  # noqa: F401
from modules.processing_img2img import StableDiffusionProcessingImg2Img  # noqa: F401
from modules.processing_infotext import (  # noqa: F401
    Processed,
    create_infotext,
    fix_seed,
    get_fixed_seed,
    program_version,
)
from modules.processing_pictures import (  # noqa: F401
    DecodedSamples,
    apply_overlay,
    create_binary_mask,
    create_random_tensors,
    decode_latent_batch,
    uncrop,
)
from modules.processing_txt2img import (  # noqa: F401
    StableDiffusionProcessingTxt2Img,
)
from modules.rng import slerp  # noqa: F401
from modules.sd_hijack import model_hijack
from modules.sd_samplers_common import (  # noqa: F401
    approximation_indexes,
    decode_first_stage,
    images_tensor_to_samples,
    tensor_to_pil,
)
from modules.shared import cmd_opts, opts, state


def process_images(p: StableDiffusionProcessing) -> Processed:
    """Draw what p says, with its overridden settings in force; they are restored afterwards."""
    if p.scripts is not None:
        p.scripts.before_process(p)

    for name, value in p.override_settings.items():
        opts.check(name, value)
    stored = {k: opts.data.get(k, opts.get_default(k)) for k in p.override_settings if k in opts.data}
    try:
        if sd_models.checkpoint_aliases.get(p.override_settings.get("sd_model_checkpoint")) is None:
            p.override_settings.pop("sd_model_checkpoint", None)
            sd_models.reload_model_weights()
        for name, value in p.override_settings.items():
            opts.set(name, value, is_api=True, run_callbacks=False)
            if name == "sd_model_checkpoint":
                sd_models.reload_model_weights()
        sd_samplers.fix_p_invalid_sampler_and_scheduler(p)
        check_settings(p)
        return process_images_inner(p)
    finally:
        if p.override_settings_restore_afterwards:
            for name, value in stored.items():
                setattr(opts, name, value)


def _prepare(p: StableDiffusionProcessing) -> None:
    """Fill in what the settings and the loaded model say; prompts and seeds of the whole job."""
    seed, subseed = (s if isinstance(s, list) else get_fixed_seed(s) for s in (p.seed, p.subseed))
    p.restore_faces = bool(p.restore_faces)
    p.tiling = opts.tiling if p.tiling is None else p.tiling
    if p.refiner_checkpoint not in (None, "", "None", "none"):
        p.refiner_checkpoint_info = sd_models.get_closet_checkpoint_match(p.refiner_checkpoint)
        if p.refiner_checkpoint_info is None:
            raise ValueError(f"There is no checkpoint '{p.refiner_checkpoint}'.")
    if hasattr(shared.sd_model, "fix_dimensions"):
        p.width, p.height = shared.sd_model.fix_dimensions(p.width, p.height)
    p.sd_model_name = shared.sd_model.sd_checkpoint_info.name_for_extra
    p.sd_model_hash = shared.sd_model.sd_model_hash
    model_hijack.apply_circular(p.tiling)
    model_hijack.clear_comments()
    p.fill_fields_from_opts()
    p.setup_prompts()

    indexes = range(len(p.all_prompts))
    varied = p.subseed_strength != 0
    p.all_seeds = seed if isinstance(seed, list) else [seed + (0 if varied else i) for i in indexes]
    p.all_subseeds = subseed if isinstance(subseed, list) else [subseed + i for i in indexes]


def process_images_inner(p: StableDiffusionProcessing) -> Processed:
    """The job: init once, then batch after batch."""
    if p.prompt == []:
        raise ValueError("There is no prompt.")
    devices.torch_gc()
    _prepare(p)
    if os.path.exists(cmd_opts.embeddings_dir) and not p.do_not_reload_embeddings:
        model_hijack.embedding_db.load_textual_inversion_embeddings()
    if p.scripts is not None:
        p.scripts.process(p)

    output = _Output()
    with torch.no_grad(), p.sd_model.ema_scope():
        with devices.autocast():
            p.init(p.all_prompts, p.all_seeds, p.all_subseeds)
        if state.job_count == -1:
            state.job_count = p.n_iter
        for n in range(p.n_iter):
            state.skipped = False
            if state.interrupted or state.stopping_generation:
                break
            if not _process_batch(p, n, output):
                break
        if not output.infotexts:
            output.infotexts.append(Processed(p, []).infotext(p, 0))
        _add_grid(p, output)

    if not p.disable_extra_networks and p.extra_network_data:
        extra_networks.deactivate(p, p.extra_network_data)
    devices.torch_gc()
    res = Processed(
        p,
        images_list=output.images,
        seed=p.all_seeds[0],
        info=output.infotexts[0],
        subseed=p.all_subseeds[0],
        index_of_first_image=output.index_of_first_image,
        infotexts=output.infotexts,
    )
    if p.scripts is not None:
        p.scripts.postprocess(p, res)
    return res


class _Output:
    """Pictures and infotexts of the job so far."""

    def __init__(self):
        self.images: list = []
        self.infotexts: list[str] = []
        self.index_of_first_image = 0


def _slice_prompts(p: StableDiffusionProcessing) -> None:
    batch = slice(p.iteration * p.batch_size, (p.iteration + 1) * p.batch_size)
    p.prompts, p.negative_prompts = p.all_prompts[batch], p.all_negative_prompts[batch]


def _start_batch(p: StableDiffusionProcessing, n: int) -> None:
    """Prompts, seeds and random numbers of batch n."""
    p.iteration = n
    sd_models.reload_model_weights()  # a refiner may have left another one in use
    _slice_prompts(p)
    batch = slice(n * p.batch_size, (n + 1) * p.batch_size)
    p.seeds, p.subseeds = p.all_seeds[batch], p.all_subseeds[batch]
    channels = getattr(shared.sd_model, "latent_channels", opt_C)
    p.rng = rng.ImageRNG(
        (channels, p.height // opt_f, p.width // opt_f),
        p.seeds,
        subseeds=p.subseeds,
        subseed_strength=p.subseed_strength,
        seed_resize_from_h=p.seed_resize_from_h,
        seed_resize_from_w=p.seed_resize_from_w,
    )


def _batch_arguments(p: StableDiffusionProcessing, n: int) -> dict:
    return {"batch_number": n, "prompts": p.prompts, "seeds": p.seeds, "subseeds": p.subseeds}


def _set_up_batch(p: StableDiffusionProcessing, n: int) -> bool:
    """Hooks, extra networks and conditions of a batch; False if there is nothing left to draw."""
    _start_batch(p, n)
    if p.scripts is not None:
        p.scripts.before_process_batch(p, **_batch_arguments(p, n))
    if len(p.prompts) == 0:
        return False
    p.parse_extra_network_prompts()
    if not p.disable_extra_networks:
        with devices.autocast():
            extra_networks.activate(p, p.extra_network_data)
    if p.scripts is not None:
        p.scripts.process_batch(p, **_batch_arguments(p, n))
    p.setup_conds()
    p.extra_generation_params.update(model_hijack.extra_generation_params)
    if n == 0 and not cmd_opts.no_prompt_history:
        # after process_batch, which may still change the infotext
        util.write_text(os.path.join(paths.data_path, "params.txt"), Processed(p, []).infotext(p, 0))
    for comment in model_hijack.comments:
        p.comment(comment)
    if p.n_iter > 1:
        state.job = f"Batch {n + 1} out of {p.n_iter}"
    return True


def _sample_batch(p: StableDiffusionProcessing) -> torch.Tensor:
    """-> pictures [B, 3, H, W] float32 in [0, 1]."""
    sd_models.apply_alpha_schedule_override(p.sd_model, p)
    with devices.without_autocast() if devices.unet_needs_upcast else devices.autocast():
        samples = p.sample(
            conditioning=p.c,
            unconditional_conditioning=p.uc,
            seeds=p.seeds,
            subseeds=p.subseeds,
            subseed_strength=p.subseed_strength,
            prompts=p.prompts,
        )
    if p.scripts is not None:
        ps = scripts.PostSampleArgs(samples)
        p.scripts.post_sample(p, ps)
        samples = ps.samples
    if not getattr(samples, "already_decoded", False):
        devices.test_for_nans(samples, "unet")
        samples = decode_latent_batch(p.sd_model, samples, target_device=devices.cpu, check_for_nans=True)
    return torch.clamp((torch.stack(samples).float() + 1.0) / 2.0, min=0.0, max=1.0)


def _process_batch(p: StableDiffusionProcessing, n: int, output: _Output) -> bool:
    """One batch from prompts to finished pictures; False if there was nothing left to draw."""
    if not _set_up_batch(p, n):
        return False
    pictures = _sample_batch(p)
    devices.torch_gc()
    state.nextjob()
    if p.scripts is not None:
        p.scripts.postprocess_batch(p, pictures, batch_number=n)
        _slice_prompts(p)
        batch_params = scripts.PostprocessBatchListArgs(list(pictures))
        p.scripts.postprocess_batch_list(p, batch_params, batch_number=n)
        pictures = batch_params.images
    for index, picture in enumerate(pictures):
        p.batch_index = index
        _finish_picture(p, index, picture, output)
    devices.torch_gc()
    return True


def _batch_infotext(p: StableDiffusionProcessing, index=0, use_main_prompt=False) -> str:
    return create_infotext(
        p,
        p.prompts,
        p.seeds,
        p.subseeds,
        use_main_prompt=use_main_prompt,
        index=index,
        all_negative_prompts=p.negative_prompts,
    )


def _save(p: StableDiffusionProcessing, image, index: int, suffix: str = "") -> None:
    images.save_image(
        image,
        p.outpath_samples,
        "",
        p.seeds[index],
        p.prompts[index],
        opts.samples_format,
        info=_batch_infotext(p, index),
        p=p,
        suffix=suffix,
    )


def _finish_picture(p: StableDiffusionProcessing, index: int, picture: torch.Tensor, output: _Output) -> None:
    """Hooks, the original around an inpainted part, infotext and saving of one picture."""
    image = tensor_to_pil(picture)
    if p.scripts is not None:
        pp = scripts.PostprocessImageArgs(image)
        p.scripts.postprocess_image(p, pp)
        image = pp.image

    mask_for_overlay = getattr(p, "mask_for_overlay", None)
    overlay = None
    if opts.overlay_inpaint and index < len(p.overlay_images or []):
        overlay = p.overlay_images[index]
    if p.scripts is not None:
        ppmo = scripts.PostProcessMaskOverlayArgs(index, mask_for_overlay, overlay)
        p.scripts.postprocess_maskoverlay(p, ppmo)
        overlay = ppmo.overlay_image

    image, _ = apply_overlay(image, p.paste_to, overlay)
    if p.scripts is not None:
        pp = scripts.PostprocessImageArgs(image)
        p.scripts.postprocess_image_after_composite(p, pp)
        image = pp.image

    if p.save_samples():
        _save(p, image, index)
    text = _batch_infotext(p, index)
    output.infotexts.append(text)
    if opts.enable_pnginfo:
        image.info["parameters"] = text
    output.images.append(image)


def _add_grid(p: StableDiffusionProcessing, output: _Output) -> None:
    """All pictures on one, first in the list, where the settings ask for it."""
    single = len(output.images) < 2 and opts.grid_only_if_multiple
    if not output.images or single or p.do_not_save_grid or not (opts.return_grid or opts.grid_save):
        return
    grid = images.image_grid(output.images, p.batch_size)
    text = _batch_infotext(p, use_main_prompt=True)
    if opts.return_grid:
        output.infotexts.insert(0, text)
        if opts.enable_pnginfo:
            grid.info["parameters"] = text
        output.images.insert(0, grid)
        output.index_of_first_image = 1
    if opts.grid_save:
        images.save_image(
            grid,
            p.outpath_grids,
            "grid",
            p.all_seeds[0],
            p.all_prompts[0],
            opts.grid_format,
            info=text,
            p=p,
            grid=True,
        )
