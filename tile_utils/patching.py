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
        _give_back(owner, name, before)


def _give_back(owner: Any, name: str, before: Any) -> None:
    if before is _ABSENT:
        vars(owner).pop(name, None)
    else:
        setattr(owner, name, before)


@contextmanager
def instance_class(instance: Any, **members: Any) -> Iterator[None]:
    """Give one instance a subclass of its class with `members`: the way to patch a property of one object.

    Where another extension has put a class of its own upon ours, ours stays below it, without its members.
    """
    original = type(instance)
    patched = type(original.__name__, (original,), members)
    instance.__class__ = patched
    try:
        yield
    finally:
        for name in members:
            delattr(patched, name)
        if type(instance) is patched:
            instance.__class__ = original


@contextmanager
def closed_with(owner: Any, undo: Callable[[], None]) -> Iterator[None]:
    """Call `undo` before the owner's own `close`.

    The host closes its processing object after errors too, when it calls no hook of a script.
    """
    host_close, before, active = owner.close, vars(owner).get("close", _ABSENT), True

    def close() -> None:
        if active:
            undo()
        host_close()

    owner.close = close
    try:
        yield
    finally:
        active = False
        if vars(owner).get("close") is close:  # else another extension has wrapped it: its wrapper stays
            _give_back(owner, "close", before)
