"""Calls, of networks and of the pipeline itself."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from diffusers.utils.torch_utils import unwrap_module
from torch import nn

from tile_utils import patching


def bound(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """A network call's arguments by name, whichever way they were given."""
    signature = inspect.signature(type(unwrap_module(module)).forward)
    call = dict(signature.bind(module, *args, **kwargs).arguments)
    del call[next(iter(signature.parameters))]  # self
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            call.update(call.pop(parameter.name, {}))
    return call


@contextmanager
def around_calls(
    pipe: Any, around: Callable[[dict[str, Any]], AbstractContextManager[None]]
) -> Iterator[None]:
    """Let every call of the pipeline run inside `around(its arguments by name)`."""
    original = type(pipe).__call__

    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        with around(dict(inspect.signature(original).bind_partial(self, *args, **kwargs).arguments)):
            return original(self, *args, **kwargs)

    with patching.instance_class(pipe, __call__=call):
        yield
