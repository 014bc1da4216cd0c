"""Hashes of model files, remembered while the program runs."""

import hashlib
import os

_known: dict[tuple[str, float, int, bool], str] = {}


def calculate_sha256(filename: str) -> str:
    digest = hashlib.sha256()
    with open(filename, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def addnet_hash_safetensors(b) -> str:
    """kohya's hash of an open safetensors file: the tensors without the header, which training notes change."""
    header_size = int.from_bytes(b.read(8), "little")
    b.seek(8 + header_size)
    return hashlib.sha256(b.read()).hexdigest()


def sha256(filename: str, title: str, use_addnet_hash: bool = False) -> str:
    """The SHA-256 of a file, or kohya's hash, read again only when it has changed. `title`: the WebUI's cache key."""
    stat = os.stat(filename)
    key = (os.path.abspath(filename), stat.st_mtime, stat.st_size, use_addnet_hash)
    if key not in _known:
        if use_addnet_hash:
            with open(filename, "rb") as file:
                _known[key] = addnet_hash_safetensors(file)
        else:
            _known[key] = calculate_sha256(filename)
    return _known[key]
