"""DenseNet: every layer reads the maps of all layers before it in its block, and adds a few of its own.

Huang, Liu, van der Maaten, Weinberger 2016 (arXiv:1608.06993), section 3 and table 1.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import nn

from tlcore.zoo.net import Net, he_init


class DenseLayer(nn.Module):
    """Appends `growth` maps to those it is given.

    >>> DenseLayer(24, growth=12, bottleneck=True)(torch.zeros(2, 24, 8, 8)).shape
    torch.Size([2, 36, 8, 8])

    Parameters
    ----------
    bottleneck
        Bring the input down to 4 x growth maps by a 1x1 convolution first (the B of DenseNet-BC).
    """

    def __init__(self, in_channels: int, *, growth: int, bottleneck: bool) -> None:
        super().__init__()
        self.relu, self.bottleneck, inner = nn.ReLU(inplace=True), bottleneck, in_channels
        if bottleneck:
            inner = 4 * growth
            self.norm1 = nn.BatchNorm2d(in_channels)
            self.conv1 = nn.Conv2d(in_channels, inner, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, growth, 3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        new = self.conv1(self.relu(self.norm1(x))) if self.bottleneck else x
        new = self.conv2(self.relu(self.norm2(new)))
        return torch.cat([x, new], 1)  # (N, C, H, W) -> (N, C + growth, H, W)


class Transition(nn.Sequential):
    """Between blocks: a 1x1 convolution, which may keep fewer maps (the C of DenseNet-BC), and half the size."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm, self.relu = nn.BatchNorm2d(in_channels), nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.pool = nn.AvgPool2d(2)


class DenseNet(Net):
    """Dense blocks with transitions between them.

    >>> net = DenseNet((12, 12, 12), growth=12, first=16, bottleneck=False, compression=1, stem="cifar", num_classes=10)
    >>> net(torch.zeros(2, 3, 32, 32)).shape, sum(p.numel() for p in net.parameters())
    (torch.Size([2, 10]), 1019722)

    Parameters
    ----------
    blocks
        Layers in each dense block.
    growth
        Maps that a layer adds.
    first
        Maps of the stem.
    compression
        Share of the maps that a transition keeps.
    stem
        "imagenet": 7x7 with stride 2 and pooling; "cifar": one 3x3.
    """

    def __init__(
        self,
        blocks: tuple[int, ...],
        *,
        growth: int = 32,
        first: int = 64,
        bottleneck: bool = True,
        compression: float = 0.5,
        stem: Literal["imagenet", "cifar"] = "imagenet",
        num_classes: int = 1000,
        in_channels: int = 3,
    ) -> None:
        imagenet = stem == "imagenet"
        # each transition halves, rounding down; the stem's layers round up
        smallest = 2 ** (len(blocks) - 1) * (4 if imagenet else 1) - (3 if imagenet else 0)
        super().__init__(in_channels=in_channels, num_classes=num_classes, smallest=smallest)
        if imagenet:
            self.conv0 = nn.Conv2d(in_channels, first, 7, 2, 3, bias=False)
            self.norm0, self.pool0 = nn.BatchNorm2d(first), nn.MaxPool2d(3, 2, padding=1)
        else:
            self.conv0 = nn.Conv2d(in_channels, first, 3, padding=1, bias=False)
        self.relu, self.imagenet = nn.ReLU(inplace=True), imagenet
        body, channels = nn.Sequential(), first
        for n, depth in enumerate(blocks, 1):
            layers = [DenseLayer(channels + i * growth, growth=growth, bottleneck=bottleneck) for i in range(depth)]
            body.add_module(f"block{n}", nn.Sequential(*layers))
            channels += depth * growth
            if n < len(blocks):
                kept = int(channels * compression)
                body.add_module(f"transition{n}", Transition(channels, kept))
                channels = kept
        self.body, self.norm = body, nn.BatchNorm2d(channels)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, num_classes)
        he_init(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv0(x)
        if self.imagenet:
            x = self.pool0(self.relu(self.norm0(x)))  # (N, first, 56, 56)
        x = self.relu(self.norm(self.body(x)))  # (N, 1024, 7, 7) for DenseNet-121
        return self.classifier(self.avgpool(x).flatten(1))


_cifar = partial(DenseNet, growth=12, stem="cifar", num_classes=10)

MODELS = {
    "densenet121": partial(DenseNet, (6, 12, 24, 16)),
    "densenet161": partial(DenseNet, (6, 12, 36, 24), growth=48, first=96),
    "densenet169": partial(DenseNet, (6, 12, 32, 32)),
    "densenet201": partial(DenseNet, (6, 12, 48, 32)),
    "densenet40_k12": partial(_cifar, (12, 12, 12), first=16, bottleneck=False, compression=1.0),
    "densenet_bc100_k12": partial(_cifar, (16, 16, 16), first=24),
}
