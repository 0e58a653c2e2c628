"""Small networks of every kind that pruning and growing treat, with batch normalisation in a used state."""

from __future__ import annotations

import torch
from torch import nn

from tlcore.zoo.cifar import CifarBlock, WideBlock
from tlcore.zoo.mobilenet import MobileNetV1


class Tail(nn.Module):
    """A body, the mean over its map, and a linear head."""

    def __init__(self, body: nn.Module, channels: int) -> None:
        super().__init__()
        self.body, self.fc = body, nn.Linear(channels, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.body(x).mean((2, 3)))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 3))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(6, 4, 3, bias=False), nn.BatchNorm2d(4), nn.PReLU(4), nn.Dropout(), nn.Flatten(),
        nn.Linear(16, 7), nn.ReLU(), nn.Linear(7, 3),
    )  # fmt: skip


def residual() -> nn.Module:
    return Tail(nn.Sequential(nn.Conv2d(2, 6, 3), CifarBlock(6, 6, True), CifarBlock(6, 12, True)), 12)


def wide() -> nn.Module:
    return Tail(nn.Sequential(nn.Conv2d(2, 6, 3), WideBlock(6, 8, 2, 0.1)), 8)


def mobile() -> nn.Module:
    return MobileNetV1(width_multiplier=0.125, stem="cifar", num_classes=3, in_channels=2)


NETS = {"mlp": mlp, "cnn": cnn, "residual": residual, "wide": wide, "mobile": mobile}


def made(kind: str, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, torch.Tensor]:
    """A network in evaluation mode and inputs for it; batch normalisation has statistics and scales of its own."""
    torch.manual_seed(seed)
    net = NETS[kind]().to(dtype).eval()
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
    return net, torch.randn(5, *((6,) if kind == "mlp" else (2, 8, 8)), dtype=dtype)
