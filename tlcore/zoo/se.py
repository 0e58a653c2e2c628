"""Squeeze-and-excitation: look at all of each map, then turn whole maps up or down.

Hu, Shen, Sun 2017 (arXiv:1709.01507), section 3.
"""

from __future__ import annotations

import torch
from torch import nn


class SqueezeExcite(nn.Module):
    """Weigh the maps of x (N, C, H, W) by what their means say.

    >>> SqueezeExcite(32, reduction=16)(torch.rand(2, 32, 5, 5)).shape
    torch.Size([2, 32, 5, 5])

    Parameters
    ----------
    reduction
        The two linear layers (written as 1x1 convolutions) meet in C / reduction numbers.
    inner
        So many numbers in place of C / reduction.
    act
        Activation between the two layers.
    """

    def __init__(
        self, channels: int, reduction: int = 16, *, inner: int | None = None, act: type[nn.Module] = nn.ReLU
    ) -> None:
        super().__init__()
        narrow = channels // reduction if inner is None else inner
        self.squeeze = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, narrow, 1)
        self.act = act(inplace=True)
        self.fc2 = nn.Conv2d(narrow, channels, 1)
        self.gate = nn.Sigmoid()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = self.gate(self.fc2(self.act(self.fc1(self.squeeze(x)))))  # (N, C, 1, 1)
        return x * weights
