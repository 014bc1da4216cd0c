"""The loaded checkpoint with the face that extensions know: LDM's `LatentDiffusion` over diffusers models.

Attribute names and call signatures are those of CompVis/latent-diffusion as the WebUI uses them:
`model.diffusion_model`, `first_stage_model`, `cond_stage_model`, `apply_model`, `decode_first_stage` …
"""

import contextlib
from types import SimpleNamespace

import torch

from miniwebui.clip_tokenizer import clip_tokenizer
from modules import devices

SCALE_FACTOR = 0.18215
TIMESTEPS = 1000
BETA_START, BETA_END = 0.00085, 0.012
POSTERIOR_SEED = 0


def stable_diffusion_alphas_cumprod() -> torch.Tensor:
    """SD's noise schedule: betas linear in their square root, [1000] float32."""
    betas = torch.linspace(BETA_START**0.5, BETA_END**0.5, TIMESTEPS, dtype=torch.float64) ** 2
    return torch.cumprod(1.0 - betas, dim=0).float()


class UNetModel(torch.nn.Module):
    """diffusers' UNet2DConditionModel, called as LDM's UNetModel."""

    def __init__(self, unet: torch.nn.Module):
        super().__init__()
        self.unet = unet

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    @property
    def in_channels(self) -> int:
        return self.unet.config.in_channels

    def forward(self, x, timesteps=None, context=None, y=None, **kwargs):
        """x [B, C, h, w], timesteps [B] (fractions allowed), context [B, tokens, channels] -> [B, 4, h, w]."""
        return self.unet(x, timesteps, encoder_hidden_states=context, return_dict=False)[0]


class DiffusionWrapper(torch.nn.Module):
    """Feeds a condition dict to the UNet; one for inpainting (9 channels) or InstructPix2Pix (8) gets `c_concat` with
    its input."""

    def __init__(self, diffusion_model: UNetModel):
        super().__init__()
        self.diffusion_model = diffusion_model
        self.conditioning_key = "hybrid" if diffusion_model.in_channels in (8, 9) else "crossattn"

    def forward(self, x, t, c_concat=None, c_crossattn=None):
        if self.conditioning_key == "hybrid":
            x = torch.cat([x, *c_concat], dim=1)
        return self.diffusion_model(x, t, context=torch.cat(c_crossattn, dim=1))


class DiagonalGaussianDistribution:
    """What the VAE's encoder says about a latent; `parameters` is [B, 2·C, h, w]: mean and log variance."""

    def __init__(self, parameters: torch.Tensor):
        self.parameters = parameters
        self.mean, logvar = parameters.chunk(2, dim=1)
        self.logvar = logvar.clamp(-30.0, 20.0)
        self.std = torch.exp(0.5 * self.logvar)
        self.var = self.std**2

    def sample(self) -> torch.Tensor:
        """mean + std · noise. The noise is always the same, so that a seed gives one picture only.

        The WebUI draws it from whatever state the global generator is in.
        """
        generator = torch.Generator().manual_seed(POSTERIOR_SEED)
        return self.mean + self.std * torch.randn(self.mean.shape, generator=generator).to(self.mean)

    def mode(self) -> torch.Tensor:
        return self.mean


