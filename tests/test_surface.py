"""Windows on planes, cylinders and tori: what is read, what is added, and that nothing else is touched."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tile_utils.surface import Surface, Window, add, read, read_all

WRAPS = [(False, False), (False, True), (True, False), (True, True)]


@st.composite
def windows(draw, wraps=None):
    """A surface, a window on it, and a scale."""
    height, width, scale = (
        draw(st.integers(1, 40)),
        draw(st.integers(1, 40)),
        draw(st.sampled_from([1, 2, 8])),
    )
    wraps = draw(st.sampled_from(WRAPS)) if wraps is None else wraps
    h, w = draw(st.integers(1, height)), draw(st.integers(1, width))
    y = draw(st.integers(-height, 2 * height) if wraps[0] else st.integers(0, height - h))
    x = draw(st.integers(-width, 2 * width) if wraps[1] else st.integers(0, width - w))
    return Surface(height, width, wraps), Window(y, x, h, w), scale


def canvas(surface, scale=1):
    size = (surface.height * scale, surface.width * scale)
    return torch.arange(2.0 * size[0] * size[1]).view(2, *size)


def test_a_window_across_both_joins():
    surface = Surface(3, 4, (True, True))
    tensor = torch.arange(12).view(3, 4)
    assert read(tensor, Window(2, 3, 2, 3), surface).tolist() == [[11, 8, 9], [3, 0, 1]]
    assert read(tensor, Window(-1, -1, 2, 3), surface).tolist() == [[11, 8, 9], [3, 0, 1]]
    add(tensor, torch.full((2, 2), 100), Window(2, 3, 2, 2), surface)
    assert tensor.tolist() == [[100, 1, 2, 103], [4, 5, 6, 7], [108, 9, 10, 111]]


def test_a_picture_is_cut_at_its_own_scale():
    surface, picture = Surface(2, 3), torch.arange(2 * 8 * 3 * 8).view(16, 24)
    assert torch.equal(read(picture, Window(1, 1, 1, 2), surface, scale=8), picture[8:16, 8:24])


@given(windows())
def test_what_is_read_is_what_rolling_brings_to_the_corner(case):
    surface, window, scale = case
    tensor = canvas(surface, scale)
    rolled = tensor.roll((-window.y * scale, -window.x * scale), (-2, -1))
    assert torch.equal(
        read(tensor, window, surface, scale), rolled[..., : window.h * scale, : window.w * scale]
    )


@given(windows())
def test_adding_touches_the_window_alone_and_each_pixel_once(case):
    surface, window, scale = case
    tensor = torch.zeros_like(canvas(surface, scale))
    add(tensor, 1, window, surface, scale)
    assert tensor.sum() == 2 * window.h * window.w * scale**2
    assert tensor.max() == 1
    assert (read(tensor, window, surface, scale) == 1).all()
    part = torch.randn(2, window.h * scale, window.w * scale)
    add(tensor, part, window, surface, scale)
    assert torch.allclose(read(tensor, window, surface, scale), part + 1)


@given(windows(wraps=(False, False)), st.sampled_from(["y", "x"]), st.booleans())
def test_a_window_that_leaves_a_plane_is_refused(case, axis, beyond):
    surface, window, scale = case
    size = surface.height if axis == "y" else surface.width
    outside = Window(**{**vars(window), axis: size if beyond else -1})
    with pytest.raises(ValueError, match="does not lie"):
        read(canvas(surface, scale), outside, surface, scale)
    with pytest.raises(ValueError, match="does not lie"):
        add(canvas(surface, scale), 1, outside, surface, scale)


def test_the_sentence_names_the_axis():
    with pytest.raises(ValueError, match="^2 … 5 does not lie on an axis of 4$"):
        read(torch.zeros(8, 4), Window(0, 2, 8, 3), Surface(8, 4))


def test_a_window_larger_than_what_it_wraps_around_is_refused():
    with pytest.raises(ValueError, match="does not lie"):
        read(torch.zeros(4, 4), Window(0, 1, 4, 5), Surface(4, 4, (True, True)))


def test_rows_come_in_their_order():
    surface, tensor = Surface(1, 3), torch.tensor([[[0, 1, 2]], [[10, 11, 12]]])
    both = read_all(tensor, [Window(0, 0, 1, 2), Window(0, 1, 1, 2)], surface)
    assert both.tolist() == [[[0, 1]], [[1, 2]], [[10, 11]], [[11, 12]]]
