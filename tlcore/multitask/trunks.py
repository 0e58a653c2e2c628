"""A small trunk of any width for the shapes world, what it costs, and single networks that cost as much together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from tlcore.anatomy import conv_cost

_STEP = 0.25


def small_trunk(width: float, *, channels: int = 3) -> nn.Sequential:
    """Three stages of a 3x3 convolution with `width`, 2 `width` and 4 `width` maps, rounded; it ends in maps.

    >>> import torch
    >>> small_trunk(4)(torch.zeros(2, 3, 16, 16)).shape
    torch.Size([2, 16, 4, 4])

    Raises
    ------
    ValueError
        If the width is below 1.
    """
    widths = [channels, *_widths(width)]
    return nn.Sequential(*(_stage(a, b, pool=n < 2) for n, (a, b) in enumerate(pairwise(widths))))


def network_macs(width: float, classes: int, size: int, *, channels: int = 3) -> int:
    """Multiply-adds of a small trunk with heads of so many outputs in all, for one image of size x size.

    >>> from tlcore.anatomy import profile
    >>> network_macs(2, 10, 16) == profile(small_trunk(2), (3, 16, 16)).macs + 8 * 10
    True
    """
    widths, total = [channels, *_widths(width)], 0
    for n, (a, b) in enumerate(pairwise(widths)):
        total += conv_cost(a, b, 3, height=size >> n, width=size >> n).macs
    return total + widths[-1] * classes


def equal_cost_width(width: float, classes: Sequence[int], size: int, *, channels: int = 3) -> tuple[float, float]:
    """Width of networks for one task each that together cost about as much as one for all tasks, and their share of it.

    >>> alone, share = equal_cost_width(12, [6, 6], 16)
    >>> alone, round(share, 2)
    (8.25, 0.99)

    Cost is multiply-adds to answer all tasks about one image; the nearest of the widths in steps of 1/4 is taken.
    """
    goal = network_macs(width, sum(classes), size, channels=channels)
    widths = [1 + _STEP * n for n in range(round((width - 1) / _STEP) + 1)]
    share = {w: sum(network_macs(w, k, size, channels=channels) for k in classes) / goal for w in widths}
    best = min(share, key=lambda w: abs(share[w] - 1))
    return best, share[best]


def _widths(width: float) -> list[int]:
    if not isinstance(width, int | float) or not width >= 1:
        raise ValueError(f"small_trunk(width={width!r}): a number from 1 on is accepted")
    return [round(width), round(2 * width), round(4 * width)]


def _stage(channels_in: int, channels_out: int, *, pool: bool) -> nn.Sequential:
    parts = [nn.Conv2d(channels_in, channels_out, 3, padding=1), nn.BatchNorm2d(channels_out), nn.ReLU()]
    return nn.Sequential(*parts, *([nn.MaxPool2d(2)] if pool else []))
