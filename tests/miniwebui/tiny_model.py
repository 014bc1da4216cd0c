"""A Stable Diffusion 1.x of the right classes with few, random weights."""

from types import SimpleNamespace

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

WIDTH = 32


def components(prediction_type: str = "epsilon", seed: int = 0) -> SimpleNamespace:
    """What `checkpoint_layout.load_checkpoint` returns."""
    from modules.sd_hijack import text_model_of

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(32, 32),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=WIDTH,
            attention_head_dim=4,
            norm_num_groups=8,
        )
        vae = AutoencoderKL(
            block_out_channels=(8, 8, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            latent_channels=4,
            norm_num_groups=4,
        )
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=49408,
                hidden_size=WIDTH,
                intermediate_size=WIDTH,
                num_hidden_layers=2,
                num_attention_heads=4,
                bos_token_id=49406,
                eos_token_id=49407,
            )
        )
        # The host's emphasis divides by the mean of what the encoder says, which without this bias is 0.
        torch.nn.init.normal_(text_model_of(text_encoder).final_layer_norm.bias)
    return SimpleNamespace(
        unet=unet.eval(),
        vae=vae.eval(),
        text_encoder=text_encoder.eval(),
        metadata={},
        prediction_type=prediction_type,
    )
