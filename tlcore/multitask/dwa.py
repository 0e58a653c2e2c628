"""Dynamic weight average: a task whose loss falls slowly gets more weight.

Liu, Johns, Davison 2019 (arXiv:1803.10704), eq. 7.
"""

from __future__ import annotations

import torch

from tlcore.multitask.balance import Balance


def dwa_weights(last: torch.Tensor, before: torch.Tensor, *, temperature: float = 2.0) -> torch.Tensor:
    """T exp(r_i / temperature) / sum_j exp(r_j / temperature), with r_i the ratio of the last two epochs' losses.

    >>> dwa_weights(torch.tensor([1.0, 0.5]), torch.tensor([1.0, 1.0]))  # the second task's loss fell by half
    tensor([1.1244, 0.8756])
    """
    return len(last) * torch.softmax(last / before / temperature, 0)


class DynamicAverage(Balance):
    """Weights from how fast each loss fell between the last two epochs; 1 each for the first two epochs.

    >>> rule = DynamicAverage()
    >>> rule.start(2)
    >>> for losses in ([1.0, 1.0], [1.0, 0.5]):
    ...     rule.epoch_over(torch.tensor(losses))
    >>> rule.weights(torch.ones(2))
    tensor([1.1244, 0.8756])

    Parameters
    ----------
    temperature
        The higher, the more even the weights; 2 in the paper.
    """

    def __init__(self, *, temperature: float = 2.0) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"DynamicAverage(temperature={temperature!r}): a number above 0 is accepted")
        self.temperature = temperature
        self.seen: list[torch.Tensor] = []

    def start(self, tasks: int) -> None:
        """Forget earlier runs."""
        self.seen = []

    def weights(self, losses: torch.Tensor) -> torch.Tensor:
        """By the last two epochs."""
        if len(self.seen) < 2:
            return torch.ones_like(losses)
        return dwa_weights(self.seen[-1], self.seen[-2], temperature=self.temperature).to(losses)

    def epoch_over(self, losses: torch.Tensor) -> None:
        """Remember two epochs."""
        self.seen = [*self.seen, losses.detach()][-2:]
