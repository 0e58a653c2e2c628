"""GradNorm: weights that bring the tasks' gradients to norms that fit how far each task has come.

Chen, Badrinarayanan, Lee, Rabinovich 2018 (arXiv:1711.02257), algorithm 1.
"""

from __future__ import annotations

import torch

from tlcore.multitask.balance import Balance, Parameters
from tlcore.multitask.gradients import task_gradients


def gradnorm_targets(norms: torch.Tensor, ratios: torch.Tensor, alpha: float) -> torch.Tensor:
    """What each weighted norm G_i should be: their mean times (how slow the task is, relative to the mean) ^ alpha.

    >>> gradnorm_targets(torch.tensor([1.0, 3.0]), torch.tensor([0.5, 1.5]), alpha=1.0)
    tensor([1., 3.])

    Parameters
    ----------
    norms
        G_i (T,): norms of the gradients of the weighted losses.
    ratios
        L_i / L_i(0) (T,): what is left of each loss.
    """
    return norms.mean() * (ratios / ratios.mean()) ** alpha


def gradnorm_slope(weights: torch.Tensor, norms: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Derivative (T,) of sum_i |w_i n_i - target_i| by the weights, the targets held fixed (eq. 2).

    >>> gradnorm_slope(torch.ones(2), torch.tensor([1.0, 3.0]), torch.tensor([2.0, 2.0]))
    tensor([-1.,  3.])

    Parameters
    ----------
    norms
        n_i (T,): norms of the gradients of the losses before they are weighted, so that G_i = w_i n_i.
    """
    return torch.sign(weights * norms - targets) * norms


class GradNorm(Balance):
    """Weights that follow the gradients' norms at the last shared layer; they keep the sum T.

    >>> rule, w = GradNorm(lr=0.1), torch.nn.Parameter(torch.ones(1, 2))
    >>> rule.start(2)
    >>> rule.backward(torch.stack([w[0, 0], 3 * w[0, 1]]), [w], []), rule.current  # the steeper task loses weight
    (tensor([1., 1.]), tensor([1.1000, 0.9000]))

    Parameters
    ----------
    alpha
        How strongly slow tasks are helped; 1.5 and 0.12 in the paper's experiments. 0 makes all norms equal.
    lr
        Of Adam on the weights.

    Raises
    ------
    ValueError
        For a negative alpha, a rate that is not above 0, or a model that shares no parameters.
    """

    def __init__(self, *, alpha: float = 1.5, lr: float = 0.025) -> None:
        super().__init__()
        if alpha < 0 or not lr > 0:
            raise ValueError(f"GradNorm(alpha={alpha!r}, lr={lr!r}): alpha from 0 on and lr above 0 are accepted")
        self.alpha, self.lr = alpha, lr
        self.start(0)

    def start(self, tasks: int) -> None:
        """All weights start at 1."""
        self.current = torch.ones(tasks)
        self.first: torch.Tensor | None = None
        self.optimizer = torch.optim.Adam([self.current], self.lr) if tasks else None

    def weights(self, losses: torch.Tensor) -> torch.Tensor:
        """As they are now."""
        return self.current.to(losses)

    def backward(self, losses: torch.Tensor, shared: Parameters, own: Parameters) -> torch.Tensor:
        """Gradients of the sum with the weights as they are; then a step on the weights."""
        layer = [p for p in shared if p.ndim > 1][-1:]
        if not layer:
            raise ValueError("GradNorm: the model shares no layer, so there are no norms to compare; use 'sum'")
        assert self.optimizer is not None, "start() comes first"
        weights = self.weights(losses).clone()
        norms = task_gradients(losses, layer, keep=True).norm(dim=1).cpu().float()  # (T,)
        now = losses.detach().cpu().float()
        self.first = now.clamp(min=1e-12) if self.first is None else self.first
        targets = gradnorm_targets(self.current * norms, now / self.first, self.alpha)
        self.current.grad = gradnorm_slope(self.current, norms, targets)
        self.optimizer.step()
        self.current.clamp_(min=1e-3)  # the paper does not say what to do when a weight would fall below 0
        self.current.mul_(len(self.current) / self.current.sum())
        (weights * losses).sum().backward()
        return weights
