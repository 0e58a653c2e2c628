"""The gradient of each task's loss, one row a task: what balancing rules and probes look at."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


def task_gradients(losses: torch.Tensor, parameters: Sequence[nn.Parameter], *, keep: bool = False) -> torch.Tensor:
    """Gradients (T, P) of losses (T,), each laid out as one row; nothing is left in ``.grad``.

    >>> w = nn.Parameter(torch.tensor([1.0, 2.0]))
    >>> task_gradients(torch.stack([w.sum(), (w * w).sum()]), [w])
    tensor([[1., 1.],
            [2., 4.]])

    Parameters
    ----------
    keep
        Keep the graph, for more gradients of the same losses. A parameter that a loss does not reach has gradient 0.

    Raises
    ------
    ValueError
        Without parameters.
    """
    if not parameters:
        raise ValueError("task_gradients: there are no shared parameters, so the tasks have no gradients to compare")
    rows = []
    for number, loss in enumerate(losses):
        more = keep or number + 1 < len(losses)
        found = torch.autograd.grad(loss, list(parameters), retain_graph=more, allow_unused=True)
        rows.append(torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(parameters, found)]))
    return torch.stack(rows)


def lay_out(row: torch.Tensor, parameters: Sequence[nn.Parameter]) -> None:
    """Add one long gradient (P,) to the ``.grad`` of the parameters it belongs to.

    >>> w = nn.Parameter(torch.zeros(2, 2))
    >>> lay_out(torch.arange(4.0), [w])
    >>> w.grad
    tensor([[0., 1.],
            [2., 3.]])
    """
    for parameter, part in zip(parameters, row.split([p.numel() for p in parameters]), strict=True):
        new = part.view_as(parameter)
        parameter.grad = new.clone() if parameter.grad is None else parameter.grad + new
