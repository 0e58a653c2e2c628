"""GoogLeNet: small and large kernels side by side, and 1x1 convolutions that make them affordable.

Szegedy et al. 2014 (arXiv:1409.4842), table 1 and figure 2. The torchvision variant normalises, has no
biases, and has a 3x3 convolution where the paper has 5x5.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from tlcore.zoo.net import ConvBN, Net, he_init, response_norm

# Maps of each module: 1x1; 1x1 before 3x3, 3x3; 1x1 before 5x5, 5x5; 1x1 after pooling.
Widths = tuple[int, int, int, int, int, int]
TABLE: dict[str, Widths] = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


class ConvReLU(nn.Sequential):
    """Convolution with bias, then ReLU; the size stays at stride 1."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, bias: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=bias)
        self.relu = nn.ReLU(inplace=True)


class InceptionNaive(nn.Module):
    """The idea of figure 2a: 1x1, 3x3, 5x5 and pooling side by side, all of them on all of the input.

    >>> module = InceptionNaive(192, 64, 128, 32)
    >>> module(torch.zeros(2, 192, 28, 28)).shape
    torch.Size([2, 416, 28, 28])
    """

    def __init__(self, in_channels: int, one: int, three: int, five: int, *, bias: bool = True) -> None:
        super().__init__()
        self.one = ConvReLU(in_channels, one, 1, bias=bias)
        self.three = ConvReLU(in_channels, three, 3, bias=bias)
        self.five = ConvReLU(in_channels, five, 5, bias=bias)
        self.pool = nn.MaxPool2d(3, stride=1, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], 1)


class Inception(nn.Module):
    """Figure 2b: the same with 1x1 convolutions before the 3x3 and the 5x5, and after the pooling.

    >>> module = Inception(192, TABLE["3a"])
    >>> module(torch.zeros(2, 192, 28, 28)).shape
    torch.Size([2, 256, 28, 28])

    Parameters
    ----------
    widths
        Maps of 1x1; 1x1 before 3x3, 3x3; 1x1 before 5x5, 5x5; 1x1 after pooling.
    normed
        Batch normalisation in place of biases, and 3x3 in place of 5x5: torchvision's variant.
    """

    def __init__(self, in_channels: int, widths: Widths, *, normed: bool = False, bias: bool = True) -> None:
        super().__init__()
        one, reduce3, three, reduce5, five, pooled = widths
        conv = partial(ConvBN, eps=1e-3) if normed else partial(ConvReLU, bias=bias)
        self.branch1 = conv(in_channels, one, 1)
        self.branch2 = nn.Sequential(conv(in_channels, reduce3, 1), conv(reduce3, three, 3))
        self.branch3 = nn.Sequential(conv(in_channels, reduce5, 1), conv(reduce5, five, 3 if normed else 5))
        pool = nn.MaxPool2d(3, stride=1, padding=1, ceil_mode=normed)
        self.branch4 = nn.Sequential(pool, conv(in_channels, pooled, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class AuxiliaryHead(nn.Module):
    """A classifier half-way up, whose loss helps the layers below to learn; used only in training."""

    def __init__(self, in_channels: int, num_classes: int, normed: bool) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(4)  # 5x5 with stride 3 in the paper, which turns 14x14 into 4x4
        self.conv = ConvBN(in_channels, 128, 1, eps=1e-3) if normed else ConvReLU(in_channels, 128, 1)
        self.fc1, self.relu = nn.Linear(128 * 4 * 4, 1024), nn.ReLU(inplace=True)
        self.dropout, self.fc2 = nn.Dropout(0.7), nn.Linear(1024, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(self.pool(x)).flatten(1)  # (N, 2048)
        return self.fc2(self.dropout(self.relu(self.fc1(x))))


class GoogLeNet(Net):
    """Nine inception modules; 224x224 images.

    >>> net = GoogLeNet().eval()
    >>> net(torch.zeros(1, 3, 64, 64)).shape, sum(p.numel() for p in net.parameters())
    (torch.Size([1, 1000]), 6998552)

    Parameters
    ----------
    aux_logits
        Add the two auxiliary heads; in training the output is then (logits, from 4d, from 4a).
    normed
        torchvision's variant.
    transform_input
        Undo the usual normalisation of images and apply the one torchvision's weights were trained with.
    """

    def __init__(
        self,
        *,
        normed: bool = False,
        aux_logits: bool = False,
        transform_input: bool = False,
        num_classes: int = 1000,
        in_channels: int = 3,
    ) -> None:
        super().__init__(in_channels=in_channels, num_classes=num_classes, smallest=15 if normed else 31)
        self.transform_input, self.aux_logits, self.normed = transform_input, aux_logits, normed
        conv = partial(ConvBN, eps=1e-3) if normed else ConvReLU
        norm = nn.Identity if normed else response_norm
        self.stem = nn.Sequential(
            conv(in_channels, 64, 7, stride=2), nn.MaxPool2d(3, 2, ceil_mode=True), norm(),  # (N, 64, 56, 56)
            conv(64, 64, 1), conv(64, 192, 3), norm(), nn.MaxPool2d(3, 2, ceil_mode=True),  # (N, 192, 28, 28)
        )  # fmt: skip
        channels = 192
        for name, widths in TABLE.items():
            self.add_module(f"inception{name}", Inception(channels, widths, normed=normed))
            channels = widths[0] + widths[2] + widths[4] + widths[5]
        self.pool3 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.pool4 = nn.MaxPool2d(2 if normed else 3, 2, ceil_mode=True)
        self.aux1 = AuxiliaryHead(512, num_classes, normed) if aux_logits else None
        self.aux2 = AuxiliaryHead(528, num_classes, normed) if aux_logits else None
        self.avgpool, self.dropout = nn.AdaptiveAvgPool2d(1), nn.Dropout(0.2 if normed else 0.4)
        self.fc = nn.Linear(1024, num_classes)
        he_init(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        if self.transform_input:
            x = renormalise(x)
        x = self.stem(x)
        x = self.pool3(self.inception3b(self.inception3a(x)))  # (N, 480, 14, 14)
        x = low = self.inception4a(x)  # (N, 512, 14, 14)
        x = high = self.inception4d(self.inception4c(self.inception4b(x)))  # (N, 528, 14, 14)
        x = self.pool4(self.inception4e(x))  # (N, 832, 7, 7)
        x = self.inception5b(self.inception5a(x))  # (N, 1024, 7, 7)
        logits: torch.Tensor = self.fc(self.dropout(self.avgpool(x).flatten(1)))
        if self.training and self.aux1 is not None and self.aux2 is not None:
            return logits, self.aux2(high), self.aux1(low)
        return logits


def renormalise(x: torch.Tensor) -> torch.Tensor:
    """From ImageNet's means and deviations to (x - 0.5) / 0.5, channel by channel.

    >>> white = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    >>> renormalise(white.view(1, 3, 1, 1)).flatten().round(decimals=4)
    tensor([1., 1., 1.])
    """
    channels = zip((0.229, 0.224, 0.225), (0.485, 0.456, 0.406), strict=True)
    mended = [x[:, n : n + 1] * (std / 0.5) + (mean - 0.5) / 0.5 for n, (std, mean) in enumerate(channels)]
    return torch.cat(mended, 1)


MODELS = {"googlenet": GoogLeNet, "googlenet_torchvision": partial(GoogLeNet, normed=True)}
