"""How much memory there is, and how much is in use."""

from __future__ import annotations

import os
from typing import Any

import torch

from modules import shared


def system_memory() -> dict[str, Any]:
    """Bytes of the machine, and of this process, as Linux tells them."""
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        with open("/proc/self/statm", encoding="ascii") as file:
            used = int(file.read().split()[1]) * page
        total = os.sysconf("SC_PHYS_PAGES") * page
        return {"free": total - used, "used": used, "total": total}
    except (OSError, ValueError, AttributeError) as error:
        return {"error": str(error)}


def cuda_memory() -> dict[str, Any]:
    if not torch.cuda.is_available():
        return {"error": "unavailable"}
    free, total = torch.cuda.mem_get_info()
    stats = torch.cuda.memory_stats(shared.device)

    def of(kind: str) -> dict[str, int]:
        return {name: stats[f"{kind}.all.{name}"] for name in ("current", "peak")}

    return {
        "system": {"free": free, "used": total - free, "total": total},
        "active": of("active_bytes"),
        "allocated": of("allocated_bytes"),
        "reserved": of("reserved_bytes"),
        "inactive": of("inactive_split_bytes"),
        "events": {"retries": stats["num_alloc_retries"], "oom": stats["num_ooms"]},
    }
