"""A second device that every machine has: tensors say which one they are on, and those of two may not meet."""

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

SECOND = torch.device("xpu")
MOVES = (Tensor.to, Tensor.cpu)
MEET = (Tensor.copy_, Tensor.__setitem__, torch._has_compatible_shallow_copy_type)


class TwoDevices(TorchFunctionMode):
    """Within it a tensor's `device` is a label; everything is computed on the CPU. `moved` counts transfers."""

    def __init__(self):
        super().__init__()
        self.moved = 0

    def _label(self, result, where):
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                leaf.label = where
        return result

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func == Tensor.device.__get__:
            return getattr(args[0], "label", torch.device("cpu"))
        if func == Tensor.data.__set__:
            func(*args)
            self._label(args[0], args[1].label)
            return None
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        known = [getattr(tensor, "label", torch.device("cpu")) for tensor in tensors]
        where = known[0] if known else torch.device("cpu")
        if func in MOVES:
            target = self._target(func, args, kwargs) or where
            types = [arg for arg in (*args[1:], kwargs.get("dtype")) if isinstance(arg, torch.dtype)]
            if target == where:
                return self._label(args[0].to(*types), where)
            self.moved += 1
            return self._label(args[0].detach().clone().to(*types), target)
        if func not in MEET and len(set(known)) > 1:
            raise RuntimeError(f"{func.__name__}: tensors on {set(known)}")
        if kwargs.get("device") is not None:
            where = torch.device(kwargs.pop("device"))
        result = func(*args, **kwargs)
        if func in MEET:
            return result
        return self._label(result, where)

    @staticmethod
    def _target(func, args, kwargs):
        if func is Tensor.cpu:
            return torch.device("cpu")
        given = [arg for arg in (*args[1:], kwargs.get("device")) if isinstance(arg, (torch.device, str))]
        return torch.device(given[0]) if given else None
