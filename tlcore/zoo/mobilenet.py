"""MobileNet v1: each convolution split into one that looks (depthwise) and one that mixes (1x1).

Howard et al. 2017 (arXiv:1704.04861), table 1; the two multipliers are its sections 3.3 and 3.4.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from tlcore.zoo.net import Net, he_init

# Maps and stride of each pair; table 1 prints the last depthwise stride as 2, where its sizes say 1.
PAIRS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
    (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip


class _ConvBN6(nn.Sequential):
    """Convolution, normalisation, ReLU6, as in the authors' code (the paper says ReLU)."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, groups: int, same: bool) -> None:
        super().__init__()
        right = same and stride == 2  # TensorFlow's "same" pads the right and the bottom only, for even sizes
        if right:
            self.pad = nn.ZeroPad2d((0, 1, 0, 1))
        padding = 0 if right else kernel // 2
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=1e-3 if same else 1e-5)
        self.relu = nn.ReLU6(inplace=True)


class SeparableConv(nn.Sequential):
    """A depthwise 3x3 and a pointwise 1x1, each with normalisation and ReLU6.

    >>> SeparableConv(32, 64, stride=2)(torch.zeros(2, 32, 8, 8)).shape
    torch.Size([2, 64, 4, 4])
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, same: bool = False) -> None:
        super().__init__()
        self.depthwise = _ConvBN6(in_channels, in_channels, 3, stride, in_channels, same)
        self.pointwise = _ConvBN6(in_channels, out_channels, 1, 1, 1, same)


class MobileNetV1(Net):
    """Thirteen separable convolutions on a 3x3 stem; 224x224 images.

    >>> net = MobileNetV1(width_multiplier=0.25)
    >>> net(torch.zeros(2, 3, 64, 64)).shape, sum(p.numel() for p in net.parameters())
    (torch.Size([2, 1000]), 470072)

    Parameters
    ----------
    width_multiplier
        Share of the maps of every layer (the paper's alpha: 1, 0.75, 0.5, 0.25).
    resolution_multiplier
        Share of the 224 pixels (rho). It changes no layer, only `input_size`, what the network is meant to be fed.
    stem
        "cifar" keeps the size in the first layer, for 32x32 images.
    same_padding
        Pad and normalise as TensorFlow does, which the published weights want.
    """

    def __init__(
        self,
        *,
        width_multiplier: float = 1.0,
        resolution_multiplier: float = 1.0,
        stem: Literal["imagenet", "cifar"] = "imagenet",
        same_padding: bool = False,
        dropout: float = 0.001,
        num_classes: int = 1000,
        in_channels: int = 3,
    ) -> None:
        super().__init__(in_channels=in_channels, num_classes=num_classes)
        for name, share in (("width", width_multiplier), ("resolution", resolution_multiplier)):
            if not 0 < share <= 4:
                raise ValueError(f"MobileNetV1({name}_multiplier={share!r}): a share such as 0.25, 0.5, 0.75 or 1")
        self.input_size = (in_channels, *2 * (round(224 * resolution_multiplier),))
        widths = [max(1, int(width * width_multiplier)) for width in (32, *(width for width, _ in PAIRS))]
        self.stem = _ConvBN6(in_channels, widths[0], 3, 2 if stem == "imagenet" else 1, 1, same_padding)
        pairs = zip(widths, widths[1:], PAIRS, strict=False)
        self.body = nn.Sequential(*(SeparableConv(a, b, stride, same_padding) for a, b, (_, stride) in pairs))
        self.avgpool, self.dropout = nn.AdaptiveAvgPool2d(1), nn.Dropout(dropout)
        self.classifier = nn.Linear(widths[-1], num_classes)
        he_init(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.body(self.stem(x))  # (N, 1024, 7, 7)
        return self.classifier(self.dropout(self.avgpool(x).flatten(1)))


MODELS = {"mobilenet_v1": MobileNetV1}
