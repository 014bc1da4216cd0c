"""One step, from the denoiser's texts to x0."""

from ldm_patched.modules import model_management
from ldm_patched.modules.samplers import sampling_function
from tests.forge_common import entries, put_beside, weighted_entries


def cond_from_a1111_to_patched_ldm(cond):
    return entries(cond)


def cond_from_a1111_to_patched_ldm_weighted(cond, weights):
    return weighted_entries(cond, weights)


def forge_sample(self, denoiser_params, cond_scale, cond_composition):
    """The host's denoiser does the same in its `forward`. The unconds come along at CFG 1 too."""
    unet = self.inner_model.inner_model.forge_objects.unet
    model, options, x = unet.model, unet.model_options, denoiser_params.x
    uncond = cond_from_a1111_to_patched_ldm(denoiser_params.text_uncond)
    cond = cond_from_a1111_to_patched_ldm_weighted(denoiser_params.text_cond, cond_composition)
    put_beside([*cond, *uncond], unet, denoiser_params.image_cond, x)
    told = (model, x, denoiser_params.sigma, uncond, cond, cond_scale, options, self.p.seeds[0])
    for modifier in options.get("conditioning_modifiers", []):
        told = modifier(*told)
    model, x, sigma, uncond, cond, cond_scale, options, seed = told
    return sampling_function(model, x, sigma, uncond, cond, cond_scale, options, seed)


def sampling_prepare(unet, x):
    size, *rest = x.shape
    estimate = unet.model_options.get("memory_peak_estimation_modifier", unet.memory_required)
    model_management.load_models_gpu([unet], memory_required=estimate([size * 2, *rest]))
    for net in unet.list_controlnets():
        net.pre_run(unet.model, lambda percent: percent)


def sampling_cleanup(unet):
    for net in unet.list_controlnets():
        net.cleanup()
