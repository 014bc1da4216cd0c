"""The sessions of a script's generations. There may be several: an extension may draw within a hook of another's."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Generic, Protocol, TypeVar

from modules import shared
from tile_utils import patching


class Closing(Protocol):
    """A session: what it has patched is undone by `close`."""

    def close(self) -> None: ...


Session = TypeVar("Session", bound=Closing)


class Running(Generic[Session]):
    """Which session belongs to which of the host's processing objects; each is closed with its object at the latest."""

    def __init__(self) -> None:
        # the host's object, its job, our session, what closes the session
        self._entries: list[tuple[Any, Any, Session, ExitStack]] = []

    def add(self, p: Any, session: Session) -> None:
        """From now on `session` is that of `p`."""
        stack = ExitStack()
        stack.callback(session.close)
        stack.enter_context(patching.closed_with(p, lambda: self.end(p)))
        self._entries.append((p, shared.state.time_start, session, stack))

    def of(self, p: Any) -> Session | None:
        """The session of this object."""
        return next((session for owner, _, session, _ in self._entries if owner is p), None)

    def end(self, p: Any) -> None:
        """Close the session of this object, if it has one."""
        self._end(lambda owner, job: owner is p)

    def begin(self, p: Any) -> None:
        """The generation of `p` begins: close what errors of the host have left of its last one, and of other jobs."""
        self._end(lambda owner, job: owner is p or job != shared.state.time_start)

    def _end(self, is_over: Callable[[Any, Any], bool]) -> None:
        for entry in reversed(self._entries.copy()):
            p, job, _, stack = entry
            if is_over(p, job):
                self._entries = [other for other in self._entries if other is not entry]
                stack.close()
