"""img2img and inpainting: what a picture becomes before and after the sampling."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from modules import devices, errors, images, masking, scripts, sd_samplers, shared
from modules.processing_base import StableDiffusionProcessing, opt_f
from modules.processing_pictures import blur_mask, create_binary_mask, create_random_tensors
from modules.sd_hijack import model_hijack
from modules.sd_samplers_common import images_tensor_to_samples
from modules.shared import opts

RESIZE_LATENT = 3
FILL, ORIGINAL, LATENT_NOISE, LATENT_NOTHING = range(4)
BLANK_MASK = "The mask covers nothing, so the whole picture is drawn."


@dataclass(repr=False)
class StableDiffusionProcessingImg2Img(StableDiffusionProcessing):
    """resize_mode: 0 stretch, 1 crop, 2 fit, 3 stretch the latent. inpainting_fill: what is put under the
    mask first: 0 blurred surroundings, 1 the picture, 2 noise, 3 nothing. In masks, white is redrawn.
    """

    init_images: list = None
    resize_mode: int = 0
    denoising_strength: float = 0.75
    image_cfg_scale: float = None
    mask: Any = None
    mask_blur_x: int = 4
    mask_blur_y: int = 4
    mask_blur: int = None
    mask_round: bool = True
    inpainting_fill: int = 0
    inpaint_full_res: bool = True
    inpaint_full_res_padding: int = 0
    inpainting_mask_invert: int = 0
    initial_noise_multiplier: float = None
    latent_mask: Image = None
    force_task_id: str = None

    image_mask: Any = field(default=None, init=False)

    nmask: torch.Tensor = field(default=None, init=False)
    image_conditioning: torch.Tensor = field(default=None, init=False)
    mask_for_overlay: Image = field(default=None, init=False)
    init_latent: torch.Tensor = field(default=None, init=False)

    def __post_init__(self):
        super().__post_init__()
        # from here on `mask` is the latent mask, as the denoiser reads it
        self.image_mask, self.mask = self.mask, None
        if self.initial_noise_multiplier is None:
            self.initial_noise_multiplier = opts.initial_noise_multiplier

    @property
    def mask_blur(self):
        return self.mask_blur_x if self.mask_blur_x == self.mask_blur_y else None

    @mask_blur.setter
    def mask_blur(self, value):
        if isinstance(value, int):
            self.mask_blur_x = self.mask_blur_y = value

    def init(self, all_prompts, all_seeds, all_subseeds):
        self.extra_generation_params["Denoising strength"] = self.denoising_strength
        if self.sd_model.cond_stage_key != "edit":
            self.image_cfg_scale = None
        self.sampler = sd_samplers.create_sampler(self.sampler_name, self.sd_model)

        image_mask, crop_region = None, None
        if self.image_mask is not None:
            image_mask, crop_region = self._prepare_mask()
            self.overlay_images = []
        latent_mask = self.latent_mask if self.latent_mask is not None else image_mask

        prepared = [
            self._prepare_image(image, image_mask, latent_mask, crop_region) for image in self.init_images
        ]
        image = self._batch(prepared).to(shared.device, dtype=devices.dtype_vae)
        self.init_latent = images_tensor_to_samples(image, None, self.sd_model)
        devices.torch_gc()
        if self.resize_mode == RESIZE_LATENT:
            size = self.height // opt_f, self.width // opt_f
            self.init_latent = torch.nn.functional.interpolate(self.init_latent, size=size, mode="bilinear")
        if image_mask is not None:
            self._mask_latent(latent_mask, all_seeds)
        self.image_conditioning = self.img2img_image_conditioning(
            image * 2 - 1, self.init_latent, image_mask, self.mask_round
        )

    def _prepare_mask(self):
        """-> (the mask in the drawn size, the region that is drawn or None for the whole picture)."""
        mask = create_binary_mask(self.image_mask, round=self.mask_round)
        notes = self.extra_generation_params
        if self.inpainting_mask_invert:
            mask = ImageOps.invert(mask)
            notes["Mask mode"] = "Inpaint not masked"
        mask = blur_mask(mask, self.mask_blur_x, self.mask_blur_y)
        if self.mask_blur_x > 0 or self.mask_blur_y > 0:
            notes["Mask blur"] = self.mask_blur
        if self.inpaint_full_res:
            return self._crop_to_mask(mask)

        mask = images.resize_image(self.resize_mode, mask, self.width, self.height)
        # the overlay is cut away wherever the mask is half grey or more
        doubled = np.clip(np.array(mask).astype(np.float32) * 2, 0, 255).astype(np.uint8)
        self.mask_for_overlay = Image.fromarray(doubled)
        return mask, None

    def _crop_to_mask(self, mask: Image.Image):
        """Inpaint "only masked": the region around the mask is drawn in full size."""
        region = masking.get_crop_region_v2(mask.convert("L"), self.inpaint_full_res_padding)
        if region is None:
            self.mask_for_overlay = None
            self.inpaint_full_res = False
            model_hijack.comments.append(BLANK_MASK)
            errors.report(BLANK_MASK)
            return None, None

        self.mask_for_overlay = mask
        region = masking.expand_crop_region(region, self.width, self.height, mask.width, mask.height)
        left, top, right, bottom = region
        self.paste_to = (left, top, right - left, bottom - top)
        self.extra_generation_params["Inpaint area"] = "Only masked"
        self.extra_generation_params["Masked area padding"] = self.inpaint_full_res_padding
        return images.resize_image(2, mask.convert("L").crop(region), self.width, self.height), region

    def _prepare_image(self, img: Image.Image, image_mask, latent_mask, crop_region) -> np.ndarray:
        """One init image -> [3, H, W] float32 in [0, 1]; collects its overlay."""
        image = images.flatten(img, opts.img2img_background_color)
        if crop_region is None and self.resize_mode != RESIZE_LATENT:
            image = images.resize_image(self.resize_mode, image, self.width, self.height)
        if image_mask is not None:
            self._collect_overlay(image)
        if crop_region is not None:
            image = images.resize_image(2, image.crop(crop_region), self.width, self.height)
        if image_mask is not None and self.inpainting_fill != ORIGINAL:
            image = masking.fill(image, latent_mask)
            if self.inpainting_fill == FILL:
                self.extra_generation_params["Masked content"] = "fill"
        return np.moveaxis(np.array(image).astype(np.float32) / 255.0, 2, 0)

    def _collect_overlay(self, image: Image.Image) -> None:
        """Keep the picture with the masked part transparent, to be laid over the result."""
        if self.mask_for_overlay.size != image.size:
            self.mask_for_overlay = images.resize_image(self.resize_mode, self.mask_for_overlay, *image.size)
        overlay = Image.new("RGBa", image.size)
        overlay.paste(
            image.convert("RGBA").convert("RGBa"), mask=ImageOps.invert(self.mask_for_overlay.convert("L"))
        )
        self.overlay_images.append(overlay.convert("RGBA"))

    def _batch(self, prepared: list[np.ndarray]) -> torch.Tensor:
        """Init images [B, 3, H, W]: one for all, or one each. Raises RuntimeError for too many."""
        if len(prepared) == 1:
            if self.overlay_images is not None:
                self.overlay_images = self.overlay_images * self.batch_size
            return torch.from_numpy(np.stack(prepared * self.batch_size))
        if len(prepared) > self.batch_size:
            raise RuntimeError(f"Got {len(prepared)} init images for a batch of {self.batch_size}.")
        self.batch_size = len(prepared)
        return torch.from_numpy(np.stack(prepared))

    def _mask_latent(self, latent_mask: Image.Image, all_seeds) -> None:
        """Set `mask` (kept) and `nmask` (redrawn), [C, h, w]; put noise or nothing under the mask."""
        channels, height, width = self.init_latent.shape[1:]
        grey = np.array(latent_mask.convert("RGB").resize((width, height)), dtype=np.float32)[..., 0] / 255
        if self.mask_round:
            grey = np.around(grey)
        redrawn = torch.from_numpy(np.tile(grey, (channels, 1, 1)))
        self.mask = (1.0 - redrawn).to(shared.device).type(devices.dtype)
        self.nmask = redrawn.to(shared.device).type(devices.dtype)

        if self.inpainting_fill == LATENT_NOISE:
            noise = create_random_tensors(self.init_latent.shape[1:], all_seeds[: self.init_latent.shape[0]])
            self.init_latent = self.init_latent * self.mask + noise * self.nmask
            self.extra_generation_params["Masked content"] = "latent noise"
        elif self.inpainting_fill == LATENT_NOTHING:
            self.init_latent = self.init_latent * self.mask
            self.extra_generation_params["Masked content"] = "latent nothing"

    def sample(self, conditioning, unconditional_conditioning, seeds, subseeds, subseed_strength, prompts):
        noise, strength = self.rng.next(), self.initial_noise_multiplier
        if strength != 1.0:
            noise *= strength
            self.extra_generation_params["Noise multiplier"] = strength
        conds = {"c": conditioning, "uc": unconditional_conditioning}
        if self.scripts is not None:
            self.scripts.process_before_every_sampling(p=self, x=self.init_latent, noise=noise, **conds)
        drawn = self.sampler.sample_img2img(
            self, self.init_latent, noise, *conds.values(), image_conditioning=self.image_conditioning
        )
        if self.mask is not None:
            drawn = self._blended(drawn)
        devices.torch_gc()
        return drawn

    def _blended(self, drawn: torch.Tensor) -> torch.Tensor:
        """The drawn latents where the mask lets them through, else the init image's; scripts may change it."""
        blend = scripts.MaskBlendArgs(
            current_latent=drawn,
            nmask=self.nmask,
            init_latent=self.init_latent,
            mask=self.mask,
            blended_latent=drawn * self.nmask + self.init_latent * self.mask,
        )
        if self.scripts is not None:
            self.scripts.on_mask_blend(self, blend)
        return blend.blended_latent
