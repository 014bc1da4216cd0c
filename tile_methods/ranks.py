"""Work that is shared out over the processes ("ranks") of a `torch.distributed` group.

All of them make the same calls, with the same sizes; a rank that fails, leaves or hangs ends the others with a
sentence. Without a group there is one rank, and every method gives back what it was given.
"""

from __future__ import annotations

import contextlib
import socket
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")
SENTENCE = 400
"""Bytes of what ranks tell each other when one has failed."""
DRIFT = 0.05
"""How far ranks' latents may lie apart, over the largest value: rounding on different devices is less, another seed
more."""

Kind = tuple[Callable[[BaseException], bool], Callable[[str], BaseException]]
"""A kind of failure: (is it this error?, the error that it is on the other ranks)."""


class RankError(RuntimeError):
    """Another rank failed, is gone or does something else; the message says which.

    `kind` is the number of its kind of failure (see `Ranks.together`), 0 is any other.
    """

    def __init__(self, message: str, kind: int = 0) -> None:
        super().__init__(message)
        self.kind = kind


def shared_out(costs: Sequence[float], size: int) -> list[int]:
    """The rank of each piece of work: the largest first, each to the rank that has least."""
    load, rank_of = [0.0] * size, [0] * len(costs)
    for piece in sorted(range(len(costs)), key=lambda piece: -costs[piece]):
        rank_of[piece] = min(range(size), key=load.__getitem__)
        load[rank_of[piece]] += costs[piece]
    return rank_of


