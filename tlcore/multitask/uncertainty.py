"""Uncertainty weighting: each loss is weighed by the noise that its task is believed to have.

Kendall, Gal, Cipolla 2018 (arXiv:1705.07115).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from tlcore.multitask.balance import Balance, Parameters
from tlcore.runtime import nearest

Kind = Literal["classification", "regression"]
FACTOR: dict[str, float] = {"classification": 1.0, "regression": 0.5}


def uncertainty_loss(losses: torch.Tensor, log_variance: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """sum_i c_i exp(-s_i) L_i + s_i / 2 with s_i = log sigma_i² (eqs. 7 and 10).

    c is 1/2 for a squared error, where this is the likelihood of a Gaussian, and 1 for cross-entropy, where the paper
    takes it for an approximation. The best s_i is log(2 c_i L_i), so the weight c_i exp(-s_i) becomes 1 / (2 L_i).

    >>> losses = torch.tensor([0.5, 2.0])
    >>> uncertainty_loss(losses, torch.zeros(2), torch.ones(2)).item()
    2.5
    >>> round(uncertainty_loss(losses, (2 * losses).log(), torch.ones(2)).item(), 4)
    1.6931
    """
    return (factors * torch.exp(-log_variance) * losses + log_variance / 2).sum()


class Uncertainty(Balance):
    """Weights 1 / sigma², learned with the network.

    >>> rule = Uncertainty()
    >>> rule.start(2)
    >>> w = nn.Parameter(torch.tensor([1.0, 2.0]))
    >>> rule.backward(w.square(), [w], []), rule.log_variance.grad  # d/ds (e^-s L + s / 2) = 1/2 - L at s = 0
    (tensor([1., 1.]), tensor([-0.5000, -3.5000]))

    Parameters
    ----------
    kinds
        "classification" or "regression", for all tasks or one each.
    """

    def __init__(self, kinds: Kind | Sequence[Kind] = "classification") -> None:
        super().__init__()
        for kind in [kinds] if isinstance(kinds, str) else kinds:
            if kind not in FACTOR:
                raise ValueError(f"Uncertainty(kinds=…): {kind!r} is unknown; {nearest(str(kind), FACTOR)}")
        self.kinds = kinds
        self.log_variance = nn.Parameter(torch.zeros(0))
        self.register_buffer("factors", torch.zeros(0))
        self.factors: torch.Tensor

    def start(self, tasks: int) -> None:
        """All variances start at 1."""
        kinds = [self.kinds] * tasks if isinstance(self.kinds, str) else list(self.kinds)
        if len(kinds) != tasks:
            raise ValueError(
                f"Uncertainty(kinds={kinds}): {len(kinds)} kinds for {tasks} tasks; one each, or one in all"
            )
        self.log_variance = nn.Parameter(torch.zeros(tasks, device=self.factors.device))
        self.factors = torch.tensor([FACTOR[kind] for kind in kinds], device=self.factors.device)

    def weights(self, losses: torch.Tensor) -> torch.Tensor:
        """c_i / sigma_i²."""
        return self.factors.to(losses.device) * torch.exp(-self.log_variance.to(losses.device))

    def backward(self, losses: torch.Tensor, shared: Parameters, own: Parameters) -> torch.Tensor:
        """Gradients of the network and of the log-variances."""
        uncertainty_loss(losses, self.log_variance, self.factors).backward()
        return self.weights(losses).detach()
