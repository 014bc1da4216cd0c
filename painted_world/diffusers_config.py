"""Write the folder of configurations that diffusers' `from_single_file` needs beside the demo checkpoint.

.venv/bin/python -m painted_world.diffusers_config demo-config

Then: StableDiffusionPipeline.from_single_file("demo.safetensors", config="demo-config", local_files_only=True).
The networks' sizes are not Stable Diffusion's, and a single file does not hold them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import diffusers
from diffusers import DPMSolverMultistepScheduler

from miniwebui.checkpoint_layout import load_checkpoint
from miniwebui.clip_tokenizer import clip_tokenizer
from painted_world.export import CHECKPOINT

PARTS = {
    "scheduler": ("diffusers", "DPMSolverMultistepScheduler"),
    "text_encoder": ("transformers", "CLIPTextModel"),
    "tokenizer": ("transformers", "CLIPTokenizer"),
    "unet": ("diffusers", "UNet2DConditionModel"),
    "vae": ("diffusers", "AutoencoderKL"),
}
ABSENT = ("feature_extractor", "image_encoder", "safety_checker")


def write_diffusers_config(folder: Path, checkpoint: Path = CHECKPOINT) -> None:
    """Write the configurations of the checkpoint's networks, its schedule and its tokenizer."""
    parts = load_checkpoint(checkpoint)
    parts.unet.save_config(folder / "unet")
    parts.vae.save_config(folder / "vae")
    parts.text_encoder.config.save_pretrained(folder / "text_encoder")
    clip_tokenizer().save_pretrained(folder / "tokenizer")
    scheduler = DPMSolverMultistepScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
    )
    scheduler.save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": diffusers.__version__,
        "requires_safety_checker": False,
        **PARTS,
        **dict.fromkeys(ABSENT, (None, None)),
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    write_diffusers_config(parser.parse_args().folder)
