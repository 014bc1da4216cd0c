"""Counts the memory of tensors that are alive, at every operation."""

import weakref

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class MemoryMeter(TorchDispatchMode):
    """`most`: bytes of memory that operations within it have made, at most at one time."""

    def __init__(self):
        super().__init__()
        self.alive, self.now, self.most = {}, 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        given = {
            leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)
        }
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._note(leaf, given)
        return result

    def _note(self, tensor, given):
        """A piece of memory is gone when the last tensor that was seen on it is."""
        memory = tensor.untyped_storage()
        key = memory._cdata
        if key not in self.alive:
            if key in given:
                return  # of something made outside
            self.alive[key] = [0, memory.nbytes()]
            self.now += memory.nbytes()
            self.most = max(self.most, self.now)
        self.alive[key][0] += 1
        weakref.finalize(tensor, self._gone, key)

    def _gone(self, key):
        self.alive[key][0] -= 1
        if not self.alive[key][0]:
            self.now -= self.alive.pop(key)[1]


def measured(compute):
    """(what `compute()` gives, bytes at most)"""
    with MemoryMeter() as meter, torch.no_grad():
        return compute(), meter.most
