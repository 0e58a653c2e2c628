"""VGG: nothing but 3x3 convolutions, more and more of them. The six columns of the paper's table 1.

Simonyan, Zisserman 2014 (arXiv:1409.1556).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import nn

from tlcore.zoo.net import Net, he_init, response_norm

WIDTHS = (64, 128, 256, 512, 512)
# Kernels of each stage; C's third layers are 1x1: more nonlinearity, no wider view.
STAGES = {
    "A": ((3,), (3,), (3, 3), (3, 3), (3, 3)),
    "A-LRN": ((3,), (3,), (3, 3), (3, 3), (3, 3)),
    "B": ((3, 3), (3, 3), (3, 3), (3, 3), (3, 3)),
    "C": ((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1)),
    "D": ((3, 3), (3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3)),
    "E": ((3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3)),
}


class VGG(Net):
    """One column of table 1; 224x224 images, at least 32x32.

    >>> with torch.device("meta"):
    ...     net = VGG("D")
    ...     out = net(torch.zeros(2, 3, 224, 224))
    >>> out.shape, sum(p.numel() for p in net.parameters())
    (torch.Size([2, 1000]), 138357544)

    Parameters
    ----------
    column
        "A", "A-LRN", "B", "C", "D" or "E".
    batch_norm
        Normalise after each convolution, as later trainings do (the paper could not: it is older).
    """

    def __init__(self, column: str, *, batch_norm: bool = False, num_classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__(in_channels=in_channels, num_classes=num_classes, smallest=32)
        self.features = nn.Sequential(*_features(column, in_channels, batch_norm))
        self.pool = nn.AdaptiveAvgPool2d(7)  # changes nothing at 224x224, where the maps are 7x7
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096), nn.ReLU(inplace=True), nn.Dropout(),
            nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout(),
            nn.Linear(4096, num_classes),
        )  # fmt: skip
        he_init(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.features(x))  # (N, 512, 7, 7)
        return self.classifier(x.flatten(1))


def _features(column: str, channels: int, batch_norm: bool) -> Iterator[nn.Module]:
    for stage, (kernels, width) in enumerate(zip(STAGES[column], WIDTHS, strict=True)):
        for kernel in kernels:
            yield nn.Conv2d(channels, width, kernel, padding=kernel // 2)
            if batch_norm:
                yield nn.BatchNorm2d(width)
            yield nn.ReLU(inplace=True)
            if column == "A-LRN" and stage == 0:
                yield response_norm()
            channels = width
        yield nn.MaxPool2d(2)


MODELS = {f"vgg_{column.lower().replace('-', '_')}": partial(VGG, column) for column in STAGES}
