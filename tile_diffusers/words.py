"""What regions say: their prompts, joined to the pipeline's own, encoded by its `encode_prompt`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from tile_diffusers.adapters import Adapters, key_of
from tile_diffusers.settings import Region
from tile_methods.patch import Patch
from tile_utils import patching
from tile_utils.settings import SettingsError

Path = tuple[str, ...]
Encoding = list[Tensor]
"""What `encode_prompt` gives: text, pooled text, masks, of the prompt and the negative prompt, each [rows, ...]."""
TEXT = ("encoder_hidden_states",)
UNKNOWN = (
    "tiled_diffusion: what this pipeline tells its denoiser is not what its encode_prompt gave, so regions cannot be "
    "told their own words; draw without regions."
)
LENGTHS = (
    "tiled_diffusion: the prompt was given as embeddings of another length than a region's prompt has; give the "
    "prompt as text."
)
ALIKE = (
    "tiled_diffusion: the prompt and the negative prompt say the same, and this pipeline asks about each alone; with "
    "regions, let them differ."
)


class Words:
    """What the regions of one pipeline say. The rows of a denoiser's call are recognised by their text, since pipelines
    ask in one call or in several, in orders of their own.

    Args:
        regions: by the number of their words.
    """

    def __init__(self, pipe: Any, regions: Mapping[int, Region], adapters: Adapters) -> None:
        self._pipe, self._adapters = pipe, adapters
        self._regions = {number: region for number, region in regions.items() if region.has_words}
        self._main: list[Encoding] = []  # of each call of encode_prompt
        self._own: list[dict[int, Encoding]] = []
        self._found: dict[
            Hashable, tuple[Tensor, list[Tensor] | None]
        ] = {}  # with the tensor, so that it stays

    @contextmanager
    def listening(self) -> Iterator[None]:
        """During one call of the pipeline: what it encodes is encoded for the regions too."""
        if not self._regions:
            yield
            return
        if not hasattr(self._pipe, "encode_prompt"):
            kind = type(self._pipe).__name__
            raise SettingsError(f"tiled_diffusion: a {kind} has no encode_prompt, which regions need.")
        try:
            with patching.wrapped(self._pipe, "encode_prompt", self._encoding):
                yield
        finally:
            self._main.clear()
            self._own.clear()
            self._found.clear()

    def _encoding(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def encode_prompt(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            signature = inspect.signature(original)
            call = dict(signature.bind(*args, **kwargs).arguments)
            both = "negative_prompt" in signature.parameters
            own = {}
            with self._adapters.kept() as switch:
                for number, region in self._regions.items():
                    switch.use(key_of(region.adapters))
                    told = [region.prompt, region.negative_prompt]
                    if not both:  # the pipeline asks twice, for the negative prompt last
                        told = [told[bool(self._main)], ""]
                    own[number] = _tensors(self._encoded(original, call, told))
            self._main.append(_tensors(result))
            self._own.append(own)
            return result

        return encode_prompt

    def _encoded(self, original: Callable[..., Any], call: Mapping[str, Any], told: Sequence[str]) -> Any:
        """What `encode_prompt` makes of a call with a region's words.

        Raises:
            SettingsError: it cannot encode any, since its encoders have been taken away.
        """
        try:
            return original(**_joined(call, *told))
        except (AttributeError, TypeError, ValueError) as error:
            encoders = [
                name for name in self._pipe.components if name.startswith(("tokenizer", "text_encoder"))
            ]
            missing = [repr(name) for name in encoders if getattr(self._pipe, name) is None]
            if call.get("prompt_embeds") is None or not missing:
                raise
            raise SettingsError(
                "tiled_diffusion: a region's prompt cannot be encoded, for the pipeline has no "
                f"{' and no '.join(missing)}; load what encodes prompts, or give regions no words."
            ) from error

    def find(self, cond: Mapping[str, Any], rows: int) -> dict[Path, list[Tensor]]:
        """Where a call's condition has what was encoded: by path, for each region's number what it says there instead.

        Raises:
            SettingsError: the text was not encoded by the pipeline.
        """
        if not self._regions:
            return {}
        found = {}
        for path, value in _leaves(cond):
            if value.ndim and len(value) == rows and (own := self._instead(value)) is not None:
                found[path] = own
        if TEXT not in found:
            raise SettingsError(UNKNOWN)
        return found

    def _instead(self, value: Tensor) -> list[Tensor] | None:
        """What each region says in the place of a tensor [rows, ...], or None if it is not known."""
        candidates = [
            (call, at, row)
            for call, main in enumerate(self._main)
            # The negative rows come first where a call has both.
            for at, encoded in sorted(enumerate(main), key=lambda pair: -pair[0])
            if encoded.shape[1:] == value.shape[1:]
            for row in range(len(encoded))
        ]
        if not candidates:
            return None
        key = value.data_ptr(), tuple(value.shape)  # pipelines give another view of the same at every step
        if key not in self._found:
            picks = self._picks(value, candidates)
            own = None if picks is None else [self._rows_of(number, picks, value) for number in self._regions]
            self._found[key] = value, own
        return self._found[key][1]

    def _picks(
        self, value: Tensor, candidates: Sequence[tuple[int, int, int]]
    ) -> list[tuple[int, int, int]] | None:
        """Which encoded row each row is; of equal ones each takes the first that is left."""
        picks: list[tuple[int, int, int]] = []
        for row in value:
            same = [
                (call, at, i)
                for call, at, i in candidates
                if torch.equal(self._main[call][at][i].to(row), row)
            ]
            if not same:
                return None
            picks.append(next((one for one in same if one not in picks), same[0]))
            if (
                len(value) < len(candidates)
                and len({(call, at) for call, at, _ in same}) > 1
                and value.ndim > 2
            ):
                raise SettingsError(ALIKE)
        return picks

    def _rows_of(self, number: int, picks: Sequence[tuple[int, int, int]], value: Tensor) -> Tensor:
        rows = [self._own[call][number][at][i] for call, at, i in picks]
        if any(row.shape != value.shape[1:] for row in rows):
            raise SettingsError(LENGTHS)
        return torch.stack(rows).to(value)

    def tell(
        self, patches: Sequence[Patch], told: dict[str, Any], found: Mapping[Path, Sequence[Tensor]]
    ) -> dict[str, Any]:
        """What a batch is told, each patch its own words, from what the main prompt tells all of them."""
        numbers = [patch.words for patch in patches]
        order = {number: i for i, number in enumerate(self._regions)}
        if not order.keys() & set(numbers):
            return told
        for path, own in found.items():
            holder: dict[str, Any] = told
            for key in path[:-1]:
                holder = holder[key]
            parts = holder[path[-1]].unflatten(0, (-1, len(patches))).clone()
            for at, number in enumerate(numbers):
                if number in order:
                    parts[:, at] = own[order[number]]
            holder[path[-1]] = parts.flatten(0, 1)
        return told


def _leaves(cond: Mapping[str, Any], path: Path = ()) -> Iterator[tuple[Path, Tensor]]:
    for key, value in cond.items():
        if isinstance(value, Tensor):
            yield (*path, key), value
        elif isinstance(value, dict):
            yield from _leaves(value, (*path, key))


def _tensors(result: Any) -> Encoding:
    values = result if isinstance(result, (tuple, list)) else [result]
    return [value for value in values if isinstance(value, Tensor)]


def _joined(call: Mapping[str, Any], prompt: str, negative: str) -> dict[str, Any]:
    """The arguments of `encode_prompt` with a region's words behind each prompt; what was given as embeddings, which
    nothing can be joined to, is replaced."""
    own = {**call, **call.get("kwargs", {})}
    own.pop("kwargs", None)
    embeddings = call.get("prompt_embeds")
    rows = len(embeddings) if embeddings is not None else 1
    for name, value in list(own.items()):
        if name.endswith("_embeds"):
            own[name] = None
        elif name.startswith(("prompt", "negative_prompt")) and value is not None:
            words = negative if name.startswith("negative") else prompt
            own[name] = (
                [_both(one, words) for one in value] if isinstance(value, list) else _both(value, words)
            )
    if call.get("prompt") is None:
        own["prompt"] = [prompt] * rows
    if call.get("negative_prompt") is None and (negative or call.get("negative_prompt_embeds") is not None):
        own["negative_prompt"] = negative
    if isinstance(own["prompt"], list) and isinstance(own.get("negative_prompt"), str):
        own["negative_prompt"] = [own["negative_prompt"]] * len(own["prompt"])
    return own


def _both(main: str, own: str) -> str:
    return ", ".join(part for part in (main, own) if part.strip())
