"""The host that this runs in, chosen once, when the host loads the scripts."""

from __future__ import annotations

from tile_host.hosts import detect
from tile_host.hosts.protocol import Host


def _opened() -> Host:
    """The adapter's module is imported only in its own host."""
    if detect.host_name() in (detect.FORGE, detect.REFORGE):
        from tile_host.hosts.forge import FORGE

        return FORGE
    from tile_host.hosts.a1111 import A1111

    return A1111


host = _opened()
