"""What Forge and reForge call by different names: that of the host which is here, chosen once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from tile_host.hosts import detect

Told = dict[str, Any]
"""`transformer_options` of a model call."""


class Engine(Protocol):
    """`unet` is the host's patcher, `model` what denoises in it."""

    NAME: str
    CONTROL: tuple[str, ...]
    """The places in a model call where a control network's output, and itself, go."""
    CALL: Told
    """What the host tells of a call of one chunk of conds, beside what every host does."""

    def compiled(self, text: Any) -> list[dict[str, Any]]:
        """The host's entries for a text: a dict each, whose `model_conds` hold parts with a `cond`."""

    def sampling_prepare(self, unet: Any, x: Tensor) -> None:
        """Before a pass: make room, load."""

    def sampling_cleanup(self, unet: Any) -> None:
        """After it."""

    def load(self, unet: Any) -> None:
        """Onto the device, with its networks merged."""

    def take_over(self, unet: Any, other: Any) -> None:
        """Merge the networks that another UNet object of the same weights has, and those only."""

    def told(self, told: Told, chunks: Sequence[int], marks: Sequence[int]) -> Told:
        """The host's words about a call, told of another.

        Args:
            told: the words, with the new `cond_or_uncond`.
            chunks: of the old call, one for each of the new.
            marks: of each row: 0 cond, 1 uncond.
        """

    def said(self, nets: Sequence[Any], x: Tensor, t: Tensor, cond: dict[str, Any]) -> Any:
        """What a chain of control networks, the last first, says about rows."""

    def fitted(self, hint: Tensor, width: int, height: int) -> Tensor:
        """A picture as control networks see it: its middle, in that ratio and size."""

    def schedule(self, model: Any) -> Any:
        """What has `timestep(sigma)`."""

    def kept(self, model: Any, latent: Tensor, sigma: Tensor) -> Tensor:
        """What is left of a latent once the host has added the noise of a level to it."""

    def predicts_v(self, checkpoint: Any) -> bool:
        """Was the checkpoint trained to say v?"""

    def dtype(self, model: Any) -> torch.dtype:
        """Of the numbers that it computes with."""

    def process_in(self, checkpoint: Any, latent: Tensor) -> Tensor:
        """A VAE's latent as it is sampled."""

    def without_comments(self, prompt: str) -> str:
        """See `protocol.Words`."""

    def text_settings(self, p: Any) -> dict[str, Any]:
        """What the text encoder is told beside texts and size."""


def _here() -> Engine:
    if detect.host_name() == detect.REFORGE:
        from tile_host.hosts.forge import of_reforge

        return of_reforge
    from tile_host.hosts.forge import of_forge

    return of_forge


engine = _here()
