"""Convolutions joined by axis, and Tiled VAE of seamless pictures against the untiled network."""

import pytest
import torch
from torch import nn

from tests.vae_networks import input_for, network
from tile_methods.joins import Joins, joined, wraps_of
from tile_methods.vae.run import run

SOME = [(False, True), (True, False), (True, True)]


class OfItsOwn(nn.Conv2d):
    """With a forward of its own that asks torch's."""

    def forward(self, x):
        return super().forward(x)


class PastTheInstance(nn.Conv2d):
    """As Forge's layers that cast nothing."""

    def forward(self, x):
        return super()._conv_forward(x, self.weight, self.bias)


@pytest.mark.parametrize("kind", [nn.Conv2d, OfItsOwn, PastTheInstance])
@pytest.mark.parametrize("wraps", SOME)
@pytest.mark.parametrize(("stride", "padding"), [(1, 1), (2, 1), (1, 2)])
def test_a_joined_convolution_pads_each_axis_by_itself(kind, wraps, stride, padding):
    conv, x = kind(2, 3, 2 * padding + 1, stride, padding), torch.randn(1, 2, 8, 12)
    expected = x
    for pad, around in zip(((0, 0, padding, padding), (padding, padding, 0, 0)), wraps):
        expected = nn.functional.pad(expected, pad, mode="circular" if around else "constant")
    expected = nn.functional.conv2d(expected, conv.weight, conv.bias, stride)
    before = dict(vars(conv))
    conv.padding_mode = "circular"  # the host's "Tiling"; the marker does not care
    with joined([conv], Joins(wraps)):
        assert wraps_of(conv) == wraps
        assert torch.allclose(conv(x), expected, atol=1e-6)
    assert wraps_of(conv) == (True, True)
    conv.padding_mode = "zeros"
    assert vars(conv) == before


def test_joins_may_change_from_call_to_call():
    conv, x, joins = nn.Conv2d(1, 1, 3, padding=1), torch.randn(1, 1, 6, 6), Joins()
    plain = conv(x)
    with joined([conv], joins):
        assert torch.equal(conv(x), plain)
        joins.wraps = (True, True)
        assert torch.allclose(conv(x.roll((2, 3), (-2, -1))), conv(x).roll((2, 3), (-2, -1)), atol=1e-6)
        assert not torch.allclose(conv(x), plain)
    assert torch.equal(conv(x), plain)


@pytest.mark.parametrize("layout", ["ldm", "diffusers"])
@pytest.mark.parametrize("kind", ["Decoder", "Encoder"])
def test_a_joined_network_rolls(layout, kind):
    """Whatever is rolled in comes out rolled: no edge is left, nor in an encoder's downsampling."""
    net, x = network(layout, kind), input_for(kind, 16, 24)
    unit, scale = (1, 8) if kind == "Decoder" else (8, 1 / 8)
    x = x[..., : 16 * unit, : 24 * unit]
    by = [3 * unit, 5 * unit]
    with joined([net], Joins((True, True))):
        rolled = net(x.roll(by, (-2, -1)))
        assert (rolled - net(x).roll([int(k * scale) for k in by], (-2, -1))).abs().max() <= 1e-4
    assert (net(x.roll(by, (-2, -1))) - rolled).abs().max() > 1e-3


@pytest.mark.parametrize("wraps", SOME)
@pytest.mark.parametrize("layout", ["ldm", "diffusers"])
@pytest.mark.parametrize("kind", ["Decoder", "Encoder"])
def test_exact_is_joined_as_the_untiled_network_is(layout, kind, wraps, caplog):
    net, x = network(layout, kind), input_for(kind, 20, 33)
    tile = 8 if kind == "Decoder" else 64
    with joined([net], Joins(wraps)):
        expected = net(x)
        out = run(net, x, tile_size=tile)
    assert (out - expected).abs().max() <= 1e-4
    assert (net(x) - expected).abs().max() > 1e-3
    assert not caplog.records


def jumps(picture, axis):
    """Mean difference between the first and last pixels of an axis over that of all neighbours."""
    rolled = picture.roll(1, axis)
    steps = (picture - rolled).abs().movedim(axis, 0).flatten(1).mean(1)
    return (steps[0] / steps[1:].mean()).item()


@pytest.mark.parametrize("wraps", SOME)
@pytest.mark.parametrize("kind", ["Decoder", "Encoder"])
def test_fast_tiles_are_joined_too(kind, wraps):
    net, x = network("ldm", kind), input_for(kind, 24, 32)
    unit = 1 if kind == "Decoder" else 8
    x = x[..., : 24 * unit, : 32 * unit]
    with joined([net], Joins(wraps)):
        whole = net(x)
        out = run(net, x, tile_size=8 * unit, mode="fast")
    assert (out - whole).square().mean().sqrt() <= 0.2 * whole.std()
    for axis, around in zip((-2, -1), wraps):
        if around:  # a decoder's rows and columns come in eights
            assert abs(jumps(out, axis) - jumps(whole, axis)) < 0.1
