import torch.nn.functional as F


def common_upscale(samples, width, height, upscale_method, crop):
    return F.interpolate(samples, (height, width), mode=upscale_method)
