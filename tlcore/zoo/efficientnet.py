"""EfficientNet: one small network found by search, made deeper, wider and finer all at once.

Tan, Le 2019 (arXiv:1905.11946), table 1 and section 3.3; L2 is Xie et al. 2019 (arXiv:1911.04252), table 7.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import nn

from tlcore.zoo.net import Net, he_init
from tlcore.zoo.se import SqueezeExcite

# Expansion, kernel, stride, maps, repetitions of each stage of B0.
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)


class DropPath(nn.Module):
    """In training, leave the branch out for some images and scale it up for the others (Huang et al. 2016)."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.probability == 0:
            return x
        keep = 1 - self.probability
        return x * (torch.rand(x.shape[0], 1, 1, 1, device=x.device) < keep) / keep


def _conv(
    in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, groups: int = 1, eps: float, act: bool = True
) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out_channels, eps=eps),
    ]
    return nn.Sequential(*layers, nn.SiLU(inplace=True)) if act else nn.Sequential(*layers)


class InvertedBottleneck(nn.Module):
    """1x1 up, depthwise kxk, gate, 1x1 down without activation; a shortcut where the shape stays (MBConv)."""

    def __init__(
        self, in_channels: int, out_channels: int, *, expand: int, kernel: int, stride: int, drop: float, eps: float
    ) -> None:
        super().__init__()
        inner = in_channels * expand
        self.expand = _conv(in_channels, inner, 1, eps=eps) if expand > 1 else nn.Identity()
        self.depthwise = _conv(inner, inner, kernel, stride=stride, groups=inner, eps=eps)
        self.gate = SqueezeExcite(inner, inner=max(1, in_channels // 4), act=nn.SiLU)
        self.project = _conv(inner, out_channels, 1, eps=eps, act=False)
        self.shortcut = stride == 1 and in_channels == out_channels
        self.drop = DropPath(drop)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.project(self.gate(self.depthwise(self.expand(x))))
        return self.drop(out) + x if self.shortcut else out


class EfficientNet(Net):
    """B0 scaled by two numbers.

    >>> net = EfficientNet().eval()
    >>> net(torch.zeros(1, 3, 64, 64)).shape, sum(p.numel() for p in net.parameters())
    (torch.Size([1, 1000]), 5288548)

    Parameters
    ----------
    width, depth
        Factors on the maps (rounded to multiples of 8) and on the repetitions (rounded up).
    """

    def __init__(
        self,
        *,
        width: float = 1.0,
        depth: float = 1.0,
        dropout: float = 0.2,
        eps: float = 1e-5,
        num_classes: int = 1000,
        in_channels: int = 3,
    ) -> None:
        super().__init__(in_channels=in_channels, num_classes=num_classes)
        channels = _rounded(32 * width)
        self.stem = _conv(in_channels, channels, 3, stride=2, eps=eps)
        total = sum(math.ceil(repeat * depth) for *_, repeat in STAGES)
        blocks: list[nn.Module] = []
        for expand, kernel, stride, maps, repeat in STAGES:
            for n in range(math.ceil(repeat * depth)):
                drop, step = 0.2 * len(blocks) / total, 1 if n else stride
                block = InvertedBottleneck(
                    channels, _rounded(maps * width), expand=expand, kernel=kernel, stride=step, drop=drop, eps=eps
                )
                blocks.append(block)
                channels = _rounded(maps * width)
        self.body = nn.Sequential(*blocks)
        self.top = _conv(channels, 4 * channels, 1, eps=eps)
        self.avgpool, self.dropout = nn.AdaptiveAvgPool2d(1), nn.Dropout(dropout)
        self.classifier = nn.Linear(4 * channels, num_classes)
        he_init(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.top(self.body(self.stem(x)))  # (N, 1280, 7, 7)
        return self.classifier(self.dropout(self.avgpool(x).flatten(1)))


def _rounded(maps: float) -> int:
    """Nearest multiple of 8, but not less than nine tenths of what was asked."""
    near = max(8, int(maps + 4) // 8 * 8)
    return near + 8 if near < 0.9 * maps else near


MODELS = {
    "efficientnet_b0": EfficientNet,
    "efficientnet_l2": partial(EfficientNet, width=4.3, depth=5.3, dropout=0.5, eps=1e-3),
}
