"""Noise schedules that depend on the picture's size: that of a tile, since it is tiles that the network sees.

From 1024² to 4096² Flux's last of 28 sigmas goes from 0.1 to 0.9997: drawn so, nothing but noise is left.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tile_utils import patching

CLOSE = 1e-6


def _linear(config: Any, last: float) -> Callable[[int, int | None], float]:
    """`mu` of so many tokens as Flux and Stable Diffusion 3 have it: a line through two points."""
    first_length, length = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    first, last = config.get("base_shift", 0.5), config.get("max_shift", last)
    slope = (last - first) / (length - first_length)
    start = first - slope * first_length
    return lambda tokens, steps: tokens * slope + start


def _empirical(tokens: int, steps: int | None) -> float:
    """The same as Flux.2 has it: a line at 200 steps, one at 10, and between them by the number of steps."""
    at_200, at_10 = 0.00016927 * tokens + 0.45666666, 8.73809524e-05 * tokens + 1.89833333
    if tokens > 4300 or steps is None:
        return at_200
    return at_10 + (at_200 - at_10) / 190 * (steps - 10)


def of_tile(mu: float, tokens: tuple[int, int], steps: int | None, config: Any) -> float:
    """`mu` of a tile, if that given is what a formula says of the canvas; else it is the user's own, and stays.

    Args:
        tokens: of the canvas, of a tile.
    """
    canvas, tile = tokens
    if canvas == tile:
        return mu
    for formula in (_linear(config, 1.15), _linear(config, 1.16), _empirical):
        if abs(formula(canvas, steps) - mu) < CLOSE:
            return formula(tile, steps)
    return mu


@contextmanager
def of_tiles(pipe: Any, tokens: Callable[[int, int], tuple[int, int]]) -> Iterator[None]:
    """During one call of the pipeline: its scheduler is set up for tiles.

    Args:
        tokens: of a picture's height and width, in pixels: (tokens of the canvas, of a tile).
    """
    scheduler: Any = getattr(pipe, "scheduler", None)
    sizes: list[tuple[int, int]] = []
    set_up = getattr(scheduler, "set_timesteps", None)
    if set_up is None or "mu" not in inspect.signature(set_up).parameters:
        yield
        return

    def noting(check: Callable[..., Any]) -> Callable[..., Any]:
        def check_inputs(*args: Any, **kwargs: Any) -> Any:
            given = inspect.signature(check).bind(*args, **kwargs).arguments
            if isinstance(given.get("height"), int) and isinstance(given.get("width"), int):
                sizes[:] = [tokens(given["height"], given["width"])]
            return check(*args, **kwargs)

        return check_inputs

    def scheduling(original: Callable[..., Any]) -> Callable[..., Any]:
        def set_timesteps(*args: Any, **kwargs: Any) -> Any:
            call = inspect.signature(original).bind(*args, **kwargs)
            given = call.arguments
            if given.get("mu") is not None and sizes:
                sigmas = given.get("sigmas")
                steps = len(sigmas) if sigmas is not None else given.get("num_inference_steps")
                given["mu"] = of_tile(given["mu"], sizes[0], steps, scheduler.config)
            return original(*call.args, **call.kwargs)

        return set_timesteps

    with ExitStack() as stack:
        if hasattr(pipe, "check_inputs"):
            stack.enter_context(patching.wrapped(pipe, "check_inputs", noting))
        stack.enter_context(patching.wrapped(scheduler, "set_timesteps", scheduling))
        yield
