"""What a network is made of: the layouts of `ldm`/`sgm` and of `diffusers`, recognised part by part, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from torch import nn
from torch.nn.modules import module as torch_module

from tile_methods.vae.layers import ACTIVATIONS
from tile_methods.vae.program import (
    SILU,
    Attend,
    Convolve,
    Part,
    Program,
    Task,
    UnsupportedNetwork,
    modules_of,
)
from tile_methods.vae.residence import strange_forward, stranger
from tile_methods.vae.spans import DOWN, UP

Holders = tuple[nn.Module, ...]
PADDINGS = ("zeros", "circular")
CASTING = ("backend.operations", "ldm_patched.modules.ops")
"""Modules of Forge and reForge whose layers have a forward of their own, which only casts weights."""


def _kind(module: object) -> str:
    return type(module).__name__


def _plain(name: str, module: Any, kind: type[nn.Module]) -> None:
    """A layer of torch's class, or of one that computes the same."""
    if not isinstance(module, kind):
        raise UnsupportedNetwork(f"{name} is a {_kind(module)}, not a {kind.__name__}")
    if type(module).forward is not kind.forward and type(module).__module__ not in CASTING:
        raise UnsupportedNetwork(f"{name} is a {_kind(module)} with another forward")


def _convolution(name: str, conv: Any, size: int, stride: int, padding: int) -> nn.Conv2d:
    _plain(name, conv, nn.Conv2d)
    plain = conv.dilation == (1, 1) and conv.groups == 1
    sizes = (conv.kernel_size, conv.stride, conv.padding)
    if not plain or sizes != ((size, size), (stride, stride), (padding, padding)):
        raise UnsupportedNetwork(f"{name} is {conv}")
    if conv.padding_mode not in PADDINGS:
        raise UnsupportedNetwork(f"{name} pads by '{conv.padding_mode}'")
    return cast(nn.Conv2d, conv)


def _norm(name: str, norm: Any) -> nn.GroupNorm:
    _plain(name, norm, nn.GroupNorm)
    return cast(nn.GroupNorm, norm)


def _activation(name: str, holder: Any, attribute: str) -> nn.Module:
    """Of a part that names it; the `ldm` layout has SiLU in its code."""
    activation = getattr(holder, attribute, SILU)
    if type(activation) not in ACTIVATIONS:
        raise UnsupportedNetwork(f"{name} is a {_kind(activation)}")
    return cast(nn.Module, activation)


def _resnet(name: str, block: Any, around: Holders) -> Part:
    """A residual block."""
    activation = _activation(f"{name}.nonlinearity", block, "nonlinearity")
    for attribute, plain in (("output_scale_factor", 1), ("upsample", None), ("downsample", None)):
        if getattr(block, attribute, plain) != plain:
            raise UnsupportedNetwork(f"{name} has an {attribute} of its own")
    side = getattr(block, "nin_shortcut", None) or getattr(block, "conv_shortcut", None)
    if side is not None:
        side = _convolution(f"{name}'s shortcut", side, 1, 1, 0)
    first, second = (_convolution(f"{name}.conv{i}", getattr(block, f"conv{i}"), 3, 1, 1) for i in (1, 2))
    norms = [_norm(f"{name}.norm{i}", getattr(block, f"norm{i}")) for i in (1, 2)]
    holders = (*around, block)
    tasks: list[Task] = [
        Convolve(first, norms[0], activation, opens=True, shortcut=side, holders=holders),
        Convolve(second, norms[1], activation, closes=True, holders=holders),
    ]
    return Part(name, block, block, tasks)


def _attention(name: str, block: Any, around: Holders) -> list[Part]:
    if block is None or type(block) is nn.Identity:
        return []
    holders = (*around, block)
    if hasattr(block, "proj_out") and hasattr(block, "q"):
        layers, heads, norm = [block.q, block.k, block.v, block.proj_out], 1, block.norm
    elif hasattr(block, "to_out") and block.rescale_output_factor == 1 and block.residual_connection:
        layers, heads, norm = (
            [block.to_q, block.to_k, block.to_v, block.to_out[0]],
            block.heads,
            block.group_norm,
        )
    else:
        raise UnsupportedNetwork(f"{name} is a {_kind(block)}")
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            _convolution(f"a layer of {name}", layer, 1, 1, 0)
        else:
            _plain(f"a layer of {name}", layer, nn.Linear)
    query, key, value, out = layers
    tasks: list[Task] = [Attend(_norm(f"{name}'s norm", norm), query, key, value, out, heads, holders)]
    return [Part(name, block, block, tasks)]


def _resizing(name: str, sampler: Any, resize: int, around: Holders) -> Part:
    stride, padding = (2, 0) if resize == DOWN else (1, 1)
    conv = _convolution(f"{name}.conv", sampler.conv, 3, stride, padding)
    return Part(name, sampler, sampler, [Convolve(conv, resize=resize, holders=(*around, sampler))])


