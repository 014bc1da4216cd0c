"""A VAE's encoder or decoder as a list of tasks.

Between tasks the whole feature map must be known: its statistics for the next GroupNorm, its neighbours for the next
convolution, everything for attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import nn

from tile_methods.joins import Wraps, wraps_of
from tile_methods.vae.spans import DOWN, SAME, UP, output_length

Shape = Sequence[int]
SILU = nn.SiLU()


class UnsupportedNetwork(ValueError):
    """The network has a part that no task stands for; the message names it."""


@dataclass(frozen=True)
class Convolve:
    """GroupNorm and activation (if `norm`), resizing, a 3x3 convolution.

    A residual block is two of these: the first `opens` it (what came in, through the 1x1 `shortcut` if there is one,
    is put aside), the second `closes` it (what was put aside is added).
    """

    conv: nn.Conv2d
    norm: nn.GroupNorm | None = None
    activation: nn.Module = SILU
    resize: int = SAME  # UP: nearest neighbour, twice, before; DOWN: stride 2, padded below and on the right
    opens: bool = False
    shortcut: nn.Conv2d | None = None
    closes: bool = False
    holders: tuple[nn.Module, ...] = field(default=(), compare=False)  # modules around, from the outermost

    @property
    def wraps(self) -> Wraps:
        """(down, across): does the convolution go on at the opposite edge?"""
        return wraps_of(self.conv)


@dataclass(frozen=True)
class Attend:
    """GroupNorm and self-attention over all pixels, added to what came in."""

    norm: nn.GroupNorm
    query: nn.Module
    key: nn.Module
    value: nn.Module
    out: nn.Module
    heads: int = 1
    holders: tuple[nn.Module, ...] = field(default=(), compare=False)


Task = Convolve | Attend


@dataclass(frozen=True)
class Part:
    """A module of the network, or a chain of them, and the tasks that stand for it.

    `first` is given what the part is given, `last` returns what the part returns.
    """

    name: str
    first: nn.Module
    last: nn.Module
    tasks: list[Task]


@dataclass(frozen=True)
class Program:
    """All parts of a network in order; `decodes`: does it make pictures of latents?"""

    parts: list[Part]
    decodes: bool

    @property
    def tasks(self) -> list[Task]:
        return [task for part in self.parts for task in part.tasks]


def resize_of(task: Task) -> int:
    """UP, DOWN or SAME."""
    return SAME if isinstance(task, Attend) else task.resize


def modules_of(task: Task) -> list[nn.Module]:
    """Whose forward the task stands for, holders before what they hold."""
    own: list[nn.Module | None] = (
        [task.norm, task.query, task.key, task.value, task.out]
        if isinstance(task, Attend)
        else [task.norm, task.conv, task.shortcut]
    )
    return [*task.holders, *(module for module in own if module is not None)]


def output_shape(task: Task, shape: Shape) -> tuple[int, int, int, int]:
    """[N, C, H, W] of what a task makes of a feature map of this shape."""
    images, channels, height, width = shape
    if isinstance(task, Convolve):
        channels = task.conv.out_channels
    resize = resize_of(task)
    return images, channels, output_length(resize, height), output_length(resize, width)


def shapes_of(tasks: Sequence[Task], shape: Shape) -> list[Shape]:
    """[N, C, H, W] of what goes in, and of what comes out of each task."""
    shapes = [shape]
    for task in tasks:
        shapes.append(output_shape(task, shapes[-1]))
    return shapes


def scale_of(tasks: Sequence[Task]) -> tuple[int, int]:
    """(how many times larger, how many times smaller) the tasks make a picture."""
    resizes = [resize_of(task) for task in tasks]
    return 2 ** resizes.count(UP), 2 ** resizes.count(DOWN)
