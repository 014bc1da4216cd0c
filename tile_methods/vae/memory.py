"""How much memory there is, and what running out of it looks like; see `plan` for how much is needed."""

from __future__ import annotations

import contextlib
import os
import weakref
from pathlib import Path

import torch
from torch import Tensor

try:
    import psutil
except ImportError:  # Linux tells without it; elsewhere nobody does, and everything fits
    psutil = None

RESERVE = 0.85
"""Part of the free memory that may be planned for."""
MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
CGROUP_FILES = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        "total_inactive_file",
    ),
)
"""Of version 2 and of version 1: the limit, what is used, and the part of it that are caches of files."""
OUT_OF_MEMORY_WORDS = (
    "out of memory",  # CUDA, pinned memory, HIP, MPS, XPU
    "out_of_memory",
    "out_of_device_memory",
    "out_of_host_memory",
    "out_of_resources",
    "alloc_failed",  # cuDNN, cuBLAS, cuSOLVER
    "cudaerrormemoryallocation",
    "can't allocate memory",  # the CPU's allocator
    "not enough memory",  # the same on Windows
    "could not allocate tensor",  # DirectML
    "not enough gpu video memory",
    "bad_alloc",
    "bad allocation",
)


class OutOfMemory(torch.cuda.OutOfMemoryError):
    """Even the smallest tile did not fit.

    A kind of torch's error, by the name that torch has had since 2.0; `torch.OutOfMemoryError` came with 2.5.
    """


def is_out_of_memory(error: BaseException) -> bool:
    """Does the error say that memory could not be had, on whichever device?"""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in OUT_OF_MEMORY_WORDS)


class Pinned:
    """Counts our pinned memory: torch keeps what is freed for the next who asks, and that is us.

    `unused` is how many bytes it keeps so.
    """

    def __init__(self) -> None:
        self.unused = 0

    @staticmethod
    def block_size(size: int) -> int:
        """What `size` bytes take: torch hands out pinned memory in powers of two."""
        return 1 << (size - 1).bit_length()

    def hold(self, kept: Tensor) -> None:
        """Count a tensor until it is gone."""
        size = self.block_size(kept.numel() * kept.element_size())
        self.unused = max(0, self.unused - size)
        weakref.finalize(kept, self._freed, size)

    def _freed(self, size: int) -> None:
        self.unused += size

    def give_back(self) -> None:
        """To the system, as far as this torch can."""
        empty = getattr(torch._C, "_host_emptyCache", None)
        if empty is not None and torch.cuda.is_available():
            empty()
            self.unused = 0


PINNED = Pinned()


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be allocated on a device, or None where nobody tells."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    if device.type != "cpu":
        return None
    told = [free for free in (_free_in_system(), _free_in_container()) if free is not None]
    return min(told) + PINNED.unused if told else None


def _free_in_system() -> int | None:
    """Bytes that the system has or would take from its caches."""
    if psutil is not None:
        return int(psutil.virtual_memory().available)
    try:
        lines = MEMINFO.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        known = "SC_AVPHYS_PAGES" in getattr(os, "sysconf_names", {})
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if known else None


def _free_in_container() -> int | None:
    """Bytes that the container which we run in (a cgroup) may still take, or None without a limit."""
    for limit_file, used_file, stat_file, cache_line in CGROUP_FILES:
        with contextlib.suppress(OSError, ValueError, StopIteration):
            limit, used = (int((CGROUP / name).read_text()) for name in (limit_file, used_file))
            lines = (CGROUP / stat_file).read_text().splitlines()
            cached = next(int(line.split()[1]) for line in lines if line.startswith(cache_line + " "))
            return max(0, limit - used + cached)
    return None


def fits(size: int, device: torch.device) -> bool:
    """Can `size` bytes be had on the device? Where nobody tells, yes."""
    free = free_memory(device)
    return free is None or size <= RESERVE * free
