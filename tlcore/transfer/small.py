"""A network small enough to be trained by the hundred, and its training on a source."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from tlcore import runtime, training
from tlcore.worlds import Dataset


def small_net(num_classes: int, *, channels: int = 3, seed: int = 0) -> nn.Sequential:
    """Three convolutions with group normalisation, a mean over the map (the neck, 64 numbers), and a linear head.

    >>> small_net(4)(torch.zeros(2, 3, 24, 24)).shape
    torch.Size([2, 4])

    About 25,000 parameters. Group normalisation keeps no statistics, so networks can be trained in one stack.
    """
    with runtime.same_draws_after(torch.device("cpu")):
        torch.manual_seed(seed)
        widths = (channels, 16, 32, 64)
        blocks = [_block(a, b, pool=b < 64) for a, b in pairwise(widths)]
        return nn.Sequential(*blocks, MapMean(), nn.Linear(64, num_classes))


class MapMean(nn.Module):
    """The mean over a map (N, C, H, W), as rows (N, C)."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Average over height and width."""
        return maps.mean((2, 3))


def _block(channels_in: int, channels_out: int, *, pool: bool) -> nn.Sequential:
    parts = [nn.Conv2d(channels_in, channels_out, 3, padding=1), nn.GroupNorm(4, channels_out), nn.ReLU()]
    return nn.Sequential(*parts, *([nn.MaxPool2d(2)] if pool else []))


def train_source(data: Dataset, *, epochs: int = 10, seed: int = 0, progress: bool = False) -> nn.Sequential:
    """A small network trained on a source.

    >>> from tlcore import worlds
    >>> train_source(worlds.Shapes(size=24).sample(64), epochs=1)[-1].out_features
    16
    """
    if not isinstance(data.inputs, torch.Tensor):
        raise TypeError("train_source: the inputs are texts; images (N, C, H, W) are accepted")
    net = small_net(len(data.classes), channels=data.inputs.shape[1], seed=seed)
    training.fit(
        net, data, epochs=epochs, lr=0.1, schedule="one_cycle", batch_size=64, weight_decay=5e-4, seed=seed,
        arithmetic=training.Arithmetic(channels_last=True), progress=progress,
    )  # fmt: skip
    return net
