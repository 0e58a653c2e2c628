"""What methods of compression are given: some rows of the data, as batches on the device."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from tlcore.worlds import Dataset, Loader

Batches = Iterable[tuple[Any, Any]]
Data = Dataset | Batches
Rows = list[tuple[torch.Tensor, torch.Tensor]]


def some_rows(
    data: Data | torch.Tensor,
    size: int | None,
    device: torch.device,
    *,
    seed: int = 0,
    batch_size: int = 128,
    function: str,
) -> Rows:
    """The first `size` rows of the data, shuffled if it is a dataset; None for all of them, in order.

    Of a tensor of inputs (N, ...) the targets are 0.

    >>> data = Dataset(torch.rand(300, 4), torch.arange(300) % 2, ("a", "b"))
    >>> [len(y) for x, y in some_rows(data, 200, torch.device("cpu"), function="prune")]
    [128, 72]

    Raises
    ------
    ValueError
        If there are none.
    """
    if size is not None and size < 1:
        raise ValueError(f"{function}(rows={size}): from 1 on is accepted, or None for all")
    if isinstance(data, torch.Tensor):
        data = Dataset(data, torch.zeros(len(data)))
    batches = Loader(data, batch_size, shuffle=size is not None, seed=seed) if isinstance(data, Dataset) else data
    found: Rows = []
    left = size
    for x, y in batches:
        if left is not None and left <= 0:
            break
        part = x[:left].to(device), y[:left].to(device)
        found.append(part)
        left = None if left is None else left - len(part[1])
    if not sum(len(y) for _, y in found):
        raise ValueError(f"{function}: the data has no rows")
    return found


def check_share(function: str, name: str, value: float) -> None:
    """Raise unless `value` is a number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        near = f"; nearest: {min(max(value, 0), 1)}" if isinstance(value, (int, float)) and value == value else ""
        raise ValueError(f"{function}({name}={value!r}): a share from 0 to 1 is accepted, such as 0.5{near}")
