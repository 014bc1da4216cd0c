"""Tiled VAE for as long as a `with` lasts: for scripts around `diffusers`, and for the WebUI's script."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, get_args

import torch
from torch import Tensor, nn

from tile_methods.ranks import Ranks
from tile_methods.vae.job import Storage
from tile_methods.vae.program import UnsupportedNetwork
from tile_methods.vae.run import check_tile, run
from tile_methods.vae.stages import Mode
from tile_utils import patching
from tile_utils.surface import OPT_F

logger = logging.getLogger("Tiled VAE")
OWN_TILES = ("use_tiling", "use_slicing")
"""What `diffusers` has on a VAE to work on blended tiles, or on one image after the other."""


def _why_whole(net: nn.Module, x: Tensor, further: bool) -> str | None:
    """Why the network's own forward runs on something larger than a tile, in words; None if it need not."""
    if further:
        return "The VAE was given more than a picture or latent; it runs as a whole."
    if torch.is_grad_enabled() and (net.training or x.requires_grad):
        return "Gradients are wanted, which tiles do not give; the VAE runs as a whole."
    return None


@contextmanager
def tiled_network(net: nn.Module, tile_size: int, **options: Any) -> Iterator[None]:
    """Let one encoder or decoder run tiled, without gradients.

    Calls with further arguments (a decoder's `latent_embeds`, say) are left to the network: tiles know only `x`. So
    are calls that want gradients: in training, or with an input that requires them.

    Args:
        net: the network; only this instance is touched.
        tile_size: see `run.run`, which also takes the other `options`.
    """

    def tiling(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def forward(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            if x.shape[-2] * x.shape[-1] <= tile_size**2:
                logger.debug("%dx%d is no more than one tile; nothing is tiled.", x.shape[-1], x.shape[-2])
                return original(x, *args, **kwargs)
            further = any(argument is not None for argument in (*args, *kwargs.values()))
            if (reason := _why_whole(net, x, further)) is not None:
                logger.warning("%s", reason)
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
def _own_tiles_off(vae: Any) -> Iterator[None]:
    """Whoever switches the VAE's own tiles on, before or meanwhile: they are off, and afterwards as was wished."""
    wished = {name: vars(vae)[name] for name in OWN_TILES if name in vars(vae)}

    def switch(name: str) -> property:
        return property(lambda _: False, lambda _, value: wished.__setitem__(name, value))

    switches = {name: switch(name) for name in wished}
    with patching.instance_class(vae, **switches) if switches else nullcontext():
        yield
    for name, value in wished.items():
        setattr(vae, name, value)


def _check(vae: Any, tile_size: Any, encoder_tile_size: Any, mode: Any, storage: Any) -> None:
    if not (hasattr(vae, "encoder") and hasattr(vae, "decoder")):
        raise ValueError(
            f"Tiled VAE: a {type(vae).__name__} has no 'encoder' and 'decoder'; give the VAE itself, `pipe.vae`."
        )
    check_tile(tile_size)
    if encoder_tile_size is not None:
        check_tile(encoder_tile_size)
    for name, value, allowed in (("mode", mode, get_args(Mode)), ("storage", storage, get_args(Storage))):
        if value not in allowed:
            raise ValueError(
                f"Tiled VAE: '{name}' is {value!r}; allowed are {', '.join(map(repr, allowed))}."
            )


@contextmanager
def tiled_vae(
    vae: Any,
    tile_size: int = 64,
    encoder_tile_size: int | None = None,
    mode: Mode = "exact",
    color_fix: bool = False,
    storage: Storage = "auto",
    group: Any = None,
) -> Iterator[None]:
    """Encode and decode in little memory, with the result of the whole: `with tiled_vae(pipe.vae): pipe(...)`.

    `vae.enable_tiling()` and `vae.enable_slicing()` have no effect meanwhile.

    Args:
        vae: an AutoencoderKL of `diffusers` or of the `ldm`/`sgm` layout: something with `encoder` and `decoder`.
        tile_size: latent pixels.
        encoder_tile_size: pixels; 8 times `tile_size` if not given.
        mode, color_fix, storage: see `run.run`.
        group: of `torch.distributed`, whose processes all make the same calls with the same seeds: the work is shared
            out over them, and all of them get the whole result.

    Raises:
        ValueError: a value cannot be used, in one sentence.
    """
    _check(vae, tile_size, encoder_tile_size, mode, storage)
    ranks = Ranks(group)
    with ExitStack() as stack:
        stack.enter_context(_own_tiles_off(vae))
        sizes = ((vae.decoder, tile_size), (vae.encoder, encoder_tile_size or tile_size * OPT_F))
        for net, size in sizes:
            options = {"mode": mode, "color_fix": color_fix, "storage": storage, "ranks": ranks}
            stack.enter_context(tiled_network(net, size, **options))
        yield
