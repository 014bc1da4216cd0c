"""A VAE's encoder or decoder as a list of tasks; the layouts of `ldm`/`sgm` and of `diffusers`.

Between tasks the whole feature map must be known: its statistics for the next GroupNorm, its neighbours for the next
convolution, everything for attention.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

SAME, UP, DOWN = 0, 1, -1


class UnsupportedNetwork(ValueError):
    """The network is built of parts that no task stands for."""


@dataclass(frozen=True)
class Convolve:
    """GroupNorm and SiLU (if `norm`), resizing, a 3x3 convolution.

    A residual block is two of these: the first `opens` it (what came in, through the 1x1 `shortcut` if there is one,
    is put aside), the second `closes` it (what was put aside is added).
    """

    conv: nn.Conv2d
    norm: nn.GroupNorm | None = None
    resize: int = SAME  # UP: nearest neighbour, twice, before; DOWN: stride 2, padded below and on the right
    opens: bool = False
    shortcut: nn.Conv2d | None = None
    closes: bool = False


@dataclass(frozen=True)
class Attend:
    """GroupNorm and self-attention over all pixels, added to what came in."""

    norm: nn.GroupNorm
    query: nn.Module
    key: nn.Module
    value: nn.Module
    out: nn.Module
    heads: int = 1


Task = Convolve | Attend


def resize_of(task: Task) -> int:
    """UP, DOWN or SAME."""
    return SAME if isinstance(task, Attend) else task.resize


def _resnet(block: Any) -> Iterator[Convolve]:
    shortcut = getattr(block, "nin_shortcut", None) or getattr(block, "conv_shortcut", None)
    if shortcut is not None and shortcut.kernel_size != (1, 1):
        raise UnsupportedNetwork("a residual block has a wide shortcut")
    if getattr(block, "output_scale_factor", 1) != 1:
        raise UnsupportedNetwork("a residual block scales its output")
    yield Convolve(block.conv1, block.norm1, opens=True, shortcut=shortcut)
    yield Convolve(block.conv2, block.norm2, closes=True)


def _attention(block: Any) -> Attend:
    if hasattr(block, "proj_out"):
        return Attend(block.norm, block.q, block.k, block.v, block.proj_out)
    if hasattr(block, "to_out") and block.rescale_output_factor == 1 and block.residual_connection:
        return Attend(block.group_norm, block.to_q, block.to_k, block.to_v, block.to_out[0], block.heads)
    raise UnsupportedNetwork(f"attention of the kind {type(block).__name__}")


def _level(resnets: Any, attentions: Any) -> Iterator[Task]:
    for index, block in enumerate(resnets):
        yield from _resnet(block)
        if attentions:
            yield _attention(attentions[index])


def _ldm(net: Any) -> Iterator[Task]:
    middle: list[Task] = [*_resnet(net.mid.block_1), _attention(net.mid.attn_1), *_resnet(net.mid.block_2)]
    yield Convolve(net.conv_in)
    if hasattr(net, "up"):
        yield from middle
        for level in reversed(net.up):
            yield from _level(level.block, getattr(level, "attn", None))
            if hasattr(level, "upsample"):
                yield Convolve(level.upsample.conv, resize=UP)
    else:
        for level in net.down:
            yield from _level(level.block, getattr(level, "attn", None))
            if hasattr(level, "downsample"):
                yield Convolve(level.downsample.conv, resize=DOWN)
        yield from middle
    yield Convolve(net.conv_out, net.norm_out)


def _diffusers(net: Any) -> Iterator[Task]:
    middle: list[Task] = [*_resnet(net.mid_block.resnets[0])]
    for attention, block in zip(net.mid_block.attentions, net.mid_block.resnets[1:]):
        middle += [*([_attention(attention)] if attention is not None else []), *_resnet(block)]
    yield Convolve(net.conv_in)
    if hasattr(net, "up_blocks"):
        yield from middle
        for level in net.up_blocks:
            yield from _level(level.resnets, getattr(level, "attentions", None))
            for resize in level.upsamplers or ():
                yield Convolve(resize.conv, resize=UP)
    else:
        for level in net.down_blocks:
            yield from _level(level.resnets, getattr(level, "attentions", None))
            for resize in level.downsamplers or ():
                yield Convolve(resize.conv, resize=DOWN)
        yield from middle
    yield Convolve(net.conv_out, net.conv_norm_out)


def _check(task: Task) -> None:
    if isinstance(task, Attend):
        return
    conv = task.conv
    stride, padding = ((2, 2), (0, 0)) if task.resize == DOWN else ((1, 1), (1, 1))
    plain = conv.kernel_size == (3, 3) and conv.dilation == (1, 1) and conv.groups == 1
    if not plain or conv.stride != stride or conv.padding != padding:
        raise UnsupportedNetwork(f"a convolution of the kind {conv}")


def compile_network(net: nn.Module) -> list[Task]:
    """The tasks that `net`, an Encoder or Decoder, works off in its forward.

    Raises:
        UnsupportedNetwork: it is of neither layout, or has parts that neither layout has.
    """
    if getattr(net, "give_pre_end", False) or getattr(net, "tanh_out", False):
        raise UnsupportedNetwork("a decoder that ends otherwise")
    layout = _ldm if hasattr(net, "mid") else _diffusers
    try:
        tasks = list(layout(net))
    except (AttributeError, TypeError, IndexError) as error:
        raise UnsupportedNetwork(f"{type(net).__name__}: {error}") from error
    for task in tasks:
        _check(task)
    return tasks
