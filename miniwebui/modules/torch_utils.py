"""As `modules.torch_utils` of the WebUI."""

import torch


def get_param(model) -> torch.nn.Parameter:
    """The first parameter of a module, or of spandrel's description of one: tells device and dtype."""
    module = model.model if hasattr(getattr(model, "model", None), "parameters") else model
    return next(iter(module.parameters()))
