"""Where `tiled_vae` was imported from until 0.1; `tile_methods.vae` has it now."""

from tile_methods.vae import tiled_network, tiled_vae

__all__ = ["tiled_network", "tiled_vae"]
