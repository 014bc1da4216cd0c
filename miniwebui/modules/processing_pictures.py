"""Pictures around the sampling: latents decoded, masks made binary, inpainted parts laid over the original."""

import torch
from PIL import Image

from modules import devices, errors, images, masking, rng, shared
from modules.sd_samplers_common import decode_first_stage


class DecodedSamples(list):
    """Pictures [3, H, W] in [−1, 1] that need no VAE any more."""

    already_decoded = True


def create_random_tensors(
    shape, seeds, subseeds=None, subseed_strength=0.0, seed_resize_from_h=0, seed_resize_from_w=0, p=None
) -> torch.Tensor:
    """The initial noise of these seeds, [batch, *shape]."""
    return rng.ImageRNG(
        shape,
        seeds,
        subseeds=subseeds,
        subseed_strength=subseed_strength,
        seed_resize_from_h=seed_resize_from_h,
        seed_resize_from_w=seed_resize_from_w,
    ).next()


def decode_latent_batch(model, batch, target_device=None, check_for_nans=False) -> DecodedSamples:
    """Latents [B, 4, h, w] decoded one by one.

    A picture that is not a number is decoded again in float32 if the settings allow it. Raises NansException.
    """
    if check_for_nans:
        devices.test_for_nans(batch, "unet")
    samples = DecodedSamples()
    for index in range(batch.shape[0]):
        sample = decode_first_stage(model, batch[index : index + 1])[0]
        if check_for_nans:
            sample = _decoded_without_nans(model, batch[index : index + 1], sample)
        samples.append(sample if target_device is None else sample.to(target_device))
    return samples


def _decoded_without_nans(model, latent, sample) -> torch.Tensor:
    try:
        devices.test_for_nans(sample, "vae")
    except devices.NansException:
        if not shared.opts.auto_vae_precision or devices.dtype_vae == torch.float32:
            raise
        errors.report(
            "The VAE gave not-a-number (NaN) in half precision: this picture is decoded again in float32, as all "
            "others are from now on. With --no-half-vae it starts so."
        )
        devices.dtype_vae = torch.float32
        model.first_stage_model.to(devices.dtype_vae)
        return decode_first_stage(model, latent)[0]
    return sample


def create_binary_mask(image: Image.Image, round=True) -> Image.Image:
    """The mask of an image, mode L: its alpha if something is transparent, else its grey values."""
    if image.mode == "RGBA" and image.getextrema()[-1] != (255, 255):
        alpha = image.getchannel("A")
        return alpha.point(lambda value: 255 if value > 128 else 0) if round else alpha
    return image.convert("L")


def blur_mask(mask: Image.Image, blur_x: int, blur_y: int) -> Image.Image:
    return masking.gaussian_blur(mask, blur_x, blur_y) if blur_x > 0 or blur_y > 0 else mask


def uncrop(image: Image.Image, dest_size, paste_loc) -> Image.Image:
    """A picture of a part, put where it belongs (x, y, w, h) on a transparent one of the whole size."""
    x, y, w, h = paste_loc
    base_image = Image.new("RGBA", dest_size)
    base_image.paste(images.resize_image(1, image, w, h), (x, y))
    return base_image


def apply_overlay(image: Image.Image, paste_loc, overlay: Image.Image | None):
    """(the picture with the original's unmasked part over it, the picture without)."""
    if overlay is None:
        return image, image.copy()
    if paste_loc is not None:
        image = uncrop(image, overlay.size, paste_loc)
    without = image.copy()
    image = image.convert("RGBA")
    image.alpha_composite(overlay)
    return image.convert("RGB"), without
