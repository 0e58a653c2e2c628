"""PCGrad: where two tasks' gradients point against each other, each loses the part along the other.

Yu, Kumar, Gupta, Levine, Hausman, Finn 2020 (arXiv:2001.06782), algorithm 1.
"""

from __future__ import annotations

import torch

from tlcore.multitask.balance import Balance, Parameters
from tlcore.multitask.gradients import lay_out, task_gradients


def pcgrad(gradients: torch.Tensor, *, draws: torch.Generator | None = None) -> torch.Tensor:
    """Sum (P,) of the gradients (T, P), each made orthogonal to those that it conflicts with, in a random order.

    >>> pcgrad(torch.tensor([[1.0, 0.0], [-1.0, 1.0]]))  # (1/2, 1/2) and (0, 1)
    tensor([0.5000, 1.5000])
    >>> pcgrad(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))  # no conflict: the plain sum
    tensor([2., 1.])
    """
    tasks, total = len(gradients), torch.zeros_like(gradients[0])
    squares = gradients.square().sum(1)
    for i in range(tasks):
        projected = gradients[i]
        for j in torch.randperm(tasks, generator=draws).tolist():
            along = projected @ gradients[j]
            if j != i and along < 0:
                projected = projected - along / squares[j] * gradients[j]
        total = total + projected
    return total


class PCGrad(Balance):
    """Gradients of the shared parameters by `pcgrad`; those of the heads are the plain ones.

    >>> rule, w = PCGrad(), torch.nn.Parameter(torch.zeros(2))
    >>> rule.start(2)
    >>> rule.backward(torch.stack([w[0], w[1] - w[0]]), [w], []), w.grad
    (tensor([1., 1.]), tensor([0.5000, 1.5000]))

    A step takes a backward pass for each task.

    Raises
    ------
    ValueError
        In a model that shares no parameters.
    """

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed
        self.draws = torch.Generator().manual_seed(seed)

    def start(self, tasks: int) -> None:
        """The same order of projections in every run."""
        self.draws = torch.Generator().manual_seed(self.seed)

    def backward(self, losses: torch.Tensor, shared: Parameters, own: Parameters) -> torch.Tensor:
        """Leave the projected sum in the shared parameters."""
        if not shared:
            raise ValueError("PCGrad: the model shares no parameters, so no gradients can conflict; use 'sum'")
        found = task_gradients(losses, [*shared, *own])  # one pass a task gives both
        size = sum(p.numel() for p in shared)
        lay_out(pcgrad(found[:, :size], draws=self.draws), shared)
        if own:
            lay_out(found[:, size:].sum(0), own)
        return torch.ones_like(losses).detach()
