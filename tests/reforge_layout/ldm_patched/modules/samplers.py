"""Calls of the model that hold as many rows as there is memory for."""

import math

import torch

from ldm_patched.modules import model_management
from tests.forge_common import answers, guided


def calc_cond_batch(model, conds, x_in, timestep, model_options):
    """What the model says about each list of entries."""

    def fits(chunks):
        shape = [len(chunks) * len(x_in), *x_in.shape[1:]]
        names = chunks[0].told
        shapes = {name: [chunk.told[name].size() for chunk in chunks] for name in names}
        return model.memory_required(shape, cond_shapes=shapes) * 1.5 < model_management.get_free_memory()

    def ask(chunks, x, told):
        return _asked(model, chunks, x, told, timestep, model_options)

    return answers(conds, x_in, None, fits, ask)


def calc_cond_uncond_batch(model, cond, uncond, x_in, timestep, model_options):
    return tuple(calc_cond_batch(model, [cond, uncond], x_in, timestep, model_options))


def _asked(model, chunks, x, c, timestep, model_options):
    indices = [chunk.mark for chunk in chunks]
    t = torch.cat([timestep] * len(chunks))
    options = {
        **model_options.get("transformer_options", {}),
        "cond_or_uncond": list(indices),
        "uuids": [f"of {index}" for index in indices],
        "sigmas": timestep,
    }
    c["transformer_options"] = options
    if (control := chunks[-1].control) is not None:
        c["control"] = control.get_control(x, t, c, len(indices), options)
    if (wrapper := model_options.get("model_function_wrapper")) is not None:
        return wrapper(model.apply_model, {"input": x, "timestep": t, "c": c, "cond_or_uncond": indices})
    return model.apply_model(x, t, **c)


def sampling_function(model, x, timestep, uncond, cond, cond_scale, model_options={}, seed=None):  # noqa: B006
    asked = None if math.isclose(cond_scale, 1.0) else uncond
    said = calc_cond_batch(model, [cond, asked], x, timestep, model_options)
    return guided(model, x, timestep, asked, cond, cond_scale, model_options, said)
