"""The image condition (`c_concat`): real for inpainting checkpoints, a 1×1 placeholder for others."""

import numpy as np
import torch

from modules import shared
from modules.sd_samplers_common import images_tensor_to_samples
from modules.shared import opts

INPAINTING_KEYS = {"hybrid", "concat"}


def _placeholder(latent: torch.Tensor) -> torch.Tensor:
    return latent.new_zeros(latent.shape[0], 5, 1, 1)


def txt2img_image_conditioning(sd_model, x, width, height) -> torch.Tensor:
    """For noise x [B, C, h, w] of a picture width×height: [B, 5, h, w], everything masked and grey."""
    if sd_model.model.conditioning_key not in INPAINTING_KEYS:
        return _placeholder(x)
    grey = torch.full((x.shape[0], 3, height, width), 0.5, device=x.device)
    encoded = images_tensor_to_samples(grey)
    return torch.cat([torch.ones_like(encoded[:, :1]), encoded], dim=1).to(x.dtype)


def _mask_tensor(image_mask, source_image: torch.Tensor, round_image_mask: bool) -> torch.Tensor:
    """A mask (image, tensor or None for everything) -> [1, 1, H, W], 1 where it is redrawn."""
    if image_mask is None:
        return source_image.new_ones(1, 1, *source_image.shape[-2:])
    if torch.is_tensor(image_mask):
        return image_mask.to(source_image)
    grey = np.array(image_mask.convert("L")).astype(np.float32) / 255.0
    mask = torch.from_numpy(grey[None, None])
    return (torch.round(mask) if round_image_mask else mask).to(source_image)


def inpainting_image_conditioning(
    sd_model, source_image, latent_image, image_mask, round_image_mask: bool, mask_weight: float
) -> torch.Tensor:
    """Mask and masked picture for an inpainting checkpoint, [B, 5, h, w]; source_image in [−1, 1]."""
    mask = _mask_tensor(image_mask, source_image, round_image_mask)
    masked = torch.lerp(source_image, source_image * (1.0 - mask), mask_weight)
    encoded = sd_model.get_first_stage_encoding(sd_model.encode_first_stage(masked))
    mask = torch.nn.functional.interpolate(mask, size=latent_image.shape[-2:])
    conditioning = torch.cat([mask.expand(encoded.shape[0], -1, -1, -1), encoded], dim=1)
    return conditioning.to(shared.device).type(sd_model.dtype)


def img2img_image_conditioning(p, source_image, latent_image, image_mask, round_image_mask) -> torch.Tensor:
    if p.sd_model.cond_stage_key == "edit":  # InstructPix2Pix sees the picture itself
        return p.sd_model.encode_first_stage(source_image).mode().to(shared.device)
    if p.sampler.conditioning_key not in INPAINTING_KEYS:
        return _placeholder(latent_image)
    p.is_using_inpainting_conditioning = True
    weight = getattr(p, "inpainting_mask_weight", opts.inpainting_mask_weight)
    return inpainting_image_conditioning(
        p.sd_model, source_image, latent_image, image_mask, round_image_mask, weight
    )
