"""Tiled VAE for as long as a `with` lasts: for scripts around `diffusers`, and for the WebUI's script."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from tile_methods.vae.program import UnsupportedNetwork
from tile_methods.vae.run import Mode, Storage, run
from tile_utils import patching
from tile_utils.surface import OPT_F

logger = logging.getLogger("Tiled VAE")


@contextmanager
def tiled_network(net: nn.Module, tile_size: int, **options: Any) -> Iterator[None]:
    """Let one encoder or decoder run tiled, without gradients.

    Calls with further arguments (a decoder's `latent_embeds`, say) are left to the network: tiles know only `x`.

    Args:
        net: the network; only this instance is touched.
        tile_size: see `run.run`, which also takes the other `options`.
    """

    def tiling(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def forward(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            if x.shape[-2] * x.shape[-1] <= tile_size**2:
                logger.debug("%dx%d is no more than one tile; nothing is tiled.", x.shape[-1], x.shape[-2])
                return original(x, *args, **kwargs)
            if any(argument is not None for argument in (*args, *kwargs.values())):
                logger.warning("The VAE was given more than a picture or latent; it runs as a whole.")
                return original(x, *args, **kwargs)
            try:
                return run(net, x, tile_size=tile_size, **options)
            except UnsupportedNetwork as error:
                logger.warning("This VAE cannot be tiled (%s); it runs as a whole.", error)
                return original(x, *args, **kwargs)

        return forward

    with patching.wrapped(net, "forward", tiling):
        yield


@contextmanager
def tiled_vae(
    vae: Any,
    tile_size: int = 64,
    encoder_tile_size: int | None = None,
    mode: Mode = "exact",
    color_fix: bool = False,
    storage: Storage = "auto",
) -> Iterator[None]:
    """Encode and decode in little memory, with the result of the whole: `with tiled_vae(pipe.vae): pipe(...)`.

    Args:
        vae: an AutoencoderKL of `diffusers` or of the `ldm`/`sgm` layout: something with `encoder` and `decoder`.
        tile_size: latent pixels.
        encoder_tile_size: pixels; 8 times `tile_size` if not given.
        mode, color_fix, storage: see `run.run`.
    """
    with ExitStack() as stack:
        sizes = ((vae.decoder, tile_size), (vae.encoder, encoder_tile_size or tile_size * OPT_F))
        for net, size in sizes:
            stack.enter_context(tiled_network(net, size, mode=mode, color_fix=color_fix, storage=storage))
        yield