def _start(net: Any) -> Part:
    conv = _convolution("conv_in", net.conv_in, 3, 1, 1)
    return Part("conv_in", conv, conv, [Convolve(conv, holders=(net,))])


def _end(net: Any, norm_name: str) -> Part:
    norm, conv = _norm(norm_name, getattr(net, norm_name)), _convolution("conv_out", net.conv_out, 3, 1, 1)
    activation = _activation("conv_act", net, "conv_act")
    return Part("conv_out", norm, conv, [Convolve(conv, norm, activation, holders=(net,))])


def _level(name: str, level: Any, names: tuple[str, str], around: Holders) -> Iterator[Part]:
    """Residual blocks with attention between them, or not."""
    blocks, attentions = getattr(level, names[0]), getattr(level, names[1], None) or ()
    for index, block in enumerate(blocks):
        yield _resnet(f"{name}.{names[0]}.{index}", block, around)
        if len(attentions):
            yield from _attention(f"{name}.{names[1]}.{index}", attentions[index], around)


def _ldm(net: Any, decodes: bool) -> Iterator[Part]:
    def middle() -> Iterator[Part]:
        around = (net, net.mid)
        yield _resnet("mid.block_1", net.mid.block_1, around)
        yield from _attention("mid.attn_1", net.mid.attn_1, around)
        yield _resnet("mid.block_2", net.mid.block_2, around)

    yield _start(net)
    if decodes:
        yield from middle()
    levels = list(enumerate(net.up if decodes else net.down))
    name, sampler, resize = ("up", "upsample", UP) if decodes else ("down", "downsample", DOWN)
    for index, level in reversed(levels) if decodes else levels:
        around = (net, level)
        yield from _level(f"{name}.{index}", level, ("block", "attn"), around)
        if hasattr(level, sampler):
            yield _resizing(f"{name}.{index}.{sampler}", getattr(level, sampler), resize, around)
    if not decodes:
        yield from middle()
    yield _end(net, "norm_out")


def _diffusers(net: Any, decodes: bool) -> Iterator[Part]:
    def middle() -> Iterator[Part]:
        mid = net.mid_block
        if mid is None:
            return
        for index, block in enumerate(mid.resnets):
            if index and mid.attentions:
                yield from _attention(
                    f"mid_block.attentions.{index - 1}", mid.attentions[index - 1], (net, mid)
                )
            yield _resnet(f"mid_block.resnets.{index}", block, (net, mid))

    yield _start(net)
    if decodes:
        yield from middle()
    name, samplers, resize = (
        ("up_blocks", "upsamplers", UP) if decodes else ("down_blocks", "downsamplers", DOWN)
    )
    for index, level in enumerate(getattr(net, name)):
        around = (net, level)
        yield from _level(f"{name}.{index}", level, ("resnets", "attentions"), around)
        for number, sampler in enumerate(getattr(level, samplers) or ()):
            yield _resizing(f"{name}.{index}.{samplers}.{number}", sampler, resize, around)
    if not decodes:
        yield from middle()
    yield _end(net, "conv_norm_out")


def _check_forwards(net: nn.Module, program: Program) -> None:
    """Nothing but the modules' own forwards, as they are in evaluation, would run."""
    if torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks:
        raise UnsupportedNetwork("torch has a hook for every module")
    if (words := strange_forward(net)) is not None:  # hooks around it run all the same
        raise UnsupportedNetwork(f"the network {words}")
    used = {module for task in program.tasks for module in modules_of(task)} - {net}
    for name, module in net.named_modules():
        if module in used and (words := stranger(module)) is not None:
            raise UnsupportedNetwork(f"{name} {words}")
        if isinstance(module, nn.Dropout) and module.p and module.training:
            raise UnsupportedNetwork(f"{name} drops values")


def recognise(net: nn.Module) -> Program:
    """The tasks that `net`, an Encoder or Decoder, works off in its forward.

    Raises:
        UnsupportedNetwork: it is of neither layout, or has a part that neither layout has.
    """
    layout, pairs = (
        (_ldm, ("up", "down")) if hasattr(net, "mid") else (_diffusers, ("up_blocks", "down_blocks"))
    )
    known = [name for name in pairs if isinstance(getattr(net, name, None), nn.ModuleList)]
    if len(known) != 1:
        raise UnsupportedNetwork(f"a {_kind(net)} is neither an encoder nor a decoder of a known layout")
    if getattr(net, "give_pre_end", False) or getattr(net, "tanh_out", False):
        raise UnsupportedNetwork("a decoder that ends otherwise")
    try:
        program = Program(list(layout(net, known[0] == pairs[0])), known[0] == pairs[0])
    except (AttributeError, TypeError, IndexError) as error:
        raise UnsupportedNetwork(f"{_kind(net)}: {error}") from error
    _check_forwards(net, program)
    return program
