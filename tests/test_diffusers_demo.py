"""The demo checkpoint through diffusers and through the mini WebUI: one core, one picture."""

import diffusers
import numpy as np
import torch

from painted_world.diffusers_config import write_diffusers_config
from painted_world.export import CHECKPOINT
from tile_diffusers import tiled_diffusion, tiled_vae


def test_both_doors_draw_the_same_picture(webui, tmp_path):
    """Four steps: the noise levels lie on whole timesteps then, between which the two interpolate in their own ways."""
    words = {"prompt": "city skyline, night", "negative_prompt": "day"}
    (theirs,) = webui.draw(
        {
            "enabled": True,
            "method": "Mixture of Diffusers",
            "tile_width": 32,
            "tile_height": 32,
            "overlap": 16,
        },
        {"enabled": True, "decoder_tile_size": 48},
        **words,
        width=384,
        height=256,
        steps=4,
        seed=7,
        override_settings={"sd_model_checkpoint": "demo"},
    ).images
    write_diffusers_config(tmp_path)
    pipe = diffusers.StableDiffusionPipeline.from_single_file(
        str(CHECKPOINT), config=str(tmp_path), local_files_only=True
    )
    pipe.scheduler = diffusers.EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="linspace"
    )
    pipe.set_progress_bar_config(disable=True)
    with tiled_diffusion(pipe, tile=256, overlap=128, batch_size=4), tiled_vae(pipe.vae, 48):
        (ours,) = pipe(
            **words,
            width=384,
            height=256,
            num_inference_steps=4,
            guidance_scale=4.0,
            generator=torch.Generator().manual_seed(7),
        ).images
    assert abs(np.asarray(ours, int) - np.asarray(theirs, int)).max() <= 1
