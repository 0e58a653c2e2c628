"""A trunk without labels: which way up is the picture?

Source: Gidaris, Singh & Komodakis 2018, "Unsupervised Representation Learning by Predicting Image Rotations"
(arXiv:1803.07728).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from tlcore import runtime, training
from tlcore.training import History
from tlcore.transfer.heads import replace_head
from tlcore.transfer.pretext import square, unlabelled
from tlcore.worlds import Dataset, Loader


def rotated(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Every image in all four directions (4N, C, H, W), and by how many quarter turns to the left (4N,).

    >>> x, y = rotated(torch.tensor([[[[1, 2], [3, 4]]]]))
    >>> x[1, 0].tolist(), y.tolist()
    ([[2, 4], [1, 3]], [0, 1, 2, 3])
    """
    turned = torch.cat([torch.rot90(images, turns, (2, 3)) for turns in range(4)])
    return turned, torch.arange(4, device=images.device).repeat_interleave(len(images))


def rotation(
    model: nn.Module,
    images: Dataset | torch.Tensor,
    *,
    epochs: int,
    batch_size: int = 32,
    augment: tuple[str, ...] = ("crop", "flip"),
    device: torch.device | str | None = None,
    seed: int = 0,
    **options: Any,
) -> History:
    """Train `model` in place to tell rotations of unlabelled images apart; its head then has four outputs.

    >>> from tlcore import transfer, worlds, zoo
    >>> world = worlds.Shapes(shapes=("arrow", "heart"))
    >>> net = zoo.get_model("resnet20")
    >>> rotation(net, world.sample(16), epochs=1, batch_size=8, progress=False).last.epoch  # labels are not looked at
    1
    >>> transfer.FeatureExtractor(net, "neck").transform(world.sample(5)).shape
    (5, 64)
    >>> done = transfer.fine_tune(net, world.sample(8), num_classes=2, epochs=1, progress=False)

    Setting: unsupervised (self-taught): no labels. Knowledge: feature representation.

    Parameters
    ----------
    images
        (N, C, H, H); the labels of a dataset are not looked at.
    batch_size
        Images, each in four directions: the network sees four times as many.
    augment
        As in `Loader`.
    options
        Of `training.fit`: lr, schedule, weight_decay, arithmetic, clip, progress, each_epoch, …

    Raises
    ------
    ValueError, TypeError
        Images that are not square, fewer than 2, a network without a head, or what `training.fit` raises.

    Notes
    -----
    Gidaris et al. 2018, eq. 2 and section 2.3: all four rotations of an image are in the same batch.
    """
    data = unlabelled("rotation", images)
    square("rotation", data)
    where = runtime.device() if device is None else torch.device(device)
    replace_head(model, 4, seed=seed)
    loader = Loader(data.to(where), batch_size, augment=augment, seed=seed)
    history = training.fit(model, _Rotations(loader), epochs=epochs, device=where, seed=seed, **options)
    history.settings["method"] = "rotation"
    return history


class _Rotations:
    """Batches of rotations out of a loader's images."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for x, _ in self.loader:
            yield rotated(x)
