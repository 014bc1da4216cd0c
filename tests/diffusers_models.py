"""Pipelines of `diffusers` with tiny random networks, and pointwise ones: tiled and untiled, those are the same."""

import functools
import json
import tempfile
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DDIMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def made(kind, seed, **config):
    """A network with random weights that are the same every time."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return kind(**config).eval()


@functools.cache
def tokenizer():
    letters = [chr(c) for c in (*range(33, 127), *range(161, 173), *range(174, 256))]
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    with tempfile.TemporaryDirectory() as folder:
        vocabulary, merges = Path(folder, "vocab.json"), Path(folder, "merges.txt")
        vocabulary.write_text(json.dumps({word: i for i, word in enumerate(words)}))
        merges.write_text("#version: 0.2\n")
        return CLIPTokenizer(vocab=str(vocabulary), merges=str(merges), model_max_length=77)


def text_encoder(kind=CLIPTextModel, seed=1):
    config = CLIPTextConfig(
        vocab_size=600,
        hidden_size=32,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=77,
        projection_dim=32,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
    )
    return made(kind, seed, config=config)


def vae(**config):
    return made(
        AutoencoderKL,
        2,
        **{
            "block_out_channels": (8,) * 4,
            "down_block_types": ("DownEncoderBlock2D",) * 4,
            "up_block_types": ("UpDecoderBlock2D",) * 4,
            "norm_num_groups": 4,
            "layers_per_block": 1,
            **config,
        },
    )


UNET = {
    "block_out_channels": (32, 64),
    "layers_per_block": 1,
    "sample_size": 32,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "cross_attention_dim": 32,
    "attention_head_dim": 4,
}
XL = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "transformer_layers_per_block": (1, 1),
    "projection_class_embeddings_input_dim": 8 * 6 + 32,
    "cross_attention_dim": 64,
    "use_linear_projection": True,
}
DIFFUSION = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
FLUX_SCHEDULE = {
    "base_image_seq_len": 256,
    "base_shift": 0.5,
    "max_image_seq_len": 4096,
    "max_shift": 1.15,
    "shift": 3.0,
    "use_dynamic_shifting": True,
}


def unet(kind=UNet2DConditionModel, **config):
    return made(kind, 3, **{**UNET, **config})


def controlnet(kind=ControlNetModel, seed=4, **config):
    config = {**UNET, "conditioning_embedding_out_channels": (16, 32, 32, 32), **config}
    config = {key: value for key, value in config.items() if key not in ("up_block_types", "sample_size")}
    net = made(kind, seed, **config)
    for block in (
        *net.controlnet_down_blocks,
        net.controlnet_mid_block,
        net.controlnet_cond_embedding.conv_out,
    ):
        nn.init.normal_(
            block.weight, std=0.1, generator=torch.Generator().manual_seed(seed)
        )  # zeros at first
    return net


def quiet(pipe):
    pipe.set_progress_bar_config(disable=True)
    return pipe


def sd(pipe=StableDiffusionPipeline, net=None, **parts):
    parts = {
        "unet": net or unet(),
        "vae": vae(),
        "text_encoder": text_encoder(),
        "tokenizer": tokenizer(),
        "scheduler": DDIMScheduler(**DIFFUSION, clip_sample=False, steps_offset=1),
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
        **parts,
    }
    return quiet(pipe(**parts))


def sdxl(pipe=StableDiffusionXLPipeline, net=None, **parts):
    parts = {
        "unet": net or unet(**XL),
        "vae": vae(),
        "text_encoder": text_encoder(),
        "text_encoder_2": text_encoder(CLIPTextModelWithProjection, 5),
        "tokenizer": tokenizer(),
        "tokenizer_2": tokenizer(),
        "scheduler": EulerDiscreteScheduler(**DIFFUSION),
        **parts,
    }
    return quiet(pipe(**parts))


SD3 = {
    "sample_size": 32,
    "patch_size": 2,
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 2,
    "attention_head_dim": 8,
    "num_attention_heads": 4,
    "joint_attention_dim": 64,
    "caption_projection_dim": 32,
    "pooled_projection_dim": 64,
    "pos_embed_max_size": 24,
}


def sd3_net(kind=SD3Transformer2DModel, **config):
    return made(kind, 6, **{**SD3, **config})


def sd3(pipe=StableDiffusion3Pipeline, net=None, **parts):
    parts = {
        "transformer": net or sd3_net(),
        "vae": vae(shift_factor=0.06, use_quant_conv=False, use_post_quant_conv=False),
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=3.0),
        "text_encoder": text_encoder(CLIPTextModelWithProjection),
        "text_encoder_2": text_encoder(CLIPTextModelWithProjection, 5),
        "text_encoder_3": None,
        "tokenizer": tokenizer(),
        "tokenizer_2": tokenizer(),
        "tokenizer_3": None,
        **parts,
    }
    return quiet(pipe(**parts))


FLUX = {
    "patch_size": 1,
    "in_channels": 16,
    "num_layers": 1,
    "num_single_layers": 1,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 32,
    "pooled_projection_dim": 32,
    "axes_dims_rope": (4, 4, 8),
    "guidance_embeds": True,
}


def flux_net(kind=FluxTransformer2DModel, **config):
    return made(kind, 7, **{**FLUX, **config})


def flux(pipe=FluxPipeline, net=None, **parts):
    parts = {
        "transformer": net or flux_net(),
        "vae": vae(shift_factor=0.1, use_quant_conv=False, use_post_quant_conv=False),
        "scheduler": FlowMatchEulerDiscreteScheduler(**FLUX_SCHEDULE),
        "text_encoder": text_encoder(),
        "text_encoder_2": None,
        "tokenizer": tokenizer(),
        "tokenizer_2": None,
        **parts,
    }
    return quiet(pipe(**parts))


def sd3_words(seed=0):
    """Embeddings for `pipe(**…)`: without T5 the pipeline makes none of this length itself."""
    names = (
        "prompt_embeds",
        "negative_prompt_embeds",
        "pooled_prompt_embeds",
        "negative_pooled_prompt_embeds",
    )
    shapes = ((1, 20, 64), (1, 20, 64), (1, 64), (1, 64))
    return {name: noise(*shape, seed=seed + i) for i, (name, shape) in enumerate(zip(names, shapes))}


def t5():
    """Flux's second text encoder; it reads the other's tokens."""
    config = T5Config(vocab_size=600, d_model=32, d_kv=8, d_ff=37, num_layers=1, num_heads=4)
    return {"text_encoder_2": made(T5EncoderModel, 8, config=config), "tokenizer_2": tokenizer()}


def flux_words(seed=0):
    return {
        "prompt_embeds": noise(1, 12, 32, seed=seed),
        "pooled_prompt_embeds": noise(1, 32, seed=seed + 1),
    }


SEEN = []
"""Shapes of what pointwise networks were asked about."""


def pointwise(x, timestep, words, channels, axis):
    """What each pixel's channels along `axis` become, by themselves, the time and the words."""

    def broadcast(value):
        return torch.as_tensor(value, dtype=torch.float32).reshape(-1, *[1] * (x.ndim - 1))

    SEEN.append(tuple(x.shape))
    y = x.narrow(axis, 0, channels)
    if x.shape[axis] > channels:  # mask and masked picture, in inpainting
        y = y + 0.1 * x.narrow(axis, channels, 1) + 0.1 * x.narrow(axis, -1, 1)
    return (
        0.7 * torch.tanh(y + broadcast(timestep) / 1000)
        + 0.2 * torch.sin(3 * y)
        + broadcast(words[..., 0].mean(1))
    )


