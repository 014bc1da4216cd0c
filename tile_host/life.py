"""The life of a generation, from the host's first hook to its last: begin, passes, end; closed whatever happens.

There may be several at once: an extension may draw within a hook of another's.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Generic, TypeVar

from tile_host.door import host
from tile_utils import patching


class Generation:
    """What a script does in one generation. What it changes goes onto `stack`, and is undone when that is closed."""

    def __init__(self) -> None:
        self.stack = ExitStack()

    def begin(self, p: Any) -> None:
        """Before the host prepares anything."""
        raise NotImplementedError


G = TypeVar("G", bound=Generation)


class Lives(Generic[G]):
    """A script's generations, by the host's processing objects."""

    def __init__(self) -> None:
        self._entries: list[tuple[Any, Any, G]] = []  # the host's object, its job, ours

    def begin(self, p: Any, make: Callable[[], G | None]) -> None:
        """A generation of `p` begins, with what `make` gives; an error of either ends the host's generation.

        What errors of the host have left of its last one, and of other jobs, is closed first.
        """
        job = host.job.number()
        self._end(lambda owner, its_job: owner is p or its_job != job)
        try:
            generation = make()
            if generation is None:
                return
            self._entries.append((p, job, generation))
            generation.stack.enter_context(patching.closed_with(p, lambda: self._left(p)))
            generation.begin(p)
        except Exception as error:
            self.end(p)
            host.job.fail(p, error)

    def begin_pass(self, p: Any, begin: Callable[[G], None]) -> None:
        """Call `begin` with the generation of `p`, if it has one; an error ends the host's pass."""
        generation = self.of(p)
        if generation is None:
            return
        try:
            begin(generation)
        except Exception as error:
            self.end(p)
            host.job.fail_pass(p, error)

    def of(self, p: Any) -> G | None:
        """The generation of this object."""
        return next((generation for owner, _, generation in self._entries if owner is p), None)

    def end(self, p: Any) -> None:
        """The generation of this object, if it has one, is over."""
        self._end(lambda owner, job: owner is p)

    def _left(self, p: Any) -> None:
        """The host has closed `p` before its last hook: it failed, or was stopped."""
        self.end(p)
        host.controls.release(p)

    def _end(self, is_over: Callable[[Any, Any], bool]) -> None:
        for entry in reversed(self._entries.copy()):
            if is_over(*entry[:2]):
                self._entries = [other for other in self._entries if other is not entry]
                entry[2].stack.close()
