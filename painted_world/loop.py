"""One training loop for every network: averaged weights, a cosine schedule, resumable, on the CPU or a GPU.

On the CPU each core has a process of its own, and gradients are averaged once a step. One process with many threads
would wait for its slowest thread in every operation: on a machine with other work a step takes ten times as long.
"""

from __future__ import annotations

import copy
import logging
import math
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from painted_world import files

logger = logging.getLogger(__name__)

WARM_UP, LAST_SHARE = 100, 0.02
"""Steps until the full learning rate (a tenth of all steps, if that is less), and the share that is left at the end."""
SAVE_SECONDS = 120.0


@dataclass(frozen=True)
class Settings:
    """How one network is trained.

    Attributes:
        start: file that the job reads its first weights from, if any.
        base: hash of the file that the training stands on, such as the checkpoint under a LoRA; "" for none. On another
            one it begins anew.
        first: file of this very network to begin with, where `start` is what it stands on.
    """

    name: str
    work: Path
    seed: int
    steps: int
    rate: float
    device: str
    workers: int
    start: Path | None = None
    base: str = ""
    first: Path | None = None


class Job(Protocol):
    """What is trained: the networks, the loss of one step's batch, and a line about how good they are."""

    networks: nn.ModuleDict

    def loss(self, done: float, generator: torch.Generator) -> Tensor:
        """`done`: 0 ... 1; `generator`: on the CPU, different in every process and at every step."""

    def report(self, average: nn.ModuleDict) -> str: ...


def pick_device(wanted: str = "auto") -> str:
    """`wanted`, or the GPU if there is one."""
    return wanted if wanted != "auto" else "cuda" if torch.cuda.is_available() else "cpu"


def worker_count(device: str) -> int:
    """Processes that share a step: one a core, at most four; one on a GPU."""
    return min(4, os.cpu_count() or 1) if device == "cpu" else 1


def averaged_weights(settings: Settings) -> dict[str, Tensor]:
    """What a training that has ended, or was interrupted, has reached: averages, by network and tensor."""
    weights: dict[str, Tensor] = files.load(state_path(settings))["average"]
    return weights


def is_finished(settings: Settings) -> bool:
    path = state_path(settings)
    return path.exists() and bool(files.load(path)["step"] >= settings.steps)


def stands_on_its_base(settings: Settings) -> bool:
    """Whether there is a saved training, on what `settings.base` names. Older states, which do not know, count too."""
    path = state_path(settings)
    return path.exists() and files.load(path).get("base") in (None, "", settings.base)


def _set_aside_what_stands_on_another_base(settings: Settings) -> None:
    path = state_path(settings)
    if path.exists() and not stands_on_its_base(settings):
        kept = path.replace(path.with_suffix(".old"))
        logger.warning(
            "%s: begins anew, because what it stands on has changed (%s)", settings.name, kept.name
        )


def train(make: Callable[[Settings, int], Job], settings: Settings) -> None:
    """Train until `settings.steps`, going on from the last saved state.

    Args:
        make: a function of a module, called in every process with the settings and the number of processes.
    """
    _set_aside_what_stands_on_another_base(settings)
    if is_finished(settings):
        logger.info("%s: trained already", settings.name)
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    if settings.workers == 1:
        _work(0, make, settings, port)
        return
    torch.multiprocessing.spawn(_work, (make, settings, port), settings.workers)


def state_path(settings: Settings) -> Path:
    return settings.work / f"{settings.name}.pt"


def _work(rank: int, make: Callable[[Settings, int], Job], settings: Settings, port: int) -> None:
    """One of the processes."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if settings.workers > 1:
        torch.set_num_threads(1)
        address = f"tcp://127.0.0.1:{port}"
        dist.init_process_group("gloo", address, rank=rank, world_size=settings.workers)
    torch.manual_seed(settings.seed)
    job = make(settings, settings.workers)
    _Run(job, settings, rank).to_the_end()
    if settings.workers > 1:
        dist.destroy_process_group()


class _Run:
    def __init__(self, job: Job, settings: Settings, rank: int) -> None:
        self.job, self.settings, self.rank = job, settings, rank
        self.parameters = [p for p in job.networks.parameters() if p.requires_grad]
        self.average = copy.deepcopy(job.networks).requires_grad_(False)
        self.optimiser = torch.optim.AdamW(
            self.parameters, lr=settings.rate, betas=(0.9, 0.99), weight_decay=1e-3
        )
        self.step, self.seconds = 0, 0.0
        if state_path(settings).exists():
            self._restore(files.load(state_path(settings)))

    def to_the_end(self) -> None:
        settings, shown, saved = self.settings, 0.0, time.monotonic()
        first, start = self.step, saved
        while self.step < settings.steps:
            done = self.step / settings.steps
            seed = (settings.seed * 1_000_003 + self.step) * 64 + self.rank
            loss = self.job.loss(done, torch.Generator().manual_seed(seed))
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            self._average_gradients()
            torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
            warm = min(1.0, (self.step + 1) / min(WARM_UP, 1 + settings.steps // 10))
            cosine = LAST_SHARE + (1 - LAST_SHARE) * 0.5 * (1 + math.cos(math.pi * done))
            self.optimiser.param_groups[0]["lr"] = settings.rate * warm * cosine
            self.optimiser.step()
            self.step, shown = self.step + 1, 0.98 * shown + 0.02 * loss.item()
            if self.rank:
                continue
            self._update_average()
            now = time.monotonic()
            if now - saved > SAVE_SECONDS or self.step == settings.steps:
                self.seconds, saved = self.seconds + now - start, now
                start = now
                self._save()
                mean = shown / (1 - 0.98 ** (self.step - first))
                report = self.job.report(self.average)
                logger.info(
                    "%s: step %d, %.0f s, loss %.4f%s", settings.name, self.step, self.seconds, mean, report
                )

    def _average_gradients(self) -> None:
        if self.settings.workers == 1:
            return
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.settings.workers
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view(gradient.shape))

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(0.998, self.step / (self.step + 20))
        for mean, value in zip(self.average.parameters(), self.job.networks.parameters(), strict=True):
            if value.requires_grad:
                mean.lerp_(value, 1 - decay)

    def _save(self) -> None:
        state: dict[str, Any] = {
            "base": self.settings.base,
            "step": self.step,
            "seconds": self.seconds,
            "average": self.average.state_dict(),
            "networks": self.job.networks.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        files.save(state, state_path(self.settings))

    def _restore(self, state: dict[str, Any]) -> None:
        self.step, self.seconds = state["step"], state["seconds"]
        self.average.load_state_dict(state["average"])
        self.job.networks.load_state_dict(state["networks"])
        self.optimiser.load_state_dict(state["optimiser"])
