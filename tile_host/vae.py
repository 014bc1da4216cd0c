"""One generation with Tiled VAE: the encoder and the decoder of the host's checkpoint run tiled, then no more."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from modules import devices, shared
from tile_host.door import host
from tile_host.life import Generation
from tile_methods.vae.context import tiled_network
from tile_methods.vae.run import Interrupted
from tile_utils import patching
from tile_utils.infotext import to_infotext
from tile_utils.settings import TiledVAESettings
from tile_utils.surface import OPT_F

logger = logging.getLogger("Tiled VAE")
INFOTEXT_KEY = "Tiled VAE"


class TiledVAEGeneration(Generation):
    """Both networks of the checkpoint's VAE are tiled from the host's first hook to its last."""

    def __init__(self, settings: TiledVAESettings) -> None:
        super().__init__()
        self.settings = settings
        self._model = self.stack.enter_context(ExitStack())  # what is changed on the checkpoint in use

    def begin(self, p: Any) -> None:
        # A dict of its own: an X/Y/Z plot's copies of `p` share theirs.
        p.extra_generation_params = {**p.extra_generation_params, INFOTEXT_KEY: to_infotext(self.settings)}
        self.stack.enter_context(host.vae.checkpoint_followed(self._attach))
        self._attach(p.sd_model)

    def _attach(self, model: Any) -> None:
        """Hook this checkpoint's VAE. Called again when the host changes it in the middle (hires fix, refiner)."""
        self._model.close()
        vae = model.first_stage_model
        if not hasattr(vae, "encoder") or not hasattr(vae, "decoder"):
            logger.warning("This checkpoint's VAE has no encoder and decoder; Tiled VAE leaves it alone.")
            return
        settings, enter = self.settings, self._model.enter_context
        for net, size, fast, name in (
            (vae.encoder, settings.encoder_tile_size, settings.fast_encoder, "encoder"),
            (vae.decoder, settings.decoder_tile_size, settings.fast_decoder, "decoder"),
        ):
            watch = _Watch(f"Tiled VAE {name}")
            enter(
                tiled_network(
                    net,
                    size,
                    mode="fast" if fast else "exact",
                    color_fix=settings.color_fix,
                    progress=watch.progress,
                    interrupted=watch.interrupted,
                )
            )
            enter(_prepared(net, watch, settings.vae_to_gpu))
        enter(_interruptible(model))


class _Watch:
    """Shows how far a network is, and tells whether the user has asked to stop since it began."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._bar: tqdm[Any] | None = None
        self._was_interrupted = False

    def __enter__(self) -> None:
        # A picture that was interrupted while sampling is decoded all the same, as the host does it.
        self._was_interrupted = shared.state.interrupted

    def __exit__(self, *error: Any) -> None:
        if self._bar is not None:
            self._bar.close()
            shared.state.textinfo = None
        self._bar = None

    def progress(self, done: int, total: int) -> None:
        if self._bar is None:
            hidden = host.job.progress_hidden()
            self._bar = tqdm(desc=self._name, unit="part", leave=False, disable=hidden)
        self._bar.total = total
        self._bar.update(done - self._bar.n)
        shared.state.textinfo = f"{self._name}: {done} of {total}"

    def interrupted(self) -> bool:
        return bool(shared.state.interrupted) and not self._was_interrupted


@contextmanager
def _prepared(net: nn.Module, watch: _Watch, to_gpu: bool) -> Iterator[None]:
    """Around each call of the network: watch it, and lend it the GPU if it lies on the CPU and is wanted there."""

    def watching(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def prepared(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            with watch, _lent_gpu(net, to_gpu):
                return forward(x, *args, **kwargs)

        return prepared

    with patching.wrapped(net, "forward", watching):
        yield


@contextmanager
def _lent_gpu(net: nn.Module, wanted: bool) -> Iterator[None]:
    """Move a network that lies on the CPU to the GPU, and back afterwards."""
    home, gpu = next(net.parameters()).device, devices.get_optimal_device()
    if not wanted or home.type != "cpu" or gpu.type == "cpu":
        yield
        return
    net.to(gpu)
    try:
        yield
    finally:
        net.to(home)
        devices.torch_gc()


@contextmanager
def _interruptible(model: Any) -> Iterator[None]:
    """Let interrupted work of a checkpoint's VAE end in something the host can go on with."""
    vae = model.first_stage_model

    def approximate(decode: Callable[..., Any], z: Tensor, *args: Any, **kwargs: Any) -> Any:
        return host.vae.approximation(model, z)

    def nothing(encode: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Any:
        # The host asks for interruption again before it samples; what is encoded here is never drawn.
        with patching.attribute(vae.encoder, "forward", lambda x: _empty_code(vae.encoder, x)):
            return encode(x, *args, **kwargs)

    with (
        patching.wrapped(vae, "encode", partial(_or_else, nothing)),
        patching.wrapped(vae, "decode", partial(_or_else, approximate)),
    ):
        yield


def _or_else(instead: Callable[..., Any], method: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except Interrupted:
            logger.info("Interrupted; the picture is an approximation.")
            return instead(method, *args, **kwargs)

    return guarded


def _empty_code(encoder: Any, x: Tensor) -> Tensor:
    height, width = (side // OPT_F for side in x.shape[-2:])
    return torch.zeros(
        x.shape[0], encoder.conv_out.out_channels, height, width, dtype=x.dtype, device=x.device
    )
