"""One generation with Tiled VAE: the encoder and the decoder of the host's checkpoint run tiled, then no more."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

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
        self._told: set[str] = set()
        self._presses = _Presses()
        self._thread = threading.get_ident()

    def begin(self, p: Any) -> None:
        # A dict of its own: an X/Y/Z plot's copies of `p` share theirs.
        p.extra_generation_params = {**p.extra_generation_params, INFOTEXT_KEY: to_infotext(self.settings)}
        self._p = p
        self.stack.enter_context(self._presses.counted())
        self.stack.enter_context(host.vae.checkpoint_followed(self._attach))
        self._attach(p.sd_model)

    def _attach(self, model: Any) -> None:
        """Hook this checkpoint's VAE. Called again when the host changes it in the middle (hires fix, refiner)."""
        self._model.close()
        vae = host.vae.network(model)
        if not hasattr(vae, "encoder") or not hasattr(vae, "decoder"):
            logger.warning("This checkpoint's VAE has no encoder and decoder; Tiled VAE leaves it alone.")
            return
        settings, enter = self.settings, self._model.enter_context
        for net, size, fast, name in (
            (vae.encoder, settings.encoder_tile_size, settings.fast_encoder, "encoder"),
            (vae.decoder, settings.decoder_tile_size, settings.fast_decoder, "decoder"),
        ):
            enter(
                tiled_network(
                    net,
                    size,
                    mode="fast" if fast else "exact",
                    color_fix=settings.color_fix,
                    progress=lambda done, total: _CALL.get().progress(done, total),
                    interrupted=lambda: _CALL.get().interrupted(),
                    tell=partial(self._tell, name),
                )
            )
            enter(_watched(net, partial(self._call, name), _Loan(net, settings.vae_to_gpu)))
        enter(_interruptible(model, vae))
        enter(host.vae.counted_on(model, settings.encoder_tile_size, settings.decoder_tile_size))

    def _call(self, name: str) -> _Call:
        own = threading.get_ident() == self._thread
        return _Call(f"Tiled VAE {name}", self._presses, shown=own, always=name == "encoder")

    def _tell(self, name: str, sentence: str) -> None:
        """Say, once, that another mode does the work, and write it into the picture's text."""
        if threading.get_ident() == self._thread:
            self._p.extra_generation_params[f"Tiled VAE {name}"] = "fast mode, for want of memory"
        if sentence not in self._told:
            self._told.add(sentence)
            logger.warning("%s", sentence)


class _Presses:
    """How often the user has asked to stop: the host's flag alone does not tell a second time from the first."""

    def __init__(self) -> None:
        self.count = 0

    def counted(self) -> AbstractContextManager[None]:
        """Count for as long as this lasts."""

        def press() -> None:
            self.count += 1

        return host.job.presses_told(press)


class _Call:
    """One call of one network: shows how far it is, and tells whether it is to stop.

    Previews are decoded in other threads at the same time, so nothing of this is shared.

    Args:
        shown: is this the generation itself?
        always: stop for what was asked before the call too. A picture that was interrupted while sampling is decoded
            all the same, as the host does it; but after that nothing is left to encode for.
    """

    def __init__(self, name: str, presses: _Presses, shown: bool, always: bool) -> None:
        self._name, self._presses, self._shown = name, presses, shown
        self._bar: tqdm[Any] | None = None
        self._before = presses.count
        self._ignored = host.job.is_stopped() and not always

    def __enter__(self) -> None:
        self._token = _CALL.set(self)

    def __exit__(self, *error: Any) -> None:
        _CALL.reset(self._token)
        if self._bar is not None:
            self._bar.close()
            host.job.report(None)

    def progress(self, done: int, total: int) -> None:
        if not self._shown:
            return
        if self._bar is None:
            hidden = host.job.progress_hidden()
            self._bar = tqdm(desc=self._name, unit="part", leave=False, disable=hidden)
        self._bar.total = total
        self._bar.update(done - self._bar.n)
        host.job.report(f"{self._name}: {done} of {total}")

    def interrupted(self) -> bool:
        return self._presses.count > self._before or (host.job.is_stopped() and not self._ignored)


_CALL: ContextVar[_Call] = ContextVar("the call of this thread")


class _Loan:
    """Lends the GPU to a network that lies on the CPU, until nobody uses it any more."""

    def __init__(self, net: nn.Module, wanted: bool) -> None:
        self._net, self._wanted = net, wanted
        self._lock, self._users = threading.Lock(), 0
        self._home: torch.device | None = None

    @contextmanager
    def taken(self, x: Tensor) -> Iterator[torch.device]:
        """Where the network is meanwhile, or x's device if it stays where it was."""
        with self._lock:
            if not self._users:
                self._lend()
            self._users += 1
        try:
            yield x.device if self._home is None else host.facts.device()
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._give_back()

    def _lend(self) -> None:
        home = next(self._net.parameters()).device
        gpu = host.facts.device()
        if self._wanted and home.type == "cpu" and gpu.type != "cpu":
            self._net.to(gpu)
            self._home = home

    def _give_back(self) -> None:
        if self._home is not None:
            self._net.to(self._home)
            self._home = None
            host.facts.collect()


@contextmanager
def _watched(net: nn.Module, new_call: Callable[[], _Call], loan: _Loan) -> Iterator[None]:
    """Around each call of the network: watch it, and lend it the GPU; what goes in is sent, the result sent back."""

    def watching(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def watched(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            with new_call(), loan.taken(x) as device:
                return forward(x.to(device), *args, **kwargs).to(x.device)

        return watched

    with patching.wrapped(net, "forward", watching):
        yield


@contextmanager
def _interruptible(model: Any, vae: Any) -> Iterator[None]:
    """Let interrupted work of a checkpoint's VAE end in something the host can go on with."""

    def approximate(decode: Callable[..., Any], z: Tensor, *args: Any, **kwargs: Any) -> Any:
        return host.vae.approximation(model, z)

    def nothing(encode: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Any:
        # The host asks for interruption again before it samples; what is encoded here is never drawn.
        with patching.attribute(vae.encoder, "forward", partial(_empty_code, vae.encoder)):
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