class AutoencoderKL(torch.nn.Module):
    """diffusers' AutoencoderKL, called as LDM's. `encoder` and `decoder` keep the diffusers layout."""

    def __init__(self, vae: torch.nn.Module):
        super().__init__()
        self.encoder, self.decoder = vae.encoder, vae.decoder
        self.quant_conv = torch.nn.Identity() if vae.quant_conv is None else vae.quant_conv
        self.post_quant_conv = torch.nn.Identity() if vae.post_quant_conv is None else vae.post_quant_conv

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def encode(self, x: torch.Tensor) -> DiagonalGaussianDistribution:
        """Pictures [B, 3, H, W] in [−1, 1] -> latents [B, 4, H/8, W/8], unscaled."""
        return DiagonalGaussianDistribution(self.quant_conv(self.encoder(x)))

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Unscaled latents -> pictures."""
        return self.decoder(self.post_quant_conv(z))


class LatentDiffusion(torch.nn.Module):
    """A Stable Diffusion 1.x checkpoint. Built from the parts that `checkpoint_layout` reads from a file."""

    num_timesteps = TIMESTEPS
    latent_channels = 4
    lowvram = False
    is_sd1 = True
    is_sd2 = is_sd3 = is_sdxl = is_ssd = is_sdxl_inpaint = False

    def __init__(self, components):
        super().__init__()
        self.model = DiffusionWrapper(UNetModel(components.unet))
        self.first_stage_model = AutoencoderKL(components.vae)
        self.cond_stage_model = FrozenCLIPEmbedder(clip_tokenizer(), components.text_encoder)
        self.scale_factor = SCALE_FACTOR
        self.alphas_cumprod_original = stable_diffusion_alphas_cumprod()
        self.register_buffer("alphas_cumprod", self.alphas_cumprod_original, persistent=False)
        self.describe(components)

        self.sd_checkpoint_info = None
        self.sd_model_checkpoint: str | None = None
        self.sd_model_hash: str | None = None
        self.cond_stage_model_empty_prompt: torch.Tensor | None = None

    def describe(self, components) -> None:
        """Take over what a checkpoint says about itself: its prediction type, its metadata, the side of its latents."""
        self.parameterization = "v" if components.prediction_type.startswith("v") else "eps"
        self.metadata = components.metadata or {}
        self.image_size = int(self.metadata.get("modelspec.resolution", "512x512").split("x")[0]) // 8

    @property
    def cond_stage_key(self) -> str:
        return "edit" if self.model.diffusion_model.in_channels == 8 else "txt"

    @property
    def device(self) -> torch.device:
        return self.alphas_cumprod.device

    @property
    def dtype(self) -> torch.dtype:
        return self.model.diffusion_model.dtype

    @contextlib.contextmanager
    def ema_scope(self, context=None):
        yield

    def get_learned_conditioning(self, c) -> torch.Tensor:
        """Texts -> [B, tokens, channels]."""
        return self.cond_stage_model(c)

    def apply_model(self, x_noisy, t, cond, return_ids=False):
        """The UNet's raw output (eps or v). Casts inputs, and `cond` in place, as WebUI 1.10 does."""
        for key, value in cond.items():
            if isinstance(value, list):
                cond[key] = [item.to(devices.dtype_unet) for item in value]
            else:
                cond[key] = value.to(devices.dtype_unet)
        with devices.autocast():
            return self.model(x_noisy.to(devices.dtype_unet), t.to(devices.dtype_unet), **cond)

    def encode_first_stage(self, x: torch.Tensor) -> DiagonalGaussianDistribution:
        return self.first_stage_model.encode(x)

    def get_first_stage_encoding(self, encoder_posterior: DiagonalGaussianDistribution) -> torch.Tensor:
        return self.scale_factor * encoder_posterior.sample()

    def decode_first_stage(self, z: torch.Tensor) -> torch.Tensor:
        """Latents [B, 4, h, w] -> pictures [B, 3, 8h, 8w] in [−1, 1]."""
        return self.first_stage_model.decode(1.0 / self.scale_factor * z)


class FrozenCLIPEmbedder(torch.nn.Module):
    """Tokenizer and text encoder, before the hijack wraps them."""

    def __init__(self, tokenizer, transformer: torch.nn.Module):
        super().__init__()
        self.tokenizer = tokenizer
        self.transformer = transformer


def components_of(model: LatentDiffusion) -> SimpleNamespace:
    """The networks of a model, to be given other weights."""
    text_encoder = getattr(model.cond_stage_model, "wrapped", model.cond_stage_model).transformer
    return SimpleNamespace(
        unet=model.model.diffusion_model.unet, vae=model.first_stage_model, text_encoder=text_encoder
    )
