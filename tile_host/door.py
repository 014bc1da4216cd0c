"""The host that this runs in, chosen once, when the host loads the scripts."""

from tile_host.hosts.a1111 import A1111

host = A1111