class Ranks:
    """The ranks of a group, as one of them sees them.

    Before they exchange anything they meet: each says whether it is well, and what it is about to do. So whoever fails
    need only come to the next meeting, wherever the others are.

    Args:
        group: a group of `torch.distributed` (`torch.distributed.group.WORLD`), or None: there is no other rank.

    Raises:
        TypeError: the group is none.
        ValueError: this process is not in it.
    """

    def __init__(self, group: Any = None) -> None:
        self._group = group
        self.rank, self.size = 0, 1
        if group is None:
            return
        if not dist.is_available() or not isinstance(group, dist.ProcessGroup):
            raise TypeError(
                f"group is {group!r}; allowed are None and a group of torch.distributed, such as "
                "torch.distributed.group.WORLD after init_process_group."
            )
        self.rank, self.size = dist.get_rank(group), dist.get_world_size(group)
        if self.rank < 0:
            raise ValueError(
                "This process is not in the group; only the group's processes may share its work."
            )

    # -- what can be done together -------------------------------------------------------------------------------

    def share(self, work: Sequence[T], cost: Callable[[T], float]) -> list[T]:
        """Our share of pieces of work that cost so much each, as all ranks reckon it."""
        ranks = shared_out([cost(one) for one in work], self.size)
        return [one for one, rank in zip(work, ranks) if rank == self.rank]

    def gathered(self, own: Tensor) -> list[Tensor]:
        """Each rank's tensor; all have one shape and type."""
        if self.size == 1:
            return [own]
        self.meet(f"gathering {tuple(own.shape)} of {own.dtype}")
        return [one.to(own.device) for one in self._all_gather(own)]

    def joined(self, own: Tensor, dim: int) -> Tensor:
        """Each rank's tensor, one after the other along `dim`, where their lengths may differ."""
        if self.size == 1:
            return own
        lengths = [int(one) for one in self.gathered(torch.tensor([own.shape[dim]]))]
        shape = list(own.shape)
        shape[dim] = sum(lengths)
        self.meet(f"joining to {tuple(shape)} of {own.dtype}")
        out, start = torch.empty(shape, dtype=own.dtype, device=own.device), 0
        for rank, length in enumerate(lengths):
            shape[dim] = length
            part = self._sent(own) if rank == self.rank else self._empty(shape, own.dtype)
            self._broadcast(part, rank)
            out.narrow(dim, start, length).copy_(part)
            start += length
        return out

    def summed(self, own: Sequence[Tensor]) -> list[Tensor]:
        """The sums over all ranks of tensors of one shape; equal to the bit on all of them."""
        if self.size == 1:
            return list(own)
        together = self._sent(torch.stack(list(own)))
        self.meet(f"adding {tuple(together.shape)}")
        self._try(lambda: dist.all_reduce(together, group=self._group))
        return list(together.to(own[0].device).unbind())

    def widest(self, own: Tensor) -> Tensor:
        """`own` in half precision, or in float32 if any rank's is that."""
        return own.float() if self.any(own.dtype == torch.float32) else own

    def any(self, flag: bool) -> bool:
        """Is it so on any rank?"""
        return flag if self.size == 1 else any(bool(one) for one in self.gathered(torch.tensor([int(flag)])))

    def same(self, x: Tensor, work: str) -> Tensor:
        """The first rank's `x`, on which all do this work: rounding must not let ranks drift apart.

        Raises:
            ValueError: this rank's lies too far away to be meant as the same.
        """
        if self.size == 1:
            return x
        self.meet(f"{work} {tuple(x.shape)} of {x.dtype}")
        first = self._sent(x).clone()
        self._broadcast(first, 0)
        first = first.to(x.device)
        if torch.equal(first, x):
            return x  # a copy would be held for as long as the work lasts
        if bool(((first - x).abs() > DRIFT * first.abs().max()).any()):  # NaN is no difference
            raise ValueError(
                f"Rank {self.rank} was given another picture than rank 0 for {work}; give the pipeline a generator "
                "with the same seed on all ranks."
            )
        return first

    @property
    def beside(self) -> int:
        """How many ranks have this machine's memory, this one included."""
        name = torch.tensor([zlib.crc32(socket.gethostname().encode())])
        return sum(bool(one == name) for one in self.gathered(name))

    # -- failing together ----------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def together(self, kinds: Sequence[Kind] = ()) -> Iterator[None]:
        """An error within it is told to the others, which raise at their next meeting: an error of the same one of
        `kinds`, or a `RankError`."""
        try:
            yield
        except RankError as error:
            if not 0 < error.kind <= len(kinds):
                raise
            told = kinds[error.kind - 1][1](str(error))
            told._told_to_ranks = True  # type: ignore[attr-defined]
            raise told from None
        except BaseException as error:
            if self.size > 1 and not hasattr(error, "_told_to_ranks"):
                error._told_to_ranks = True  # type: ignore[attr-defined]
                kind = next((number for number, (fits, _) in enumerate(kinds, 1) if fits(error)), 0)
                with contextlib.suppress(RankError):
                    self._say(1 + kind, f"{type(error).__name__}: {error}")
            raise

    def meet(self, place: str) -> None:
        """Go on when all ranks are at this place.

        Raises:
            RankError: another rank has failed, is elsewhere, is gone, or does not answer within the group's timeout.
        """
        if self.size == 1:
            return
        codes, texts = self._say(0, place)
        failed = next((rank for rank, code in enumerate(codes) if code), None)
        if failed is not None:
            raise RankError(f"Rank {failed} failed: {texts[failed]}", codes[failed] - 1)
        if texts:
            places = "; ".join(f"rank {rank} is at {text}" for rank, text in enumerate(texts))
            raise RankError(f"Ranks must make the same calls with the same sizes, and do not: {places}.")

    def _say(self, code: int, text: str) -> tuple[list[int], list[str]]:
        """(each rank's code, each rank's text, if not all say the same)"""
        own = torch.tensor([code, zlib.crc32(text.encode())])
        told = [one.tolist() for one in self._all_gather(own)]
        codes = [one[0] for one in told]
        if not any(codes) and all(one == told[0] for one in told):
            return codes, []
        line = torch.zeros(SENTENCE, dtype=torch.uint8)
        known = text.encode()[:SENTENCE]
        line[: len(known)] = torch.tensor(list(known), dtype=torch.uint8)
        texts = self._all_gather(line)
        return codes, [bytes(one.tolist()).rstrip(b"\0").decode(errors="replace") for one in texts]

    # -- torch.distributed ---------------------------------------------------------------------------------------

    @property
    def _device(self) -> torch.device:
        """Where the group's backend wants what is sent."""
        cuda = dist.get_backend(self._group) == "nccl"
        return torch.device("cuda", torch.cuda.current_device()) if cuda else torch.device("cpu")

    def _sent(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._device).contiguous()

    def _empty(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        return torch.empty(list(shape), dtype=dtype, device=self._device)

    def _all_gather(self, own: Tensor) -> list[Tensor]:
        sent = self._sent(own)
        got = [torch.empty_like(sent) for _ in range(self.size)]
        self._try(lambda: dist.all_gather(got, sent, group=self._group))
        return got

    def _broadcast(self, tensor: Tensor, rank: int) -> None:
        source = dist.get_global_rank(self._group, rank)
        self._try(lambda: dist.broadcast(tensor, source, group=self._group))

    def _try(self, exchange: Callable[[], Any]) -> None:
        try:
            exchange()
        except RuntimeError as error:
            late = "timed out" in str(error).lower() or "timeout" in str(error).lower()
            what = "did not answer within the group's timeout" if late else "is gone"
            raise RankError(f"Another rank than rank {self.rank} {what} ({error}).") from error


ALONE = Ranks()
