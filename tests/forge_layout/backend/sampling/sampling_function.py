"""One step: from the denoiser's texts to x0, by calls of the model that hold as many rows as there is memory for."""

import math

import torch

from backend import memory_management
from backend.sampling.condition import compile_conditions, compile_weighted_conditions
from tests.forge_common import answers, guided, put_beside


def calc_cond_uncond_batch(model, cond, uncond, x_in, timestep, model_options):
    def fits(chunks):
        shape = [len(chunks) * len(x_in), *x_in.shape[1:]]
        return model.memory_required(shape) < memory_management.get_free_memory()

    def ask(chunks, x, told):
        return _asked(model, chunks, x, told, timestep, model_options)

    return answers([cond, uncond], x_in, (*x_in.shape[2:], 0, 0), fits, ask)


def _asked(model, chunks, x, c, timestep, model_options):
    marks, size = [chunk.mark for chunk in chunks], len(timestep)
    t = torch.cat([timestep] * len(chunks))
    of = [mark for mark in marks for _ in range(size)]
    options = {
        **model_options.get("transformer_options", {}),
        "cond_or_uncond": list(marks),
        "sigmas": timestep,
        "cond_mark": torch.tensor(of).to(timestep),
        "cond_indices": [i for i, mark in enumerate(of) if not mark],
        "uncond_indices": [i for i, mark in enumerate(of) if mark],
    }
    c["transformer_options"] = options
    if (control := chunks[-1].control) is not None:
        net = control
        while net is not None:
            net.transformer_options = options
            net = net.previous_controlnet
        c["control"] = control.get_control(x, t, dict(c), len(marks))
        c["control_model"] = control
    if (wrapper := model_options.get("model_function_wrapper")) is not None:
        return wrapper(model.apply_model, {"input": x, "timestep": t, "c": c, "cond_or_uncond": marks})
    return model.apply_model(x, t, **c)


def sampling_function_inner(model, x, timestep, uncond, cond, cond_scale, model_options):
    asked = None if math.isclose(cond_scale, 1.0) else uncond
    said = calc_cond_uncond_batch(model, cond, asked, x, timestep, model_options)
    return guided(model, x, timestep, uncond, cond, cond_scale, model_options, said)


def sampling_function(self, denoiser_params, cond_scale, cond_composition):
    unet = self.inner_model.inner_model.forge_objects.unet
    model, options, x = unet.model, unet.model_options, denoiser_params.x
    uncond = compile_conditions(denoiser_params.text_uncond)
    cond = compile_weighted_conditions(denoiser_params.text_cond, cond_composition)
    put_beside([*cond, *(uncond or ())], unet, denoiser_params.image_cond, x)
    told = (model, x, denoiser_params.sigma, uncond, cond, cond_scale, options, self.p.seeds[0])
    for modifier in options.get("conditioning_modifiers", []):
        told = modifier(*told)
    model, x, sigma, uncond, cond, cond_scale, options, _seed = told
    return sampling_function_inner(model, x, sigma, uncond, cond, cond_scale, options)


def sampling_prepare(unet, x):
    size, *rest = x.shape
    estimate = unet.model_options.get("memory_peak_estimation_modifier", unet.memory_required)
    memory_management.load_models_gpu([unet], memory_required=estimate([size * 2, *rest]))
    net = unet.controlnet_linked_list
    if net is not None:
        net.pre_run(unet.model, lambda percent: percent)


def sampling_cleanup(unet):
    net = unet.controlnet_linked_list
    if net is not None:
        net.cleanup()
