"""Inception v4, and Inception-ResNet v1 and v2: inception modules, without and with shortcuts around them.

Szegedy, Ioffe, Vanhoucke, Alemi 2016 (arXiv:1602.07261), figures 3 to 19.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from tlcore.zoo.inception import Branches
from tlcore.zoo.net import ConvBN, Net, he_init

conv = partial(ConvBN, eps=1e-3)
ROW, COLUMN = (1, 7), (7, 1)


def _average() -> nn.AvgPool2d:
    return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)


def _half(channels: int, out_channels: int) -> ConvBN:
    """3x3 with stride 2 and no padding: 35x35 to 17x17."""
    return conv(channels, out_channels, 3, stride=2, padding=0)


def stem_v4(in_channels: int) -> nn.Sequential:
    """299x299 to 35x35 with 384 maps (figure 3)."""
    return nn.Sequential(
        _half(in_channels, 32), conv(32, 32, 3, padding=0), conv(32, 64, 3),
        Branches(pool=nn.MaxPool2d(3, 2), conv=_half(64, 96)),  # (N, 160, 73, 73)
        Branches(
            short=nn.Sequential(conv(160, 64, 1), conv(64, 96, 3, padding=0)),
            long=nn.Sequential(conv(160, 64, 1), conv(64, 64, ROW), conv(64, 64, COLUMN), conv(64, 96, 3, padding=0)),
        ),  # (N, 192, 71, 71)
        Branches(conv=_half(192, 192), pool=nn.MaxPool2d(3, 2)),  # (N, 384, 35, 35)
    )  # fmt: skip


def module_a() -> Branches:
    """35x35, 384 maps (figure 4)."""
    return Branches(
        one=conv(384, 96, 1),
        three=nn.Sequential(conv(384, 64, 1), conv(64, 96, 3)),
        twice=nn.Sequential(conv(384, 64, 1), conv(64, 96, 3), conv(96, 96, 3)),
        pool=nn.Sequential(_average(), conv(384, 96, 1)),
    )


def module_b() -> Branches:
    """17x17, 1024 maps (figure 5)."""
    return Branches(
        one=conv(1024, 384, 1),
        seven=nn.Sequential(conv(1024, 192, 1), conv(192, 224, ROW), conv(224, 256, COLUMN)),
        twice=nn.Sequential(
            conv(1024, 192, 1), conv(192, 192, COLUMN), conv(192, 224, ROW), conv(224, 224, COLUMN), conv(224, 256, ROW)
        ),
        pool=nn.Sequential(_average(), conv(1024, 128, 1)),
    )


def module_c() -> Branches:
    """8x8, 1536 maps (figure 6)."""

    def split(channels: int) -> Branches:
        return Branches(row=conv(channels, 256, (1, 3)), column=conv(channels, 256, (3, 1)))

    return Branches(
        one=conv(1536, 256, 1),
        three=nn.Sequential(conv(1536, 384, 1), split(384)),
        twice=nn.Sequential(conv(1536, 384, 1), conv(384, 448, (3, 1)), conv(448, 512, (1, 3)), split(512)),
        pool=nn.Sequential(_average(), conv(1536, 256, 1)),
    )


def halve_a(channels: int, k: int, l: int, m: int, n: int) -> Branches:
    """35x35 to 17x17; k, l, m, n of the paper's table 1 (figure 7)."""
    return Branches(
        three=_half(channels, n),
        twice=nn.Sequential(conv(channels, k, 1), conv(k, l, 3), _half(l, m)),
        pool=nn.MaxPool2d(3, 2),
    )


def halve_b() -> Branches:
    """17x17 to 8x8 in v4 (figure 8)."""
    seven = [conv(1024, 256, 1), conv(256, 256, ROW), conv(256, 320, COLUMN), _half(320, 320)]
    three = [conv(1024, 192, 1), _half(192, 192)]
    return Branches(three=nn.Sequential(*three), seven=nn.Sequential(*seven), pool=nn.MaxPool2d(3, 2))


