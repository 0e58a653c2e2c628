"""NASNet-A: a cell that was searched for on CIFAR-10 by reinforcement learning, stacked into networks for ImageNet.

Zoph, Vasudevan, Shlens, Le 2017 (arXiv:1707.07012), figure 4 and appendix A.4. Padding is the same on all sides, where
the authors' TensorFlow pads the right and the bottom more; sizes, counts and costs are the same.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from tlcore.zoo.net import Net, he_init

_norm = partial(nn.BatchNorm2d, eps=1e-3)


def _average(stride: int) -> nn.AvgPool2d:
    return nn.AvgPool2d(3, stride, 1, count_include_pad=False)


class Separable(nn.Sequential):
    """ReLU, depthwise and pointwise convolution, normalisation: twice, the stride in the first."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, *, early: bool = False
    ) -> None:
        middle = out_channels if early else in_channels  # the stem's first cell widens at once
        layers: list[nn.Module] = []
        for a, b, step in ((in_channels, middle, stride), (middle, out_channels, 1)):
            depthwise = nn.Conv2d(a, a, kernel, step, kernel // 2, groups=a, bias=False)
            layers += [nn.ReLU(), depthwise, nn.Conv2d(a, b, 1, bias=False), _norm(b)]
        super().__init__(*layers)


def _squeeze(in_channels: int, out_channels: int) -> nn.Sequential:
    """Bring an input of a cell to the cell's number of maps."""
    return nn.Sequential(nn.ReLU(), nn.Conv2d(in_channels, out_channels, 1, bias=False), _norm(out_channels))


class Halve(nn.Module):
    """Every second pixel, and every second pixel shifted by one: half the size without losing the odd ones."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.relu, self.pick = nn.ReLU(), nn.AvgPool2d(1, 2, count_include_pad=False)
        self.even = nn.Conv2d(in_channels, out_channels // 2, 1, bias=False)
        self.odd = nn.Conv2d(in_channels, out_channels - out_channels // 2, 1, bias=False)
        self.norm = _norm(out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(x)
        shifted = F.pad(x, (-1, 1, -1, 1))
        return self.norm(torch.cat([self.even(self.pick(x)), self.odd(self.pick(shifted))], 1))


class NormalCell(nn.Module):
    """Five sums of two things each (figure 4, left); the size stays.

    >>> cell = NormalCell(16, 24, 8)
    >>> cell(torch.zeros(1, 24, 9, 9), torch.zeros(1, 16, 9, 9)).shape
    torch.Size([1, 48, 9, 9])

    Parameters
    ----------
    previous, current
        Maps of the two inputs: the output of the cell before the last, and of the last.
    width
        Maps inside; the output has six times as many.
    halved
        The previous input is still twice as large.
    """

    def __init__(self, previous: int, current: int, width: int, *, halved: bool = False) -> None:
        super().__init__()
        self.fit_previous = Halve(previous, width) if halved else _squeeze(previous, width)
        self.fit_current = _squeeze(current, width)
        make = partial(Separable, width, width)
        self.sep0_left, self.sep0_right = make(5), make(3)
        self.sep1_left, self.sep1_right = make(5), make(3)
        self.average = _average(1)
        self.sep4 = make(3)

    def forward(self, current: torch.Tensor, previous: torch.Tensor) -> torch.Tensor:
        p, c = self.fit_previous(previous), self.fit_current(current)
        sums = [
            self.sep0_left(c) + self.sep0_right(p),
            self.sep1_left(p) + self.sep1_right(p),
            self.average(c) + p,
            self.average(p) + self.average(p),
            self.sep4(c) + c,
        ]
        return torch.cat([p, *sums], 1)


class ReductionCell(nn.Module):
    """Five sums, two of them of sums (figure 4, right); half the size.

    Parameters
    ----------
    fit_previous
        What brings the previous input to `width` maps.
    before
        Maps of that previous input after it was fitted, where they are not `width` (the stem's first cell).
    """

    def __init__(self, fit_previous: nn.Module, fit_current: nn.Module, width: int, before: int | None = None) -> None:
        super().__init__()
        self.fit_previous, self.fit_current = fit_previous, fit_current
        wide = partial(Separable, before or width, width, stride=2, early=before is not None)
        self.sep0_left, self.sep0_right = Separable(width, width, 5, 2), wide(kernel=7)
        self.pool, self.sep1_right = nn.MaxPool2d(3, 2, 1), wide(kernel=7)
        self.average, self.sep2_right = _average(2), wide(kernel=5)
        self.average3 = _average(1)
        self.sep4 = Separable(width, width, 3)

    def forward(self, current: torch.Tensor, previous: torch.Tensor) -> torch.Tensor:
        p, c = self.fit_previous(previous), self.fit_current(current)
        a = self.sep0_left(c) + self.sep0_right(p)
        b = self.pool(c) + self.sep1_right(p)
        d = self.average(c) + self.sep2_right(p)
        return torch.cat([b, d, self.average3(a) + b, self.sep4(a) + self.pool(c)], 1)


class NASNetA(Net):
    """Three stages of normal cells with reduction cells between them.

    >>> net = NASNetA(repeats=4, filters=44, stem=32, skip=False, dropout=0.5).eval()
    >>> net(torch.zeros(1, 3, 64, 64)).shape, sum(p.numel() for p in net.parameters())
    (torch.Size([1, 1000]), 5289978)

    Parameters
    ----------
    repeats
        Normal cells in a stage.
    filters
        Maps inside a normal cell of the first stage; each stage doubles them.
    stem
        Maps of the first convolution.
    skip
        The first cell after a reduction also sees the cell two before the reduction (the large network) instead of the
        one just before it.
    """

    def __init__(
        self,
        *,
        repeats: int,
        filters: int,
        stem: int,
        skip: bool,
        dropout: float,
        num_classes: int = 1000,
        in_channels: int = 3,
    ) -> None:
        super().__init__(in_channels=in_channels, num_classes=num_classes, smallest=3)
        self.repeats, self.skip = repeats, skip
        self.conv0 = nn.Sequential(nn.Conv2d(in_channels, stem, 3, 2, bias=False), _norm(stem))
        quarter, half = filters // 4, filters // 2
        first = nn.Sequential(nn.ReLU(), nn.Conv2d(stem, quarter, 1, bias=False), _norm(quarter))
        self.stem0 = ReductionCell(nn.Identity(), first, quarter, before=stem)
        self.stem1 = ReductionCell(Halve(stem, half), _squeeze(4 * quarter, half), half)
        previous, current = 4 * quarter, 4 * half
        for stage in range(3):
            width, cells = filters * 2**stage, nn.ModuleList()
            for n in range(repeats):
                cells.append(NormalCell(previous, current, width, halved=n == 0))
                previous, current = current, 6 * width
            self.add_module(f"stage{stage}", cells)
            if stage < 2:
                fits = _squeeze(previous, 2 * width), _squeeze(current, 2 * width)
                self.add_module(f"reduce{stage}", ReductionCell(*fits, 2 * width))
                previous, current = current, 8 * width
        self.relu, self.avgpool = nn.ReLU(), nn.AdaptiveAvgPool2d(1)
        self.dropout, self.fc = nn.Dropout(dropout), nn.Linear(current, num_classes)
        he_init(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv0(x)
        previous = self.stem0(x, x)
        current = self.stem1(previous, x)
        for stage in range(3):
            for cell in self.get_submodule(f"stage{stage}"):  # type: ignore[attr-defined]
                previous, current = current, cell(current, previous)
            if stage < 2:
                seen = previous if self.skip else current
                previous, current = seen, self.get_submodule(f"reduce{stage}")(current, previous)
        return self.fc(self.dropout(self.avgpool(self.relu(current)).flatten(1)))


MODELS = {
    "nasnet_a_mobile": partial(NASNetA, repeats=4, filters=44, stem=32, skip=False, dropout=0.5),
    "nasnet_a_large": partial(NASNetA, repeats=6, filters=168, stem=96, skip=True, dropout=0.5),
}
