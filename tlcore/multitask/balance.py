"""What all balancing rules have in common, and the plainest of them: the sum.

A rule gets the losses of a step as one tensor (T,) and leaves gradients in the parameters. Kurin et al. 2022
(arXiv:2201.04122) found that the sum, with ordinary regularisation, matches the special rules.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

Parameters = Sequence[nn.Parameter]


class Balance(nn.Module):
    """A rule for the losses of several tasks. Subclasses say how they are weighed, or take over the whole step.

    A rule may have parameters of its own: `multitask.fit` trains them with the network's, without weight decay.
    """

    def start(self, tasks: int) -> None:
        """Told once, before the first step, how many tasks there are."""

    def weights(self, losses: torch.Tensor) -> torch.Tensor:
        """Weights (T,) of the losses (T,)."""
        raise NotImplementedError

    def backward(self, losses: torch.Tensor, shared: Parameters, own: Parameters) -> torch.Tensor:
        """Leave gradients in the parameters; return the weights (T,) that the losses had.

        Parameters
        ----------
        losses
            (T,), with their graph.
        shared, own
            Parameters that all losses reach, input first, and those that one loss reaches.
        """
        weights = self.weights(losses)
        (weights * losses).sum().backward()
        return weights.detach()

    def epoch_over(self, losses: torch.Tensor) -> None:
        """Told the mean losses (T,) of each epoch when it is over."""


class Sum(Balance):
    """The sum of the losses, or of the losses times fixed weights.

    >>> rule, w = Sum(), nn.Parameter(torch.tensor([1.0, 2.0]))
    >>> rule.start(2)
    >>> rule.backward(w.square(), [w], []), w.grad
    (tensor([1., 1.]), tensor([2., 4.]))

    Parameters
    ----------
    fixed
        One weight a task, from 0 on; default 1 each.
    """

    def __init__(self, fixed: Sequence[float] | None = None) -> None:
        super().__init__()
        if fixed is not None and (not fixed or min(fixed) < 0 or max(fixed) == 0):
            raise ValueError(f"Sum(fixed={fixed!r}): weights from 0 on are accepted, one of them above 0")
        self.fixed = fixed

    def start(self, tasks: int) -> None:
        """As many weights as tasks are needed."""
        if self.fixed is not None and len(self.fixed) != tasks:
            raise ValueError(f"Sum(fixed={self.fixed!r}): {len(self.fixed)} weights for {tasks} tasks; one each")

    def weights(self, losses: torch.Tensor) -> torch.Tensor:
        """The fixed weights."""
        return torch.ones_like(losses) if self.fixed is None else losses.new_tensor(self.fixed)
