"""Draws the README's picture: what one number of a network can see, and what it does see."""

from __future__ import annotations

from pathlib import Path

import torch
from torchvision.models import resnet18

from tlcore import anatomy, plots, runtime


def main() -> None:
    plots.use_style()
    runtime.seed_everything(0)
    ten = torch.nn.Sequential(*[torch.nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(10)])
    for layer in ten:
        torch.nn.init.constant_(layer.weight, 1 / 9)
    fig, (left, right) = plots.figure(2, width=4, height=4.4)
    anatomy.effective_receptive_field(ten, input_size=(1, 41, 41)).plot(ax=left)
    anatomy.effective_receptive_field(resnet18(), input_size=(3, 224, 224), samples=64).plot(ax=right)
    left.set_title("ten 3x3 convolutions")
    right.set_title("ResNet-18 on a 224-pixel photo")
    fig.savefig(Path(__file__).parent / "receptive-field.png")


if __name__ == "__main__":
    main()
