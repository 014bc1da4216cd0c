"""CLIP's tokenizer, made from the vocabulary that the package `clip-anytorch` carries: nothing is downloaded."""

from __future__ import annotations

import gzip
import importlib.util
from functools import cache
from pathlib import Path

from transformers import CLIPTokenizer

MERGES = 49152 - 256 - 2
"""Merges of the vocabulary file that CLIP uses; it holds more."""


def _vocabulary_file() -> Path:
    """Found without importing the package, whose own imports need torchvision."""
    spec = importlib.util.find_spec("clip")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            "the package clip-anytorch, which holds CLIP's vocabulary, is not installed"
        )
    return Path(next(iter(spec.submodule_search_locations))) / "bpe_simple_vocab_16e6.txt.gz"


def _byte_letters() -> list[str]:
    """The printable letter that stands for each byte, printable bytes first (GPT-2's byte-level BPE)."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(256 - len(printable))]


@cache
def clip_tokenizer() -> CLIPTokenizer:
    """Stable Diffusion 1.x's tokenizer: 49,408 tokens, 77 a prompt, padded with <|endoftext|>."""
    lines = gzip.decompress(_vocabulary_file().read_bytes()).decode().split("\n")
    merges = [tuple(line.split()) for line in lines[1 : MERGES + 1]]
    letters = _byte_letters()
    tokens = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={token: index for index, token in enumerate(tokens)},
        merges=merges,
        unk_token="<|endoftext|>",
        bos_token="<|startoftext|>",
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        model_max_length=77,
    )
