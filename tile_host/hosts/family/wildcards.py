"""Extensions that write other words in the place of wildcards: asked by their own hook, for a region's prompts."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import Any

FILES = ("wildcards.py", "dynamic_prompting.py")
"""Scripts of AUTOMATIC1111/stable-diffusion-webui-wildcards and of adieyal/sd-dynamic-prompts."""
ALL_OF_THEM = "is_combinatorial"
"""The argument of the latter by which it draws a picture for every combination; a region has one for each picture."""


def resolved(p: Any, prompt: str, negative: str, seeds: Sequence[int]) -> list[tuple[str, str]]:
    """See `protocol.Words.resolved`."""
    found = p.scripts.alwayson_scripts if p.scripts else []
    scripts = [script for script in found if os.path.basename(script.filename) in FILES]
    texts = []
    for seed in seeds:
        words = (prompt, negative)
        for script in scripts:
            words = _written_by(script, p, words, seed)
        texts.append(words)
    return texts


def _written_by(script: Any, p: Any, words: tuple[str, str], seed: int) -> tuple[str, str]:
    """What the script makes of these words as those of a picture of its own, of which nothing else is kept."""
    picture = copy.copy(p)
    picture.prompt, picture.negative_prompt = words
    picture.all_prompts, picture.all_negative_prompts = [words[0]], [words[1]]
    picture.seed, picture.all_seeds = seed, [seed]
    picture.subseed, picture.all_subseeds = seed, [seed]
    picture.n_iter = picture.batch_size = 1
    picture.enable_hr = False
    picture.all_hr_prompts = picture.all_hr_negative_prompts = None
    picture.extra_generation_params = {}
    args = list(p.script_args[script.args_from : script.args_to])
    names = list(signature(script.process).parameters)[1:]
    if ALL_OF_THEM in names[: len(args)]:
        args[names.index(ALL_OF_THEM)] = False
    with _kept(getattr(script, "_prompt_writer", None)):
        script.process(picture, *args)
    return picture.all_prompts[0], picture.all_negative_prompts[0]


@contextmanager
def _kept(writer: Any) -> Iterator[None]:
    """What it will write into a file are the picture's prompts, not a region's."""
    before = dict(vars(writer)) if writer is not None else {}
    try:
        yield
    finally:
        if writer is not None:
            vars(writer).clear()
            vars(writer).update(before)
