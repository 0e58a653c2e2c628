"""The domain as an adversary: a classifier tells the domains apart, and its gradient, reversed, teaches the features.

Source: Ganin et al. 2016, "Domain-Adversarial Training of Neural Networks" (arXiv:1505.07818).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, strength: float) -> torch.Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:  # type: ignore[override]
        return -ctx.strength * grad, None


def reverse_gradient(x: torch.Tensor, strength: float = 1.0) -> torch.Tensor:
    """The same numbers forwards; backwards the gradient times minus `strength` (Ganin et al. 2016, eq. 14 and 15).

    >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> (3 * reverse_gradient(x, 0.5)).sum().backward()
    >>> x.grad
    tensor([-1.5000, -1.5000])
    """
    return _Reversed.apply(x, strength)  # type: ignore[no-any-return, no-untyped-call]


def dann_strength(progress: float, gamma: float = 10.0) -> float:
    """The reversal's strength over the training: 2 / (1 + exp(-gamma p)) - 1, from 0 to almost 1 (section 5.2.2).

    >>> [round(dann_strength(p), 3) for p in (0, 0.1, 0.5, 1)]
    [0.0, 0.462, 0.987, 1.0]
    """
    return 2 / (1 + math.exp(-gamma * progress)) - 1


class DomainAdversary(nn.Module):
    """Tells source features from target features, and tells the features, by reversed gradients, to prevent it.

    >>> adversary = DomainAdversary(4)
    >>> source = torch.randn(6, 4, requires_grad=True)  # (N, F)
    >>> loss = adversary(source, torch.randn(5, 4) + 1, strength=1.0)
    >>> loss.backward()
    >>> loss.shape, source.grad.shape
    (torch.Size([]), torch.Size([6, 4]))

    Parameters
    ----------
    features
        F.
    hidden
        Units of the one hidden layer.
    seed
        Of its first weights, which do not depend on what was drawn before.
    """

    def __init__(self, features: int, *, hidden: int = 100, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, source: torch.Tensor, target: torch.Tensor, *, strength: float = 1.0) -> torch.Tensor:
        """Mean of the cross-entropies on source and target rows, (N, F) and (M, F)."""
        both = reverse_gradient(torch.cat([source, target]), strength)
        said = self.net(both)[:, 0].float()  # (N + M,), logits of "source"
        n = len(source)
        sides = said[:n], said[n:]
        losses = [binary_cross_entropy_with_logits(s, torch.full_like(s, truth)) for s, truth in zip(sides, (1.0, 0.0))]
        return (losses[0] + losses[1]) / 2
