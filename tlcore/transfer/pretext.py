"""What all pretext tasks share: images without labels, and a trunk that keeps what it learned under a new head.

Setting of all of them: unsupervised, or self-taught learning (Raina et al. 2007): no labels at all in the source.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tlcore.transfer.taps import tapped, taps, vectors
from tlcore.worlds import Dataset
from tlcore.worlds.dataset import as_floats


def unlabelled(what: str, images: Any, *, least: int = 2) -> Dataset:
    """Images as a dataset whose targets are their own numbers.

    >>> unlabelled("rotation", torch.rand(3, 1, 8, 8)).targets
    tensor([0, 1, 2])

    Raises
    ------
    TypeError, ValueError
        For anything but a tensor, or a dataset of one; for fewer than `least` inputs.
    """
    x = images.inputs if isinstance(images, Dataset) else images
    if not isinstance(x, torch.Tensor):
        raise TypeError(
            f"{what}: images are a {type(x).__name__}; a tensor (N, C, H, W), or a Dataset of one, is accepted"
        )
    if x.ndim < 2 or len(x) < least:
        raise ValueError(f"{what}: images are {tuple(x.shape)}; at least {least} are needed, (N, C, H, W)")
    origin = images.origin if isinstance(images, Dataset) else ""
    return Dataset(x, torch.arange(len(x), device=x.device), (), origin)


def square(what: str, data: Dataset) -> None:
    """Raise where the inputs are no square images."""
    shape = tuple(data.inputs.shape)  # type: ignore[union-attr]
    if len(shape) != 4 or shape[2] != shape[3]:
        raise ValueError(f"{what}: images are {shape}; square ones (N, C, H, H) are needed")


@torch.no_grad()
def neck_width(model: nn.Module, x: torch.Tensor, what: str) -> int:
    """Features at the network's neck."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    where = next((p.device for p in model.parameters()), torch.device("cpu"))
    _, seen = tapped(model, taps(model, ["neck"], what), as_floats(x[:1]).to(where))
    for module, mode in modes:
        module.training = mode
    return vectors(seen["neck"]).shape[1]


class Neck(nn.Module):
    """A network up to its neck (N, F); its head is kept, and not changed."""

    def __init__(self, model: nn.Module, what: str) -> None:
        super().__init__()
        self.model, self.places = model, taps(model, ["neck"], what)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return vectors(tapped(self.model, self.places, x)[1]["neck"])