class PointUNet(UNet2DConditionModel):
    def forward(
        self,
        sample,
        timestep,
        encoder_hidden_states,
        class_labels=None,
        timestep_cond=None,
        attention_mask=None,
        cross_attention_kwargs=None,
        added_cond_kwargs=None,
        down_block_additional_residuals=None,
        mid_block_additional_residual=None,
        down_intrablock_additional_residuals=None,
        encoder_attention_mask=None,
        return_dict=True,
    ):
        out = pointwise(sample, timestep, encoder_hidden_states, 4, 1)
        if down_block_additional_residuals is not None:
            out = out + 0.1 * down_block_additional_residuals[0] + 0.05 * mid_block_additional_residual
        return UNet2DConditionOutput(out) if return_dict else (out,)


class PointSD3(SD3Transformer2DModel):
    def forward(
        self,
        hidden_states,
        encoder_hidden_states=None,
        pooled_projections=None,
        timestep=None,
        block_controlnet_hidden_states=None,
        joint_attention_kwargs=None,
        return_dict=True,
        skip_layers=None,
    ):
        out = pointwise(hidden_states, timestep, encoder_hidden_states, 4, 1)
        return Transformer2DModelOutput(out) if return_dict else (out,)


class PointFlux(FluxTransformer2DModel):
    def forward(
        self,
        hidden_states,
        encoder_hidden_states=None,
        pooled_projections=None,
        timestep=None,
        img_ids=None,
        txt_ids=None,
        guidance=None,
        joint_attention_kwargs=None,
        controlnet_block_samples=None,
        controlnet_single_block_samples=None,
        return_dict=True,
        controlnet_blocks_repeat=False,
    ):
        assert hidden_states.shape[1] == img_ids.shape[0]
        out = pointwise(hidden_states, timestep, encoder_hidden_states, 16, 2)
        return Transformer2DModelOutput(out) if return_dict else (out,)


class PointControl(ControlNetModel):
    """Sees one hint pixel for each of the latent."""

    def forward(
        self,
        sample,
        timestep,
        encoder_hidden_states,
        controlnet_cond,
        conditioning_scale=1.0,
        class_labels=None,
        timestep_cond=None,
        attention_mask=None,
        added_cond_kwargs=None,
        cross_attention_kwargs=None,
        guess_mode=False,
        return_dict=True,
    ):
        hint = controlnet_cond[..., ::8, ::8].mean(1, keepdim=True)
        self.calls = [*getattr(self, "calls", []), (tuple(sample.shape), float(conditioning_scale))]
        words = encoder_hidden_states[..., 0].mean(1).reshape(-1, 1, 1, 1)
        down = torch.tanh(sample + hint + words) * conditioning_scale
        return [down], sample * hint * conditioning_scale
