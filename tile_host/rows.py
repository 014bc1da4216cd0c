"""Which of a denoiser step's rows a model call is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Text = Any
"""What one row is told: its text condition, a tensor [tokens, channels] or a dict of tensors (SDXL)."""


@dataclass(frozen=True)
class Asked:
    """Which rows a model call is about.

    Args:
        step: of the prompts' schedules; it may lie between two.
        rows: numbers of a step's texts: first the conds, picture by picture, then the unconds.
    """

    step: float
    rows: tuple[int, ...]


class RowCursor:
    """Follows a host that sends a step's rows in one call or in several, and may leave out the unconds, but always in
    one order: every call goes on where the last one of its step ended. What comes after the host has its answers, from
    other extensions, is about rows that were asked about before."""

    def __init__(self) -> None:
        self._step: int | None = None
        self._cursor = 0
        self._told: list[Tensor] = []  # to the rows of this step so far
        self._answered = False

    def answered(self) -> None:
        """The host has asked all that it asks in this step; only it knows whether it leaves out the unconds."""
        self._answered = True

    def next(self, step: int, rows: Sequence[int], count: int, told: Sequence[Tensor]) -> Asked:
        """The next call.

        Args:
            rows: all that the host would ask about in this step, in its order.
            count: rows of the call.
            told: their text, [tokens, channels] each.
        """
        if step != self._step:
            self._step, self._cursor, self._answered = step, 0, False
            self._told.clear()
        if self._answered or self._cursor + count > len(rows):
            start = self._asked_before(len(rows), told)
        else:
            start = self._cursor
            self._cursor += count
            self._told.extend(told)
        return Asked(step, tuple(rows[start : start + count]))

    def _asked_before(self, rows: int, told: Sequence[Tensor]) -> int:
        """The first of the rows that an extension asks about once more (self-attention guidance and its like): those of
        the same text, else the last ones."""
        for start in range(len(self._told) - len(told) + 1):
            before = self._told[start : start + len(told)]
            if all(row.shape == asked.shape and torch.equal(row, asked) for row, asked in zip(before, told)):
                return start
        return max(0, rows - len(told))
