"""A lock that is handed on in the order in which it was asked for."""

from __future__ import annotations

import collections
import threading
from typing import Any


class FIFOLock:
    """As threading.Lock, first come, first served."""

    def __init__(self) -> None:
        self._inner = threading.Lock()
        self._taken = False
        self._waiting: collections.deque[threading.Event] = collections.deque()

    def acquire(self, blocking: bool = True) -> bool:
        with self._inner:
            if not self._taken:
                self._taken = True
                return True
            if not blocking:
                return False
            turn = threading.Event()
            self._waiting.append(turn)
        turn.wait()  # the one before hands the lock over without letting go of it
        return True

    def release(self) -> None:
        with self._inner:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._taken = False

    __enter__ = acquire

    def __exit__(self, t: Any, v: Any, tb: Any) -> None:
        self.release()
