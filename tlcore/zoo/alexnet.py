"""AlexNet and ZFNet, the winners of 2012 and of the year after.

Krizhevsky, Sutskever, Hinton 2012, "ImageNet classification with deep convolutional neural networks"; its two columns
of layers, one for each GPU, are two groups here. torchvision's AlexNet is that of Krizhevsky 2014 (arXiv:1404.5997).
Zeiler, Fergus 2013 (arXiv:1311.2901), figure 3 and table 3.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from tlcore.zoo.net import Net, response_norm


def _conv(in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, padding: int = 0, groups: int = 1):  # type: ignore[no-untyped-def]
    return [nn.Conv2d(in_channels, out_channels, kernel, stride, padding, groups=groups), nn.ReLU(inplace=True)]


def _classifier(features: int, num_classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Dropout(), nn.Linear(features, 4096), nn.ReLU(inplace=True),
        nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(inplace=True),
        nn.Linear(4096, num_classes),
    )  # fmt: skip


class _FullyConnectedNet(Net):
    """Convolutions, then maps brought to 6x6 (as they are at the paper's image size), then three linear layers."""

    def __init__(
        self, features: nn.Sequential, channels: int, *, in_channels: int, num_classes: int, smallest: int
    ) -> None:
        super().__init__(in_channels=in_channels, num_classes=num_classes, smallest=smallest)
        self.features = features
        self.pool = nn.AdaptiveAvgPool2d(6)
        self.classifier = _classifier(channels * 6 * 6, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.features(x))  # (N, C, 6, 6)
        return self.classifier(x.flatten(1))


class AlexNet(_FullyConnectedNet):
    """The network of 2012, for 227x227 images; the paper's 224 does not give its own 55x55 maps.

    >>> with torch.device("meta"):
    ...     net = AlexNet()
    ...     out = net(torch.zeros(2, 3, 227, 227))
    >>> out.shape, sum(p.numel() for p in net.parameters())
    (torch.Size([2, 1000]), 60965224)

    Parameters
    ----------
    groups
        2 as on two GPUs; 1 lets every map see all maps below.
    """

    def __init__(self, *, groups: int = 2, num_classes: int = 1000, in_channels: int = 3) -> None:
        features = nn.Sequential(
            *_conv(in_channels, 96, 11, stride=4), response_norm(), nn.MaxPool2d(3, 2),  # (N, 96, 27, 27)
            *_conv(96, 256, 5, padding=2, groups=groups), response_norm(), nn.MaxPool2d(3, 2),  # (N, 256, 13, 13)
            *_conv(256, 384, 3, padding=1),
            *_conv(384, 384, 3, padding=1, groups=groups),
            *_conv(384, 256, 3, padding=1, groups=groups), nn.MaxPool2d(3, 2),  # (N, 256, 6, 6)
        )  # fmt: skip
        super().__init__(features, 256, in_channels=in_channels, num_classes=num_classes, smallest=67)


class AlexNetTorchvision(_FullyConnectedNet):
    """The variant that torchvision calls AlexNet: one column, no response normalisation, fewer maps; 224x224."""

    def __init__(self, *, num_classes: int = 1000, in_channels: int = 3) -> None:
        features = nn.Sequential(
            *_conv(in_channels, 64, 11, stride=4, padding=2), nn.MaxPool2d(3, 2),
            *_conv(64, 192, 5, padding=2), nn.MaxPool2d(3, 2),
            *_conv(192, 384, 3, padding=1),
            *_conv(384, 256, 3, padding=1),
            *_conv(256, 256, 3, padding=1), nn.MaxPool2d(3, 2),
        )  # fmt: skip
        super().__init__(features, 256, in_channels=in_channels, num_classes=num_classes, smallest=63)


class ZFNet(_FullyConnectedNet):
    """AlexNet looked into and mended: a finer first layer (7x7, stride 2), a stride in the second; 224x224.

    Parameters
    ----------
    widths
        Maps of layers 3, 4 and 5; the paper's table 3 also tries (512, 1024, 512).
    """

    def __init__(
        self, *, widths: tuple[int, int, int] = (384, 384, 256), num_classes: int = 1000, in_channels: int = 3
    ) -> None:
        third, fourth, fifth = widths
        pool = partial(nn.MaxPool2d, 3, 2, ceil_mode=True)
        features = nn.Sequential(
            *_conv(in_channels, 96, 7, stride=2, padding=1), pool(), response_norm(),  # (N, 96, 55, 55)
            *_conv(96, 256, 5, stride=2), pool(), response_norm(),  # (N, 256, 13, 13)
            *_conv(256, third, 3, padding=1),
            *_conv(third, fourth, 3, padding=1),
            *_conv(fourth, fifth, 3, padding=1), pool(),  # (N, 256, 6, 6)
        )  # fmt: skip
        super().__init__(features, fifth, in_channels=in_channels, num_classes=num_classes, smallest=47)


MODELS = {
    "alexnet": AlexNet,
    "alexnet_ungrouped": partial(AlexNet, groups=1),
    "alexnet_torchvision": AlexNetTorchvision,
    "zfnet": ZFNet,
    "zfnet_wide": partial(ZFNet, widths=(512, 1024, 512)),
}
