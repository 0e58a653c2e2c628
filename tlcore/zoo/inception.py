"""Inception v2 and v3: batch normalisation, and large kernels factorised into small ones.

v2 ("BN-Inception"): Ioffe, Szegedy 2015 (arXiv:1502.03167), figure 5.
v3: Szegedy et al. 2015 (arXiv:1512.00567), table 1.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from tlcore.zoo.googlenet import renormalise
from tlcore.zoo.net import ConvBN, Net, he_init

conv = partial(ConvBN, eps=1e-3)


class Branches(nn.ModuleDict):
    """Branches side by side on the same input, their maps one after another; a branch may split once more.

    >>> Branches(left=nn.Conv2d(3, 4, 1), right=nn.Conv2d(3, 5, 3, padding=1))(torch.zeros(1, 3, 8, 8)).shape
    torch.Size([1, 9, 8, 8])
    """

    def __init__(self, **branches: nn.Module) -> None:
        super().__init__(branches)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(x) for branch in self.values()], 1)


def _average() -> nn.AvgPool2d:
    return nn.AvgPool2d(3, stride=1, padding=1)


# 1x1; 1x1 before 3x3, 3x3; 1x1 before two 3x3, their maps; 1x1 after pooling. A module that halves has no 1x1.
BN_TABLE: dict[str, tuple[int, int, int, int, int, int]] = {
    "3a": (64, 64, 64, 64, 96, 32),
    "3b": (64, 64, 96, 64, 96, 64),
    "3c": (0, 128, 160, 64, 96, 0),
    "4a": (224, 64, 96, 96, 128, 128),
    "4b": (192, 96, 128, 96, 128, 128),
    "4c": (160, 128, 160, 128, 160, 128),
    "4d": (96, 128, 192, 160, 192, 128),
    "4e": (0, 128, 192, 192, 256, 0),
    "5a": (352, 192, 320, 160, 224, 128),
    "5b": (352, 192, 320, 192, 224, 128),
}


def _bn_module(name: str, channels: int) -> nn.Module:
    biased = partial(ConvBN, bias=True)
    one, reduce3, three, reduce5, five, pooled = BN_TABLE[name]
    stride = 1 if one else 2
    branches: dict[str, nn.Module] = {"one": biased(channels, one, 1)} if one else {}
    branches["three"] = nn.Sequential(biased(channels, reduce3, 1), biased(reduce3, three, 3, stride=stride))
    twice = [biased(channels, reduce5, 1), biased(reduce5, five, 3), biased(five, five, 3, stride=stride)]
    branches["twice"] = nn.Sequential(*twice)
    if not one:
        branches["pool"] = nn.MaxPool2d(3, 2, padding=1)
    else:
        pool = nn.MaxPool2d(3, 1, padding=1) if name == "5b" else _average()
        branches["pool"] = nn.Sequential(pool, biased(channels, pooled, 1))
    return Branches(**branches)


class BNInception(Net):
    """Inception v2: two 3x3 in place of each 5x5, normalisation everywhere; 224x224 images.

    >>> net = BNInception().eval()
    >>> net(torch.zeros(1, 3, 64, 64)).shape, sum(p.numel() for p in net.parameters())
    (torch.Size([1, 1000]), 11295240)
    """

    def __init__(self, *, num_classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__(in_channels=in_channels, num_classes=num_classes)
        biased = partial(ConvBN, bias=True)
        self.stem = nn.Sequential(
            biased(in_channels, 64, 7, stride=2), nn.MaxPool2d(3, 2, padding=1),  # (N, 64, 56, 56)
            biased(64, 64, 1), biased(64, 192, 3), nn.MaxPool2d(3, 2, padding=1),  # (N, 192, 28, 28)
        )  # fmt: skip
        self.body, channels = nn.Sequential(), 192
        for name, (one, _, three, _, five, pooled) in BN_TABLE.items():
            self.body.add_module(name, _bn_module(name, channels))
            channels = one + three + five + (pooled or channels)
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(channels, num_classes)
        he_init(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.body(self.stem(x))  # (N, 1024, 7, 7)
        return self.fc(self.avgpool(x).flatten(1))


def module_a(channels: int, pooled: int) -> Branches:
    """35x35: 5x5 and two 3x3 (figure 5)."""
    return Branches(
        one=conv(channels, 64, 1),
        five=nn.Sequential(conv(channels, 48, 1), conv(48, 64, 5)),
        twice=nn.Sequential(conv(channels, 64, 1), conv(64, 96, 3), conv(96, 96, 3)),
        pool=nn.Sequential(_average(), conv(channels, pooled, 1)),
    )


def halve_a(channels: int) -> Branches:
    """35x35 to 17x17 without a bottleneck (figure 10)."""
    return Branches(
        three=conv(channels, 384, 3, stride=2, padding=0),
        twice=nn.Sequential(conv(channels, 64, 1), conv(64, 96, 3), conv(96, 96, 3, stride=2, padding=0)),
        pool=nn.MaxPool2d(3, 2),
    )


def module_b(channels: int, width: int) -> Branches:
    """17x17: n x n as 1 x n and n x 1, with n = 7 (figure 6)."""
    row, column = (1, 7), (7, 1)
    return Branches(
        one=conv(channels, 192, 1),
        seven=nn.Sequential(conv(channels, width, 1), conv(width, width, row), conv(width, 192, column)),
        twice=nn.Sequential(
            conv(channels, width, 1), conv(width, width, column), conv(width, width, row),
            conv(width, width, column), conv(width, 192, row),
        ),
        pool=nn.Sequential(_average(), conv(channels, 192, 1)),
    )  # fmt: skip


def halve_b(channels: int) -> Branches:
    """17x17 to 8x8."""
    seven = [conv(channels, 192, 1), conv(192, 192, (1, 7)), conv(192, 192, (7, 1))]
    return Branches(
        three=nn.Sequential(conv(channels, 192, 1), conv(192, 320, 3, stride=2, padding=0)),
        seven=nn.Sequential(*seven, conv(192, 192, 3, stride=2, padding=0)),
        pool=nn.MaxPool2d(3, 2),
    )


def module_c(channels: int) -> Branches:
    """8x8: the factors side by side instead of one after the other (figure 7)."""

    def split() -> Branches:
        return Branches(row=conv(384, 384, (1, 3)), column=conv(384, 384, (3, 1)))

    return Branches(
        one=conv(channels, 320, 1),
        three=nn.Sequential(conv(channels, 384, 1), split()),
        twice=nn.Sequential(conv(channels, 448, 1), conv(448, 384, 3), split()),
        pool=nn.Sequential(_average(), conv(channels, 192, 1)),
    )


class InceptionV3(Net):
    """Factorised inception; 299x299 images.

    >>> net = InceptionV3().eval()
    >>> net(torch.zeros(1, 3, 75, 75)).shape, sum(p.numel() for p in net.parameters())
    (torch.Size([1, 1000]), 23834568)

    Parameters
    ----------
    aux_logits
        Add the auxiliary head; in training the output is then (logits, auxiliary logits). It needs 299x299.
    transform_input
        Undo the usual normalisation of images and apply the one torchvision's weights were trained with.
    """

    def __init__(
        self,
        *,
        aux_logits: bool = False,
        transform_input: bool = False,
        num_classes: int = 1000,
        in_channels: int = 3,
    ) -> None:
        super().__init__(in_channels=in_channels, num_classes=num_classes, smallest=75)
        self.transform_input, self.aux_logits = transform_input, aux_logits
        self.stem = nn.Sequential(
            conv(in_channels, 32, 3, stride=2, padding=0), conv(32, 32, 3, padding=0), conv(32, 64, 3),
            nn.MaxPool2d(3, 2),  # (N, 64, 73, 73)
            conv(64, 80, 1), conv(80, 192, 3, padding=0), nn.MaxPool2d(3, 2),  # (N, 192, 35, 35)
        )  # fmt: skip
        self.a = nn.Sequential(module_a(192, 32), module_a(256, 64), module_a(288, 64), halve_a(288))
        self.b = nn.Sequential(*[module_b(768, width) for width in (128, 160, 160, 192)])
        self.aux = _AuxiliaryHead(768, num_classes) if aux_logits else None
        self.c = nn.Sequential(halve_b(768), module_c(1280), module_c(2048))
        self.avgpool, self.dropout = nn.AdaptiveAvgPool2d(1), nn.Dropout()
        self.fc = nn.Linear(2048, num_classes)
        he_init(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        if self.transform_input:
            x = renormalise(x)
        middle = self.b(self.a(self.stem(x)))  # (N, 768, 17, 17)
        x = self.c(middle)  # (N, 2048, 8, 8)
        logits: torch.Tensor = self.fc(self.dropout(self.avgpool(x).flatten(1)))
        if self.training and self.aux is not None:
            return logits, self.aux(middle)
        return logits


class _AuxiliaryHead(nn.Sequential):
    """A classifier on the last 17x17 maps (section 4)."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(5, 3)
        self.conv1, self.conv2 = conv(channels, 128, 1), conv(128, 768, 5, padding=0)
        self.avgpool, self.flatten = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.fc = nn.Linear(768, num_classes)


MODELS = {"bn_inception": BNInception, "inception_v3": InceptionV3}
