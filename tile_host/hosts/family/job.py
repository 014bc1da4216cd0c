"""The job at hand: how it ends, how far it is, and what the person is told."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NoReturn

from torch import Tensor

from modules import sd_samplers_common, shared
from tile_host.hosts import controlnet
from tile_utils import patching

logger = logging.getLogger("Tiled Diffusion")
SAMPLING = ("sample", "sample_img2img")
"""The methods of the host's sampler that go through the steps of a pass."""


def number() -> Hashable:
    return shared.state.time_start


def _fail(p: Any, owner: Any, methods: tuple[str, ...], error: Exception) -> None:
    """Make the host's next call of one of `methods` on `owner` raise `error`, once.

    The host logs exceptions of script hooks and goes on without the script. A person who switched the script on
    must see why it cannot work, so the error is raised where the host does not swallow it.
    """

    def fail(*_args: Any, **_kwargs: Any) -> NoReturn:
        for method in methods:
            vars(owner).pop(method, None)
        controlnet.release(p)
        raise error

    for method in methods:
        setattr(owner, method, fail)


def fail(p: Any, error: Exception) -> None:
    _fail(p, p, ("init",), error)


def fail_pass(p: Any, error: Exception) -> None:
    _fail(p, p.sampler, SAMPLING, error)


def interrupted() -> bool:
    return bool(shared.state.interrupted or shared.state.skipped)


def stop_if_interrupted() -> None:
    if interrupted():
        raise sd_samplers_common.InterruptedException


def is_interruption(error: BaseException) -> bool:
    return isinstance(error, sd_samplers_common.InterruptedException)


def tell(p: Any, sentence: str) -> None:
    if sentence not in p.comments:
        logger.warning("%s", sentence)
        p.comment(sentence)


def is_stopped() -> bool:
    return bool(shared.state.interrupted)


def presses_told(told: Callable[[], None]) -> AbstractContextManager[None]:
    def telling(host_interrupt: Callable[[], None]) -> Callable[[], None]:
        def interrupt() -> None:
            told()
            host_interrupt()

        return interrupt

    return patching.wrapped(shared.state, "interrupt", telling)


def progress_hidden() -> bool:
    return bool(shared.cmd_opts.disable_console_progressbars)


def more_passes(p: Any, steps: Sequence[int]) -> None:
    bar = getattr(shared.total_tqdm, "_tqdm", None)
    total = shared.state.job_count * p.steps if bar is None else bar.total
    shared.state.job_count += len(steps) * p.n_iter
    shared.total_tqdm.updateTotal(total + sum(steps) * p.n_iter)


def next_pass() -> None:
    shared.state.nextjob()


def report(text: str | None) -> None:
    shared.state.textinfo = text


def report_steps(name: str, done: int, steps: int) -> None:
    state = shared.state
    state.sampling_step, state.sampling_steps = done, steps
    report(f"{name}: step {done} of {steps}")


def report_nothing() -> None:
    report(None)
    shared.state.sampling_step = shared.state.current_image_sampling_step = 0


def preview(denoised: Tensor) -> None:
    sd_samplers_common.store_latent(denoised)
