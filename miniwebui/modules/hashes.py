"""Hashes of model files, remembered while the program runs."""

import hashlib
import os

_known: dict[tuple[str, float, int], str] = {}


def calculate_sha256(filename: str) -> str:
    digest = hashlib.sha256()
    with open(filename, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256(filename: str, title: str, use_addnet_hash: bool = False) -> str:
    """The file's SHA-256, read again only when the file has changed. `title` is the WebUI's cache key."""
    stat = os.stat(filename)
    key = (os.path.abspath(filename), stat.st_mtime, stat.st_size)
    if key not in _known:
        _known[key] = calculate_sha256(filename)
    return _known[key]
