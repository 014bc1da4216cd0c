"""The loaded checkpoint, and changing it, as `modules.sd_models` of the WebUI."""

import logging
import threading

import torch

from miniwebui import k_diffusion_import

k_diffusion_import.install()  # before checkpoint_layout, which imports diffusers

from miniwebui.checkpoint_layout import CheckpointError, load_checkpoint  # noqa: F401
from modules import devices, extra_networks, script_callbacks, sd_hijack, shared
from modules.checkpoint_list import (  # noqa: F401
    CheckpointInfo,
    checkpoint_aliases,
    checkpoint_tiles,
    checkpoints_list,
    get_closet_checkpoint_match,
    list_models,
    model_dir,
    model_hash,
    model_path,
    read_metadata_from_safetensors,
    select_checkpoint,
)
from modules.latent_diffusion import LatentDiffusion, components_of

log = logging.getLogger(__name__)

ZERO_SNR_LAST_ALPHA = 4.8973451890853435e-08


class SdModelData:
    """The model in use and those kept loaded."""

    def __init__(self):
        self.sd_model: LatentDiffusion | None = None
        self.loaded_sd_models: list[LatentDiffusion] = []
        self.was_loaded_at_least_once = False
        self.lock = threading.RLock()

    def get_sd_model(self) -> LatentDiffusion | None:
        """The model; the first call loads it. Raises what `load_model` raises."""
        with self.lock:
            if self.sd_model is None and not self.was_loaded_at_least_once:
                load_model()
        return self.sd_model

    def set_sd_model(self, v: LatentDiffusion | None, already_loaded: bool = False) -> None:
        self.sd_model = v
        self.loaded_sd_models = [model for model in self.loaded_sd_models if model is not v]
        if v is not None:
            self.loaded_sd_models.insert(0, v)


model_data = SdModelData()


class SkipWritingToConfig:
    """Inside this context loading a checkpoint leaves the setting that names the checkpoint alone."""

    skip = False
    previous = False

    def __enter__(self):
        self.previous = SkipWritingToConfig.skip
        SkipWritingToConfig.skip = True
        return self

    def __exit__(self, exc_type, exc_value, exc_traceback):
        SkipWritingToConfig.skip = self.previous


def _remember_choice(info: CheckpointInfo) -> None:
    if not SkipWritingToConfig.skip:
        shared.opts.data["sd_model_checkpoint"] = info.title
        shared.opts.data["sd_checkpoint_hash"] = info.sha256


def _put_in_use(model: LatentDiffusion, info: CheckpointInfo) -> None:
    """A model has got the weights of a checkpoint: name it so, move and wrap it."""
    model.sd_model_hash = info.calculate_shorthash()
    model.sd_model_checkpoint = info.filename
    model.sd_checkpoint_info = info
    _remember_choice(info)

    model.to(devices.device)
    model.model.to(devices.dtype_unet)
    model.cond_stage_model.to(devices.dtype)
    model.first_stage_model.to(devices.dtype_vae)
    model.eval().requires_grad_(False)
    sd_hijack.model_hijack.hijack(model)

    model_data.set_sd_model(model)
    model_data.was_loaded_at_least_once = True
    sd_hijack.model_hijack.embedding_db.load_textual_inversion_embeddings(force_reload=True)
    script_callbacks.model_loaded_callback(model)
    model.cond_stage_model_empty_prompt = get_empty_cond(model)


@torch.no_grad()
def get_empty_cond(sd_model: LatentDiffusion) -> torch.Tensor:
    """The condition of the empty prompt, [1, 77, channels], without extra networks."""
    from modules import processing

    extra_networks.activate(processing.StableDiffusionProcessingTxt2Img(), {})
    with devices.autocast():
        return sd_model.get_learned_conditioning([""])


def load_model(
    checkpoint_info: CheckpointInfo | None = None, already_loaded_state_dict=None
) -> LatentDiffusion:
    """Load a checkpoint as a new model. Raises CheckpointError or FileNotFoundError, one sentence each.

    `already_loaded_state_dict` are the components of the checkpoint, where they have been read before.
    """
    info = checkpoint_info or select_checkpoint()
    components = already_loaded_state_dict or load_checkpoint(info.filename)
    model = LatentDiffusion(components)
    _put_in_use(model, info)
    log.info("Loaded checkpoint %s", info.title)
    return model


