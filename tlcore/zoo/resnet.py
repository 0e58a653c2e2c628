"""ResNet and what grew from it: plain nets without shortcuts, wide ones, ResNeXt, SE-ResNet and SENet-154.

He, Zhang, Ren, Sun 2015 (arXiv:1512.03385), table 1; Zagoruyko, Komodakis 2016 (arXiv:1605.07146);
Xie et al. 2016 (arXiv:1611.05431), table 1; Hu, Shen, Sun 2017 (arXiv:1709.01507), table 2.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import nn

from tlcore.zoo.net import Net, he_init
from tlcore.zoo.se import SqueezeExcite

Stride = Literal["v1.5", "paper"]
Stem = Literal["imagenet", "cifar"]


def _conv3(in_channels: int, out_channels: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride, 1, groups=groups, bias=False)


def _conv1(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)


def _shortcut(in_channels: int, out_channels: int, stride: int, kernel: int = 1) -> nn.Sequential | None:
    """What makes x fit F(x): nothing where the shape stays, else a convolution (the paper's option B)."""
    if stride == 1 and in_channels == out_channels:
        return None
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


class BasicBlock(nn.Module):
    """Two 3x3 layers F and a shortcut: y = relu(F(x) + x), or relu(F(x) + W x) where the shape changes.

    >>> BasicBlock(64, 128, stride=2)(torch.zeros(2, 64, 8, 8)).shape
    torch.Size([2, 128, 4, 4])

    Parameters
    ----------
    residual
        False leaves the shortcut out: a plain net.
    squeeze
        Reduction of a squeeze-and-excitation at the end of F, or None.
    """

    def __init__(
        self, in_channels: int, width: int, *, stride: int = 1, residual: bool = True, squeeze: int | None = None
    ) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv3(in_channels, width, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _conv3(width, width), nn.BatchNorm2d(width)
        self.relu, self.out_channels, self.residual = nn.ReLU(inplace=True), width, residual
        self.se = SqueezeExcite(width, squeeze) if squeeze else None
        self.downsample = _shortcut(in_channels, width, stride) if residual else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.se is not None:
            out = self.se(out)
        if self.residual:
            out = out + (x if self.downsample is None else self.downsample(x))
        return self.relu(out)


class Bottleneck(nn.Module):
    """1x1 down, 3x3, 1x1 up, and a shortcut around the three.

    >>> Bottleneck(256, (64, 64, 256))(torch.zeros(2, 256, 8, 8)).shape
    torch.Size([2, 256, 8, 8])

    Parameters
    ----------
    widths
        Maps after each of the three layers.
    where
        The layer that takes the stride: "v1.5" the 3x3, "paper" the first 1x1.
    groups
        Groups of the 3x3.
    project
        Kernel of the shortcut where it is not the identity.
    """

    def __init__(
        self,
        in_channels: int,
        widths: tuple[int, int, int],
        *,
        stride: int = 1,
        where: Stride = "v1.5",
        groups: int = 1,
        project: int = 1,
        squeeze: int | None = None,
    ) -> None:
        super().__init__()
        down, inner, up = widths
        first, second = (stride, 1) if where == "paper" else (1, stride)
        self.conv1, self.bn1 = _conv1(in_channels, down, first), nn.BatchNorm2d(down)
        self.conv2, self.bn2 = _conv3(down, inner, second, groups), nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = _conv1(inner, up), nn.BatchNorm2d(up)
        self.relu, self.out_channels = nn.ReLU(inplace=True), up
        self.se = SqueezeExcite(up, squeeze) if squeeze else None
        self.downsample = _shortcut(in_channels, up, stride, project)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        if self.se is not None:
            out = self.se(out)
        out = out + (x if self.downsample is None else self.downsample(x))
        return self.relu(out)


class ResNet(Net):
    """Four stages of blocks on a 7x7 stem; 224x224 images.

    >>> with torch.device("meta"):
    ...     net = ResNet((3, 4, 6, 3), bottlenecks=True)
    ...     out = net(torch.zeros(2, 3, 224, 224))
    >>> out.shape, sum(p.numel() for p in net.parameters())
    (torch.Size([2, 1000]), 25557032)

    Parameters
    ----------
    stages
        Blocks per stage.
    bottlenecks
        Blocks of three layers in place of two.
    stride
        Where a bottleneck that halves the map does so: "v1.5" in the 3x3 (today's nets and their weights), "paper"
        in the first 1x1, where three quarters of the pixels are never looked at.
    stem
        "cifar" begins with one 3x3 convolution and keeps the size, for 32x32 images.
    residual
        False makes the plain net of the same depth.
    groups, base
        Groups of the 3x3 and its maps per group where the stage has 64: ResNeXt, wide nets.
    squeeze
        Reduction of squeeze-and-excitation, or None.
    """

    def __init__(
        self,
        stages: tuple[int, int, int, int],
        *,
        bottlenecks: bool = False,
        stride: Stride = "v1.5",
        stem: Stem = "imagenet",
        residual: bool = True,
        groups: int = 1,
        base: int = 64,
        squeeze: int | None = None,
        num_classes: int = 1000,
        in_channels: int = 3,
    ) -> None:
        smallest = 3 if squeeze and stem == "imagenet" else 1
        super().__init__(in_channels=in_channels, num_classes=num_classes, smallest=smallest)
        first = nn.Conv2d(in_channels, 64, 7, 2, 3, bias=False) if stem == "imagenet" else _conv3(in_channels, 64)
        self.conv1, self.bn1, self.relu = first, nn.BatchNorm2d(64), nn.ReLU(inplace=True)
        # The authors of SE-ResNet worked in Caffe, whose pooling rounds up where ours pads.
        pool = nn.MaxPool2d(3, 2, ceil_mode=True) if squeeze else nn.MaxPool2d(3, 2, padding=1)
        self.maxpool = pool if stem == "imagenet" else nn.Identity()
        channels = 64
        for stage, count in enumerate(stages):
            width = 64 * 2**stage
            inner = width * base // 64 * groups
            blocks: list[nn.Module] = []
            for n in range(count):
                step = 2 if stage and not n else 1
                block: BasicBlock | Bottleneck
                if bottlenecks:
                    widths = (inner, inner, 4 * width)
                    block = Bottleneck(channels, widths, stride=step, where=stride, groups=groups, squeeze=squeeze)
                else:
                    block = BasicBlock(channels, width, stride=step, residual=residual, squeeze=squeeze)
                blocks.append(block)
                channels = block.out_channels
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)
        he_init(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))  # (N, 64, 56, 56)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))  # (N, 512 or 2048, 7, 7)
        return self.fc(self.avgpool(x).flatten(1))


