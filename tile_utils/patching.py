"""Reversible patches, each a context manager for an ExitStack: whatever happens, they are undone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
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


class _Wrapper:
    """A method put before another one, on an instance; `below` only, once it has left."""

    def __init__(self, owner: Any, name: str, make: Decorator) -> None:
        self.before = vars(owner).get(name, _ABSENT)
        self._below: Callable[..., Any] = getattr(owner, name)
        self.__wrapped__ = self._below  # its signature is what callers look at
        self._method = make(self._below)
        self.has_left = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return (self._below if self.has_left else self._method)(*args, **kwargs)


@contextmanager
def wrapped(owner: Any, name: str, make: Decorator) -> Iterator[None]:
    """Put `make(method)` in place of an instance's method, which it may call.

    Wrappers of one method may leave in any order: one that lies under another lets everything through, until those
    above it have left.
    """
    wrapper = _Wrapper(owner, name, make)
    setattr(owner, name, wrapper)
    try:
        yield
    finally:
        wrapper.has_left = True
        while isinstance(top := vars(owner).get(name), _Wrapper) and top.has_left:
            _give_back(owner, name, top.before)


def below_wrappers(owner: Any, name: str) -> Any:
    """The instance's own attribute as it is without the wrappers of `wrapped`, or None if it has none."""
    found = vars(owner).get(name, _ABSENT)
    while isinstance(found, _Wrapper):
        found = found.before
    return None if found is _ABSENT else found


def closed_with(owner: Any, undo: Callable[[], None]) -> AbstractContextManager[None]:
    """Call `undo` before the owner's own `close`.

    The host closes its processing object after errors too, when it calls no hook of a script.
    """

    def undoing(host_close: Callable[[], None]) -> Callable[[], None]:
        def close() -> None:
            undo()
            host_close()

        return close

    return wrapped(owner, "close", undoing)
