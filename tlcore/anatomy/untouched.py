"""Running a user's network and leaving no trace of it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def same_randomness() -> Iterator[None]:
    """Put the random states of Python, NumPy and torch (CPU and CUDA) back on leaving.

    >>> before = torch.get_rng_state()
    >>> with same_randomness():
    ...     _ = torch.rand(3)
    >>> torch.equal(before, torch.get_rng_state())
    True
    """
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    plain, numbers = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=list(gpus)):
            yield
    finally:
        random.setstate(plain)
        np.random.set_state(numbers)


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Inside, `model` works on copies of its buffers; on leaving, buffers, attributes and randomness are as before.

    Parameters are the real ones: whoever writes to them or to their ``.grad`` does write.

    >>> norm = nn.BatchNorm1d(3)
    >>> with untouched(norm):
    ...     _ = norm(torch.rand(8, 3) + 5)
    >>> norm.running_mean.tolist()
    [0.0, 0.0, 0.0]
    """
    kept = [(module, dict(vars(module)), dict(module._buffers)) for module in model.modules()]
    copies: dict[int, torch.Tensor] = {}
    try:
        for module, _, buffers in kept:
            for name, buffer in buffers.items():
                if buffer is not None:
                    if id(buffer) not in copies:
                        copies[id(buffer)] = buffer.detach().clone()
                    module._buffers[name] = copies[id(buffer)]
        with same_randomness():
            yield
    finally:
        for module, attributes, buffers in kept:
            vars(module).clear()
            vars(module).update(attributes)
            module._buffers.clear()
            module._buffers.update(buffers)
