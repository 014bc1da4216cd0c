"""A sampling pass: what the samplers of the WebUI and its forks have in common."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor

from modules import rng, sd_samplers_common
from tile_host.hosts.family import job
from tile_utils import patching

SEEDS = 4294967294
"""The host draws seeds below this."""
LONG_MEMORY = ("LMS", "LMS Karras")
"""Samplers that weigh the newest of four steps twice and more."""


class PassOfFamily:
    """See `protocol.Sampling`."""

    @contextmanager
    def followed(self, p: Any, after: Callable[[], None]) -> Iterator[None]:
        def with_end(method: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                try:
                    return method(*args, **kwargs)
                finally:
                    after()

            return call

        with ExitStack() as patches:
            for method in job.SAMPLING:
                patches.enter_context(patching.wrapped(p.sampler, method, with_end))
            yield

    def is_hires(self, p: Any) -> bool:
        return bool(getattr(p, "is_hr_pass", False))

    def steps_of_a_grid(self, p: Any) -> int:
        return 2 if p.sampler.config.name in LONG_MEMORY else 1

    def needed(self, p: Any) -> Tensor | None:
        if getattr(p, "nmask", None) is None or p.mask is None:
            return None
        return (p.nmask != 0).flatten(0, -3).any(dim=0)

    def img2img_steps(self, p: Any) -> tuple[int, int]:
        return sd_samplers_common.setup_img2img_steps(p)

    def seeded_noise(self, seed: int, shape: tuple[int, ...], like: Tensor) -> Tensor:
        return rng.randn_local(seed, shape).to(like)

    def drawn_seed(self, p: Any, index: int) -> int:
        """The page's seed fixes the whole picture."""
        return random.Random(f"{p.all_seeds[0]}/{index}").randrange(SEEDS)
