"""Residual and plain nets made for 32x32 images: ResNet-20 to 110, and wide ResNets.

He, Zhang, Ren, Sun 2015 (arXiv:1512.03385), section 4.2, whose shortcuts have no parameters (option A);
Zagoruyko, Komodakis 2016 (arXiv:1605.07146), table 1, with the pre-activation of He et al. 2016 (arXiv:1603.05027).
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from tlcore.zoo.net import Net, he_init


class PadShortcut(nn.Module):
    """Option A: every second pixel, and maps of zeros on both sides of the old ones; nothing to learn.

    >>> PadShortcut(16)(torch.ones(2, 16, 8, 8)).shape
    torch.Size([2, 32, 4, 4])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.extra = channels // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.extra, self.extra))


class CifarBlock(nn.Module):
    """Two 3x3 layers; y = relu(F(x) + shortcut(x)), or relu(F(x)) in a plain net."""

    def __init__(self, in_channels: int, width: int, residual: bool) -> None:
        super().__init__()
        stride = 1 if in_channels == width else 2
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.residual = residual
        self.shortcut = PadShortcut(in_channels) if residual and stride == 2 else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.residual:
            out = out + self.shortcut(x)
        return self.relu(out)


class CifarResNet(Net):
    """6n + 2 layers: three stages of n blocks with 16, 32 and 64 maps.

    >>> net = CifarResNet(20)
    >>> net(torch.zeros(2, 3, 32, 32)).shape, sum(p.numel() for p in net.parameters())
    (torch.Size([2, 10]), 269722)

    Parameters
    ----------
    depth
        20, 32, 44, 56, 110 in the paper; any 6n + 2.
    residual
        False makes the plain net of the same depth and the same number of parameters.
    """

    def __init__(self, depth: int, *, residual: bool = True, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__(in_channels=in_channels, num_classes=num_classes)
        blocks, rest = divmod(depth - 2, 6)
        if rest or blocks < 1:
            raise ValueError(f"CifarResNet(depth={depth!r}): 6n + 2 is accepted, such as {6 * max(blocks, 1) + 2}")
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.bn1, self.relu = nn.BatchNorm2d(16), nn.ReLU(inplace=True)
        channels = 16
        for stage, width in enumerate((16, 32, 64), 1):
            row = [CifarBlock(channels if n == 0 else width, width, residual) for n in range(blocks)]
            self.add_module(f"layer{stage}", nn.Sequential(*row))
            channels = width
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, num_classes)
        he_init(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.bn1(self.conv1(x)))  # (N, 16, 32, 32)
        x = self.layer3(self.layer2(self.layer1(x)))  # (N, 64, 8, 8)
        return self.fc(self.avgpool(x).flatten(1))


class WideBlock(nn.Module):
    """Pre-activation: normalise and ReLU come before each 3x3, so the shortcut is never cut by a ReLU."""

    def __init__(self, in_channels: int, width: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        same = in_channels == width and stride == 1
        self.projection = None if same else nn.Conv2d(in_channels, width, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        active = self.relu(self.bn1(x))
        out = self.conv1(active)
        out = self.conv2(self.dropout(self.relu(self.bn2(out))))
        return out + (x if self.projection is None else self.projection(active))


class WideResNet(Net):
    """WRN-depth-k: 6n + 4 layers with 16k, 32k and 64k maps.

    >>> net = WideResNet(16, 2)
    >>> net(torch.zeros(2, 3, 32, 32)).shape, sum(p.numel() for p in net.parameters())
    (torch.Size([2, 10]), 691674)
    """

    def __init__(
        self, depth: int, k: int, *, dropout: float = 0.0, num_classes: int = 10, in_channels: int = 3
    ) -> None:
        super().__init__(in_channels=in_channels, num_classes=num_classes)
        blocks, rest = divmod(depth - 4, 6)
        if rest or blocks < 1:
            raise ValueError(f"WideResNet(depth={depth!r}): 6n + 4 is accepted, such as {6 * max(blocks, 1) + 4}")
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        channels = 16
        for stage, width in enumerate((16 * k, 32 * k, 64 * k), 1):
            row = []
            for n in range(blocks):
                row.append(WideBlock(channels, width, 2 if stage > 1 and n == 0 else 1, dropout))
                channels = width
            self.add_module(f"layer{stage}", nn.Sequential(*row))
        self.bn, self.relu = nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)
        he_init(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))  # (N, 64k, 8, 8)
        return self.fc(self.avgpool(self.relu(self.bn(x))).flatten(1))


MODELS = {
    **{f"plain{depth}": partial(CifarResNet, depth, residual=False) for depth in (20, 56)},
    **{f"resnet{depth}": partial(CifarResNet, depth) for depth in (20, 32, 44, 56, 110)},
    "wrn_16_2": partial(WideResNet, 16, 2),
    "wrn_28_10": partial(WideResNet, 28, 10),
    "wrn_40_2": partial(WideResNet, 40, 2),
}
