"""What stands between a click or a request and the work: one at a time, errors in words, time taken."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from modules import devices, errors, fifo_lock, progress, shared

queue_lock = fifo_lock.FIFOLock()
SECONDS_PER_MINUTE = 60


def wrap_gradio_gpu_call(func: Callable, extra_outputs: list | None = None) -> Callable:
    """func as a job that draws; a first argument "task(...)" is its id, by which progress can be asked for."""

    @wraps(func)
    def f(*args: Any, **kwargs: Any) -> Any:
        named = args and isinstance(args[0], str) and re.fullmatch(r"task\(.*\)", args[0], re.DOTALL)
        id_task = args[0] if named else None
        with running(id_task, id_task):
            return func(*args, **kwargs)

    return wrap_gradio_call(f, extra_outputs, True)


@contextmanager
def running(job: str | None, id_task: str | None) -> Iterator[None]:
    """A job that draws, once nobody else does; its progress can be asked for by `id_task`."""
    if id_task is not None:
        progress.add_task_to_queue(id_task)
    with queue_lock:
        shared.state.begin(job=job)
        progress.start_task(id_task)
        try:
            yield
        finally:
            progress.finish_task(id_task)
            shared.state.end()


def wrap_gradio_call(func: Callable, extra_outputs: list | None = None, add_stats: bool = False) -> Callable:
    """func for the page, after which nothing counts as running."""

    @wraps(func)
    def f(*args: Any, **kwargs: Any) -> Any:
        try:
            return func(*args, **kwargs)
        finally:
            state = shared.state
            state.skipped = state.interrupted = state.stopping_generation = False
            state.job_count, state.job = 0, ""

    return wrap_gradio_call_no_job(f, extra_outputs, add_stats)


def wrap_gradio_call_no_job(
    func: Callable, extra_outputs: list | None = None, add_stats: bool = False
) -> Callable:
    """func for the page: what it raises is shown in its last output, which is HTML, and logged.

    `extra_outputs` are the outputs before the last one after an error.
    """

    @wraps(func)
    def f(*args: Any, extra_outputs_array: list | None = extra_outputs, **kwargs: Any) -> tuple:
        start = time.perf_counter()
        try:
            res = list(func(*args, **kwargs))
        except Exception as error:
            errors.report("Error completing request", exc_info=True)
            before = [None, ""] if extra_outputs_array is None else extra_outputs_array
            message = html.escape(f"{type(error).__name__}: {error}")
            res = [*before, f"<div class='error'>{message}</div>"]
        devices.torch_gc()
        if add_stats:
            taken = _duration(time.perf_counter() - start)
            res[-1] += f"<div class='performance'><p class='time'>Time taken: {taken}</p></div>"
        return tuple(res)

    return f


def _duration(seconds: float) -> str:
    minutes, rest = divmod(seconds, SECONDS_PER_MINUTE)
    text = f"{rest:.1f} sec."
    return f"{minutes:.0f} min. {text}" if minutes else text
