"""Tiled Diffusion and Tiled VAE for pipelines of `diffusers`: see the README's "From Python"."""

from tile_diffusers.context import tiled_diffusion
from tile_diffusers.settings import Region
from tile_methods.vae import tiled_vae

__all__ = ["Region", "tiled_diffusion", "tiled_vae"]
