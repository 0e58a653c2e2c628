"""A trunk without labels: pseudo-classes from augmented data, each image and its changes a class of their own.

Source: Dosovitskiy, Springenberg, Riedmiller & Brox 2014, "Discriminative Unsupervised Feature Learning with
Convolutional Neural Networks" (arXiv:1406.6909).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tlcore import runtime, training
from tlcore.training import History
from tlcore.transfer.heads import replace_head
from tlcore.transfer.pretext import unlabelled
from tlcore.worlds import Dataset, Loader
from tlcore.worlds.loader import Recipe

CHANGES: dict[str, dict[str, Any]] = {"crop": {"padding": 6}, "flip": {}, "colour": {"strength": 0.4}, "cutout": {}}


def exemplar(
    model: nn.Module,
    images: Dataset | torch.Tensor,
    *,
    epochs: int,
    surrogates: int = 500,
    copies: int = 4,
    batch_size: int = 128,
    augment: Recipe = CHANGES,
    device: torch.device | str | None = None,
    seed: int = 0,
    **options: Any,
) -> History:
    """Train `model` in place to tell unlabelled images apart, however they are changed; one output for each.

    >>> from tlcore import transfer, worlds, zoo
    >>> world = worlds.Shapes(shapes=("arrow", "heart"))
    >>> net = zoo.get_model("resnet20")
    >>> history = exemplar(net, world.sample(40), surrogates=10, epochs=1, progress=False)  # labels are not looked at
    >>> net(world.sample(5).inputs).shape, transfer.FeatureExtractor(net, "neck").transform(world.sample(5)).shape
    (torch.Size([5, 10]), (5, 64))
    >>> done = transfer.fine_tune(net, world.sample(8), num_classes=2, epochs=1, progress=False)

    Setting: unsupervised (self-taught): no labels. Knowledge: feature representation.

    Parameters
    ----------
    images
        (N, C, H, W); the labels of a dataset are not looked at.
    surrogates
        Pseudo-classes: so many images are drawn, or all if there are fewer. Two images of one kind are then told apart
        as well, so more of them help only so far (the paper's figure 2: up to some thousands).
    copies
        Changed copies of each image in an epoch.
    augment
        The changes, as in `Loader`: what the features are to be blind to.
    options
        Of `training.fit`: lr, schedule, weight_decay, arithmetic, clip, progress, each_epoch, …

    Raises
    ------
    ValueError, TypeError
        Fewer than 2 images or surrogates, fewer than 1 copy, no changes, a network without a head, or what
        `training.fit` raises.
    """
    what = "exemplar"
    if type(surrogates) is not int or surrogates < 2 or type(copies) is not int or copies < 1:
        raise ValueError(f"{what}(surrogates={surrogates!r}, copies={copies!r}): from 2 and from 1 on is accepted")
    if not augment:
        raise ValueError(f"{what}(augment=()): without changes every class is one image; at least one is needed")
    data = unlabelled(what, images)
    where = runtime.device() if device is None else torch.device(device)
    count = min(surrogates, len(data))
    chosen = data.subset(size=count, seed=seed).inputs
    seeds = Dataset(chosen, torch.arange(count), (), data.origin).to(where)
    replace_head(model, count, seed=seed)
    rows = torch.arange(count, device=where).repeat(copies)
    loader = Loader(seeds[rows], batch_size, augment=augment, seed=seed, drop_last=count * copies > batch_size)
    history = training.fit(model, loader, epochs=epochs, device=where, seed=seed, **options)
    history.settings |= {"method": what, "surrogates": count}
    return history