class SENet154(Net):
    """The winner of 2017: ResNeXt-152 (64 groups) with squeeze-and-excitation and the small changes of section 6.4.

    The 7x7 stem is three 3x3 convolutions, each bottleneck starts with twice instead of four times fewer maps, the
    projections are 3x3, and dropout stands before the classifier.
    """

    def __init__(self, *, num_classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__(in_channels=in_channels, num_classes=num_classes, smallest=3)
        stem: list[nn.Module] = []
        for a, b, step in ((in_channels, 64, 2), (64, 64, 1), (64, 128, 1)):
            stem += [_conv3(a, b, step), nn.BatchNorm2d(b), nn.ReLU(inplace=True)]
        self.stem = nn.Sequential(*stem, nn.MaxPool2d(3, 2, ceil_mode=True))
        channels = 128
        for stage, count in enumerate((3, 8, 36, 3)):
            width = 64 * 2**stage
            blocks = []
            for n in range(count):
                step = 2 if stage and not n else 1
                widths, kernel = (2 * width, 4 * width, 4 * width), 3 if stage else 1
                blocks.append(Bottleneck(channels, widths, stride=step, groups=64, project=kernel, squeeze=16))
                channels = 4 * width
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.avgpool, self.dropout = nn.AdaptiveAvgPool2d(1), nn.Dropout(0.2)
        self.fc = nn.Linear(channels, num_classes)
        he_init(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(x)))))  # (N, 2048, 7, 7)
        return self.fc(self.dropout(self.avgpool(x).flatten(1)))


_SHALLOW = {"18": (2, 2, 2, 2), "34": (3, 4, 6, 3)}
_DEEP = {"50": (3, 4, 6, 3), "101": (3, 4, 23, 3), "152": (3, 8, 36, 3)}

MODELS = {
    **{f"plain{n}": partial(ResNet, stages, residual=False) for n, stages in _SHALLOW.items()},
    **{f"resnet{n}": partial(ResNet, stages) for n, stages in _SHALLOW.items()},
    **{f"resnet{n}": partial(ResNet, stages, bottlenecks=True) for n, stages in _DEEP.items()},
    "wide_resnet50_2": partial(ResNet, _DEEP["50"], bottlenecks=True, base=128),
    "wide_resnet101_2": partial(ResNet, _DEEP["101"], bottlenecks=True, base=128),
    "resnext50_32x4d": partial(ResNet, _DEEP["50"], bottlenecks=True, groups=32, base=4),
    "resnext101_32x4d": partial(ResNet, _DEEP["101"], bottlenecks=True, groups=32, base=4),
    "resnext101_32x8d": partial(ResNet, _DEEP["101"], bottlenecks=True, groups=32, base=8),
    "resnext101_64x4d": partial(ResNet, _DEEP["101"], bottlenecks=True, groups=64, base=4),
    **{f"se_resnet{n}": partial(ResNet, stages, squeeze=16) for n, stages in _SHALLOW.items()},
    **{
        f"se_resnet{n}": partial(ResNet, stages, bottlenecks=True, squeeze=16, stride="paper")
        for n, stages in _DEEP.items()
    },
    "se_resnext50_32x4d": partial(ResNet, _DEEP["50"], bottlenecks=True, groups=32, base=4, squeeze=16),
    "se_resnext101_32x4d": partial(ResNet, _DEEP["101"], bottlenecks=True, groups=32, base=4, squeeze=16),
    "senet154": SENet154,
}
