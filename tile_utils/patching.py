"""Reversible patches, each a context manager for an ExitStack: whatever happens, they are undone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_ABSENT = object()


@contextmanager
def attribute(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Set an attribute on the instance; afterwards give back the instance's own value, or none if it had none."""
    before = vars(owner).get(name, _ABSENT)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if before is _ABSENT:
            vars(owner).pop(name, None)
        else:
            setattr(owner, name, before)


@contextmanager
def instance_class(instance: Any, **members: Any) -> Iterator[None]:
    """Give one instance a subclass of its class with `members`: the way to patch a property of one object."""
    original = type(instance)
    instance.__class__ = type(original.__name__, (original,), members)
    try:
        yield
    finally:
        instance.__class__ = original


@contextmanager
def closed_with(owner: Any, undo: Callable[[], None]) -> Iterator[None]:
    """Call `undo` before the owner's own `close`.

    The host closes its processing object after errors too, when it calls no hook of a script.
    """
    host_close = owner.close

    def close() -> None:
        undo()
        host_close()

    with attribute(owner, "close", close):
        yield
