"""What CUDA promises about the order of copies, and no more: a model without a GPU.

A side stream works in its own order; it knows of others only what events and waits tell it. The CPU knows that
something is done only where it waits for it. Within the model, "cuda" tensors and pinned ones are the CPU's, every
operation notes which stream (or the CPU) reads and writes which memory, and a read that nothing puts after the write
is counted in `races`.

A copy between device and pinned memory is queued on the current stream if both sides are one piece of memory; else
torch copies on the CPU, at once (`copy_requires_temporaries` in aten/src/ATen/native/cuda/Copy.cpp).
"""

from contextlib import contextmanager

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CPU = "the CPU"


class Event:
    def __init__(self, clock=None):
        self.clock = clock


class Stream:
    """`clock`: what is known to be done, as how many operations of each stream."""

    def __init__(self, model):
        self.model, self.clock = model, {}

    def wait_stream(self, other):
        self._learn(other.clock)

    def wait_event(self, event):
        self._learn(event.clock)

    def record_event(self):
        return Event(dict(self.clock))

    def _learn(self, clock):
        for stream, count in clock.items():
            self.clock[stream] = max(self.clock.get(stream, 0), count)


class StreamModel(TorchDispatchMode):
    def __init__(self, monkeypatch):
        super().__init__()
        self.main = self.current = Stream(self)
        self.cpu = Stream(self)
        self.host, self.written = (
            set(),
            {},
        )  # memory of the host; (stream, number of the operation) that wrote it
        self.races = self.queued = self.brought = self.taken = 0
        self.alive = []  # no memory is used twice
        monkeypatch.setattr(torch.cuda, "Stream", lambda device=None: Stream(self))
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: self.current)
        monkeypatch.setattr(torch.cuda, "stream", self._within)
        self._unseen, plain_to = False, Tensor.to

        def to(tensor, *args, **kwargs):
            if not args or args[0] != torch.device("cuda"):
                return plain_to(tensor, *args, **kwargs)
            self._unseen = True
            target = tensor.clone()
            self._unseen = False
            return self._transfer(tensor, target, kwargs.get("non_blocking", False))

        monkeypatch.setattr(Tensor, "to", to)
        monkeypatch.setattr(Tensor, "record_stream", lambda tensor, stream: None)

    @contextmanager
    def _within(self, stream):
        before, self.current = self.current, stream
        yield
        self.current = before

    def _memory(self, tensor):
        return tensor.untyped_storage()._cdata

    def _note(self, actor, reads, writes):
        for tensor in reads:
            stream, count = self.written.get(self._memory(tensor), (actor, 0))
            if stream is not actor and actor.clock.get(stream, 0) < count:
                self.races += 1
        actor.clock[actor] = actor.clock.get(actor, 0) + 1
        for tensor in writes:
            self.written[self._memory(tensor)] = (actor, actor.clock[actor])

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        pinned = kwargs.pop("pin_memory", None)
        if self._unseen:
            return func(*args, **kwargs)
        name = func._schema.name
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        result = func(*args, **kwargs)
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self.alive += made
        if pinned:
            self.host |= {self._memory(tensor) for tensor in made}
        if name == "aten::copy_":
            non_blocking = len(args) > 2 and args[2]
            self._copy(args[1], args[0], non_blocking)
            return result
        if not any(self._memory(tensor) == self._memory(other) for tensor in made for other in given) or any(
            argument.alias_info is not None and argument.alias_info.is_write
            for argument in func._schema.arguments
        ):  # a view reads nothing
            on_host = given and all(self._memory(tensor) in self.host for tensor in given)
            if on_host:
                self.host |= {self._memory(tensor) for tensor in made}
            self._note(self.cpu if on_host else self.current, given, made)
        return result

    def _transfer(self, source, target, non_blocking):
        self.alive.append(target)
        self._copy(source, target, non_blocking)
        return target

    def _copy(self, source, target, non_blocking):
        crossing = (self._memory(source) in self.host) != (self._memory(target) in self.host)
        if not crossing:
            actor = self.cpu if self._memory(source) in self.host else self.current
            self._note(actor, [source], [target])
            return
        whole = source.is_contiguous() and target.is_contiguous()
        if self._memory(source) in self.host:
            self.brought += 1
            if not whole:  # the CPU gathers what it reads before anything is queued
                self._note(self.cpu, [source], [])
        else:
            self.taken += 1
        self._note(self.current, [source] if whole else [], [target])
        self.queued += bool(non_blocking and whole)
        if not non_blocking:
            self.cpu._learn(self.current.clock)
