"""LeNet-5, for digits: the network of 1998 to the letter, and as it is built today.

LeCun, Bottou, Bengio, Haffner 1998, "Gradient-based learning applied to document recognition", section II.B.
"""

from __future__ import annotations

import torch
from torch import nn

from tlcore.zoo.net import Net

# Table I of the paper: which maps of S2 each map of C3 reads.
C3_READS = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)  # fmt: skip

# Each class is a picture of 7x12 pixels that F6 should show; ours are drawn in the spirit of the paper's figure 3.
_STROKES = {
    0: "0111110 1100011 1100011 1100011 1100011 1100011 1100011 1100011 1100011 1100011 1100011 0111110",
    1: "0001100 0011100 0111100 0001100 0001100 0001100 0001100 0001100 0001100 0001100 0001100 0111111",
    2: "0111110 1100011 0000011 0000011 0000110 0001100 0011000 0110000 1100000 1100000 1100000 1111111",
    3: "0111110 1100011 0000011 0000011 0000011 0011110 0000011 0000011 0000011 0000011 1100011 0111110",
    4: "0000110 0001110 0011110 0110110 1100110 1100110 1100110 1111111 0000110 0000110 0000110 0000110",
    5: "1111111 1100000 1100000 1100000 1111110 0000011 0000011 0000011 0000011 0000011 1100011 0111110",
    6: "0011110 0110000 1100000 1100000 1100000 1111110 1100011 1100011 1100011 1100011 1100011 0111110",
    7: "1111111 0000011 0000011 0000110 0000110 0001100 0001100 0011000 0011000 0011000 0110000 0110000",
    8: "0111110 1100011 1100011 1100011 1100011 0111110 1100011 1100011 1100011 1100011 1100011 0111110",
    9: "0111110 1100011 1100011 1100011 1100011 0111111 0000011 0000011 0000011 0000011 0000110 0111100",
}


class SquashedTanh(nn.Module):
    """1.7159 tanh(2/3 x): passes through (1, 1) and (-1, -1), where it is most curved (the paper's appendix A)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 1.7159 * torch.tanh(2 / 3 * x)


class Subsample(nn.Module):
    """Mean of 2x2 pixels, times one trainable number and plus another for each map."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(2)
        self.coefficient = nn.Parameter(torch.ones(maps, 1, 1))
        self.bias = nn.Parameter(torch.zeros(maps, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pool(x) * self.coefficient + self.bias


class ConnectedMaps(nn.Module):
    """Convolution in which each output map reads its own choice of input maps."""

    def __init__(self, reads: tuple[tuple[int, ...], ...], kernel: int) -> None:
        super().__init__()
        self.reads = [list(maps) for maps in reads]
        self.convs = nn.ModuleList(nn.Conv2d(len(maps), 1, kernel) for maps in reads)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([conv(x[:, maps]) for conv, maps in zip(self.convs, self.reads)], 1)


class RadialOutput(nn.Module):
    """Minus the squared distance between F6 and each class's picture (eq. 7): the nearest picture wins."""

    codes: torch.Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        drawn = [[2.0 * int(p) - 1 for p in _STROKES[n].replace(" ", "")] for n in range(min(num_classes, 10))]
        draws = torch.Generator(device="cpu").manual_seed(1998)  # more classes than digits: random pictures
        for _ in range(num_classes - len(drawn)):
            drawn.append((2.0 * torch.randint(2, (84,), generator=draws, device="cpu") - 1).tolist())
        self.register_buffer("codes", torch.tensor(drawn))  # (K, 84), fixed

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -(x[:, None] - self.codes).square().sum(2)  # (N, 84) -> (N, K)


class LeNet5In1998(Net):
    """The network of the paper: 60,000 trainable numbers and 840 fixed ones, 1x32x32 images.

    >>> net = LeNet5In1998()
    >>> net(torch.zeros(2, 1, 32, 32)).shape
    torch.Size([2, 10])
    >>> sum(p.numel() for p in net.parameters())
    60000
    """

    def __init__(self, *, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__(in_channels=in_channels, num_classes=num_classes, smallest=32, exact=True)
        self.c1 = nn.Conv2d(in_channels, 6, 5)
        self.s2 = Subsample(6)
        self.c3 = ConnectedMaps(C3_READS, 5)
        self.s4 = Subsample(16)
        self.c5 = nn.Conv2d(16, 120, 5)
        self.f6 = nn.Linear(120, 84)
        self.output = RadialOutput(num_classes)
        self.squash = SquashedTanh()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.squash(self.c1(x))  # (N, 6, 28, 28)
        x = self.squash(self.s2(x))  # (N, 6, 14, 14)
        x = self.squash(self.c3(x))  # (N, 16, 10, 10)
        x = self.squash(self.s4(x))  # (N, 16, 5, 5)
        x = self.squash(self.c5(x))  # (N, 120, 1, 1)
        x = self.squash(self.f6(x.flatten(1)))  # (N, 84)
        return self.output(x)


class LeNet5(Net):
    """LeNet-5 as it is built today: every map of C3 reads all of S2, ReLU, maximum pooling; 1x28x28 images.

    >>> LeNet5()(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    def __init__(self, *, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__(in_channels=in_channels, num_classes=num_classes, smallest=28, exact=True)
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 6, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Linear(16 * 5 * 5, 120), nn.ReLU(inplace=True),
            nn.Linear(120, 84), nn.ReLU(inplace=True),
            nn.Linear(84, num_classes),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x).flatten(1))  # (N, 16, 5, 5) -> (N, K)


MODELS = {"lenet5_1998": LeNet5In1998, "lenet5": LeNet5}