class _InceptionNet(Net):
    """Stem and modules in a row, then the mean of each map, dropout and the classifier."""

    def __init__(
        self, body: nn.Sequential, channels: int, dropout: float, *, num_classes: int, in_channels: int
    ) -> None:
        super().__init__(in_channels=in_channels, num_classes=num_classes, smallest=75)
        self.body = body
        self.avgpool, self.dropout = nn.AdaptiveAvgPool2d(1), nn.Dropout(dropout)
        self.fc = nn.Linear(channels, num_classes)
        he_init(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.body(x)  # (N, channels, 8, 8)
        return self.fc(self.dropout(self.avgpool(x).flatten(1)))


class InceptionV4(_InceptionNet):
    """Four, seven and three modules of pure inception; 299x299 images.

    >>> with torch.device("meta"):
    ...     net = InceptionV4()
    ...     out = net(torch.zeros(2, 3, 299, 299))
    >>> out.shape, sum(p.numel() for p in net.parameters())
    (torch.Size([2, 1000]), 42679816)
    """

    def __init__(self, *, num_classes: int = 1000, in_channels: int = 3) -> None:
        body = nn.Sequential(
            *stem_v4(in_channels),
            *[module_a() for _ in range(4)], halve_a(384, 192, 224, 256, 384),
            *[module_b() for _ in range(7)], halve_b(),
            *[module_c() for _ in range(3)],
        )  # fmt: skip
        super().__init__(body, 1536, 0.2, num_classes=num_classes, in_channels=in_channels)


class ResidualInception(nn.Module):
    """y = relu(x + scale * up(branches(x))): the scale keeps large sums from running away (section 3.3).

    >>> branches = Branches(one=conv(8, 4, 1), three=conv(8, 4, 3))
    >>> ResidualInception(8, branches, 8, scale=0.17)(torch.zeros(2, 8, 5, 5)).shape
    torch.Size([2, 8, 5, 5])
    """

    def __init__(self, channels: int, branches: Branches, inner: int, *, scale: float, relu: bool = True) -> None:
        super().__init__()
        self.branches, self.scale = branches, scale
        self.up = nn.Conv2d(inner, channels, 1)
        self.relu = nn.ReLU(inplace=True) if relu else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(x + self.scale * self.up(self.branches(x)))


def _residual_a(channels: int, widths: tuple[int, int], scale: float) -> ResidualInception:
    """35x35 (figures 10 and 16)."""
    middle, last = widths
    branches = Branches(
        one=conv(channels, 32, 1),
        three=nn.Sequential(conv(channels, 32, 1), conv(32, 32, 3)),
        twice=nn.Sequential(conv(channels, 32, 1), conv(32, middle, 3), conv(middle, last, 3)),
    )
    return ResidualInception(channels, branches, 64 + last, scale=scale)


def _residual_b(channels: int, one: int, widths: tuple[int, int, int], scale: float) -> ResidualInception:
    """17x17 (figures 11 and 17)."""
    a, b, c = widths
    seven = nn.Sequential(conv(channels, a, 1), conv(a, b, ROW), conv(b, c, COLUMN))
    return ResidualInception(channels, Branches(one=conv(channels, one, 1), seven=seven), one + c, scale=scale)


def _residual_c(channels: int, widths: tuple[int, int, int], scale: float, relu: bool) -> ResidualInception:
    """8x8 (figures 13 and 19)."""
    a, b, c = widths
    three = nn.Sequential(conv(channels, a, 1), conv(a, b, (1, 3)), conv(b, c, (3, 1)))
    branches = Branches(one=conv(channels, 192, 1), three=three)
    return ResidualInception(channels, branches, 192 + c, scale=scale, relu=relu)


def _halve_residual(channels: int, widths: tuple[int, int, int, int]) -> Branches:
    """17x17 to 8x8 in the residual nets (figures 12 and 18)."""
    plain, side, middle, end = widths
    return Branches(
        three=nn.Sequential(conv(channels, 256, 1), _half(256, plain)),
        other=nn.Sequential(conv(channels, 256, 1), _half(256, side)),
        twice=nn.Sequential(conv(channels, 256, 1), conv(256, middle, 3), _half(middle, end)),
        pool=nn.MaxPool2d(3, 2),
    )


class InceptionResNetV1(_InceptionNet):
    """About as costly as Inception v3 (figures 10 to 15); 299x299 images.

    >>> with torch.device("meta"):
    ...     InceptionResNetV1()(torch.zeros(2, 3, 299, 299)).shape
    torch.Size([2, 1000])
    """

    def __init__(self, *, num_classes: int = 1000, in_channels: int = 3) -> None:
        body = nn.Sequential(
            _half(in_channels, 32), conv(32, 32, 3, padding=0), conv(32, 64, 3), nn.MaxPool2d(3, 2),
            conv(64, 80, 1), conv(80, 192, 3, padding=0), _half(192, 256),  # (N, 256, 35, 35)
            *[_residual_a(256, (32, 32), 0.17) for _ in range(5)], halve_a(256, 192, 192, 256, 384),
            *[_residual_b(896, 128, (128, 128, 128), 0.10) for _ in range(10)],
            _halve_residual(896, (384, 256, 256, 256)),
            *[_residual_c(1792, (192, 192, 192), 0.20, True) for _ in range(5)],
        )  # fmt: skip
        super().__init__(body, 1792, 0.2, num_classes=num_classes, in_channels=in_channels)


class InceptionResNetV2(_InceptionNet):
    """About as costly as Inception v4, with the numbers of blocks of the authors' released network; 299x299 images.

    >>> with torch.device("meta"):
    ...     net = InceptionResNetV2()
    ...     out = net(torch.zeros(2, 3, 299, 299))
    >>> out.shape, sum(p.numel() for p in net.parameters())
    (torch.Size([2, 1000]), 55843464)
    """

    def __init__(self, *, num_classes: int = 1000, in_channels: int = 3) -> None:
        first = Branches(
            one=conv(192, 96, 1),
            five=nn.Sequential(conv(192, 48, 1), conv(48, 64, 5)),
            twice=nn.Sequential(conv(192, 64, 1), conv(64, 96, 3), conv(96, 96, 3)),
            pool=nn.Sequential(_average(), conv(192, 64, 1)),
        )
        body = nn.Sequential(
            _half(in_channels, 32), conv(32, 32, 3, padding=0), conv(32, 64, 3), nn.MaxPool2d(3, 2),
            conv(64, 80, 1), conv(80, 192, 3, padding=0), nn.MaxPool2d(3, 2), first,  # (N, 320, 35, 35)
            *[_residual_a(320, (48, 64), 0.17) for _ in range(10)], halve_a(320, 256, 256, 384, 384),
            *[_residual_b(1088, 192, (128, 160, 192), 0.10) for _ in range(20)],
            _halve_residual(1088, (384, 288, 288, 320)),
            *[_residual_c(2080, (192, 224, 256), 0.20, True) for _ in range(9)],
            _residual_c(2080, (192, 224, 256), 1.0, False), conv(2080, 1536, 1),
        )  # fmt: skip
        super().__init__(body, 1536, 0.2, num_classes=num_classes, in_channels=in_channels)


MODELS = {
    "inception_v4": InceptionV4,
    "inception_resnet_v1": InceptionResNetV1,
    "inception_resnet_v2": InceptionResNetV2,
}
