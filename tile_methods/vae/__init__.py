"""Tiled VAE: encoders and decoders in little memory, with the result of the whole."""

from tile_methods.vae.context import tiled_network, tiled_vae

__all__ = ["tiled_network", "tiled_vae"]