def send_model_to_cpu(m: LatentDiffusion | None) -> None:
    if m is not None:
        m.to(devices.cpu)
    devices.torch_gc()


def send_model_to_device(m: LatentDiffusion) -> None:
    m.to(devices.device)


def _same_layout(model: LatentDiffusion, components) -> bool:
    """Whether a checkpoint's weights fit the networks of a model."""

    def layout(module: torch.nn.Module) -> dict:
        return {name: value.shape for name, value in module.state_dict().items()}

    ours = components_of(model)
    names = ("unet", "vae", "text_encoder")
    return all(layout(getattr(ours, name)) == layout(getattr(components, name)) for name in names)


def _take_over_weights(model: LatentDiffusion, components) -> None:
    ours = components_of(model)
    for name in ("unet", "vae", "text_encoder"):
        getattr(ours, name).load_state_dict(getattr(components, name).state_dict())
    model.describe(components)


def _use_loaded(info: CheckpointInfo) -> LatentDiffusion | None:
    """Put a model in use that was kept loaded with this checkpoint; as in the WebUI, no callback tells of it."""
    for model in model_data.loaded_sd_models:
        if model.sd_model_checkpoint == info.filename:
            send_model_to_device(model)
            model_data.set_sd_model(model, already_loaded=True)
            _remember_choice(info)
            return model
    return None


def reload_model_weights(
    sd_model: LatentDiffusion | None = None, info: CheckpointInfo | None = None, forced_reload: bool = False
) -> LatentDiffusion:
    """Make the chosen checkpoint (or `info`) the one in use; nothing happens if it is.

    As in the WebUI, the model object stays the same and gets other weights, unless its layout differs or the
    setting `sd_checkpoints_limit` lets several models stay loaded.
    """
    info = info or select_checkpoint()
    model = sd_model or model_data.sd_model
    if model is None:
        return load_model(info)
    if model.sd_model_checkpoint == info.filename and not forced_reload:
        return model
    if not forced_reload and (loaded := _use_loaded(info)) is not None:
        return loaded

    components = load_checkpoint(info.filename)
    if len(model_data.loaded_sd_models) < shared.opts.sd_checkpoints_limit:
        return load_model(info, components)
    sd_hijack.model_hijack.undo_hijack(model)
    if not _same_layout(model, components):
        model_data.loaded_sd_models.remove(model)
        return load_model(info, components)
    _take_over_weights(model, components)
    _put_in_use(model, info)
    return model


def unload_model_weights(sd_model=None, info=None):
    send_model_to_cpu(sd_model or shared.sd_model)
    return sd_model


def rescale_zero_terminal_snr_abar(alphas_cumprod: torch.Tensor) -> torch.Tensor:
    """Shift and scale the schedule so that the last step is pure noise (Lin et al., arXiv 2305.08891)."""
    root = alphas_cumprod.sqrt()
    first, last = root[0].clone(), root[-1].clone()
    rescaled = ((root - last) * (first / (first - last))) ** 2
    rescaled[-1] = ZERO_SNR_LAST_ALPHA
    return rescaled


def apply_alpha_schedule_override(sd_model: LatentDiffusion, p=None) -> None:
    """Set the model's noise schedule by the settings; p's infotext names what differs from the default."""
    alphas = sd_model.alphas_cumprod_original.to(shared.device)
    notes = {}
    if shared.opts.use_downcasted_alpha_bar:
        notes["Downcast alphas_cumprod"] = shared.opts.use_downcasted_alpha_bar
        alphas = alphas.half()
    if shared.opts.sd_noise_schedule == "Zero Terminal SNR":
        notes["Noise Schedule"] = shared.opts.sd_noise_schedule
        alphas = rescale_zero_terminal_snr_abar(alphas)
    sd_model.alphas_cumprod = alphas
    if p is not None:
        p.extra_generation_params.update(notes)
