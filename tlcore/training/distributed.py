"""Processes that train one network together, each on its share of the data; without such a group, a process alone.

``torchrun`` starts them, ``torch.distributed.init_process_group`` makes them a group.

>>> rank(), world(), gathered("mine")
(0, 1, ['mine'])
"""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed, nn


def rank() -> int:
    """This process's number in the group, from 0 on; 0 does what is done once, such as writing files."""
    return distributed.get_rank() if _grouped() else 0


def world() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if _grouped() else 1


def summed(numbers: torch.Tensor) -> torch.Tensor:
    """The sum of everyone's tensor, for everyone."""
    if _grouped():
        distributed.all_reduce(numbers)
    return numbers


def gathered(thing: Any) -> list[Any]:
    """Everyone's object, in the order of their numbers."""
    if not _grouped():
        return [thing]
    things: list[Any] = [None] * world()
    distributed.all_gather_object(things, thing)
    return things


def inner(model: nn.Module) -> nn.Module:
    """The network itself, without the wrapper that shares its gradients."""
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model


def _grouped() -> bool:
    return distributed.is_available() and distributed.is_initialized()
