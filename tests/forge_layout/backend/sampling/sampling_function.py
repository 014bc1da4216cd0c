"""One step: from the denoiser's texts to x0, by calls of the model that hold as many rows as there is memory for."""

import math
from dataclasses import dataclass

import torch

from backend import memory_management
from backend.sampling.condition import Condition, compile_conditions, compile_weighted_conditions

COND, UNCOND = 0, 1


@dataclass
class _Chunk:
    mark: int
    strength: float
    told: dict
    control: object

    def goes_with(self, other):
        return (
            self.control is other.control
            and self.told.keys() == other.told.keys()
            and all(part.can_concat(other.told[name]) for name, part in self.told.items())
        )


def _chunks(entries, mark, x):
    for entry in entries or ():
        told = {
            name: part.process_cond(batch_size=len(x), device=x.device, area=(*x.shape[2:], 0, 0))
            for name, part in entry["model_conds"].items()
        }
        yield _Chunk(mark, entry.get("strength", 1.0), told, entry.get("control"))


def calc_cond_uncond_batch(model, cond, uncond, x_in, timestep, model_options):
    waiting = [*_chunks(cond, COND, x_in), *_chunks(uncond, UNCOND, x_in)]
    sums = {COND: torch.zeros_like(x_in), UNCOND: torch.zeros_like(x_in)}
    weights = {COND: 1e-37, UNCOND: 1e-37}
    while waiting:
        fitting = [i for i, chunk in enumerate(waiting) if chunk.goes_with(waiting[0])][::-1]  # from the back
        taken = fitting[:1]
        for parts in range(1, len(fitting) + 1):
            some = fitting[: len(fitting) // parts]
            if (
                model.memory_required([len(some) * len(x_in), *x_in.shape[1:]])
                < memory_management.get_free_memory()
            ):
                taken = some
                break
        chunks = [waiting.pop(i) for i in taken]
        output = _asked(model, chunks, x_in, timestep, model_options).chunk(len(chunks))
        for chunk, said in zip(chunks, output):
            sums[chunk.mark] += said * chunk.strength
            weights[chunk.mark] += chunk.strength
    return sums[COND] / weights[COND], sums[UNCOND] / weights[UNCOND]


def _asked(model, chunks, x_in, timestep, model_options):
    marks, size = [chunk.mark for chunk in chunks], len(x_in)
    x, t = torch.cat([x_in] * len(chunks)), torch.cat([timestep] * len(chunks))
    first, *others = (chunk.told for chunk in chunks)
    c = {name: part.concat([other[name] for other in others]) for name, part in first.items()}
    of = [mark for mark in marks for _ in range(size)]
    options = {
        **model_options.get("transformer_options", {}),
        "cond_or_uncond": list(marks),
        "sigmas": timestep,
        "cond_mark": torch.tensor(of).to(timestep),
        "cond_indices": [i for i, mark in enumerate(of) if mark == COND],
        "uncond_indices": [i for i, mark in enumerate(of) if mark == UNCOND],
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
    cond_pred, uncond_pred = calc_cond_uncond_batch(model, cond, asked, x, timestep, model_options)
    strength = sum(entry.get("strength", 1.0) for entry in cond)
    scale = cond_scale if math.isclose(strength, 1.0) else cond_scale * strength
    out = uncond_pred + (cond_pred - uncond_pred) * scale
    for function in model_options.get("sampler_post_cfg_function", []):
        told = {
            "model": model,
            "cond": cond,
            "uncond": uncond,
            "input": x,
            "sigma": timestep,
            "denoised": out,
        }
        out = function({**told, "cond_denoised": cond_pred, "model_options": model_options})
    return out


def sampling_function(self, denoiser_params, cond_scale, cond_composition):
    unet = self.inner_model.inner_model.forge_objects.unet
    model, options, x = unet.model, unet.model_options, denoiser_params.x
    uncond = compile_conditions(denoiser_params.text_uncond)
    cond = compile_weighted_conditions(denoiser_params.text_cond, cond_composition)
    image = denoiser_params.image_cond
    for entry in [*cond, *(uncond or ())]:
        if image is not None and image.shape[2:] == x.shape[2:]:
            entry["model_conds"]["c_concat"] = Condition(image)
        if unet.controlnet_linked_list is not None:
            entry["control"] = unet.controlnet_linked_list
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
