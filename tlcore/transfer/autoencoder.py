"""A trunk without labels: the neck is to hold what it takes to draw the picture again.

Sources: Hinton & Salakhutdinov 2006, "Reducing the Dimensionality of Data with Neural Networks"; Vincent et al. 2008,
"Extracting and Composing Robust Features with Denoising Autoencoders".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.functional import interpolate, mse_loss

from tlcore import runtime, training
from tlcore.training import History
from tlcore.transfer.pretext import Neck, neck_width, unlabelled
from tlcore.worlds import Dataset, Loader


class Decoder(nn.Module):
    """From vectors (N, F) to images (N, C, H, W), by doubling; or to vectors, by one linear layer.

    >>> Decoder(64, (3, 32, 32))(torch.rand(5, 64)).shape
    torch.Size([5, 3, 32, 32])
    >>> Decoder(4, (10,))(torch.rand(5, 4)).shape
    torch.Size([5, 10])

    Parameters
    ----------
    features
        F.
    shape
        Of what is to be drawn, (C, H, W) or (D,).
    width
        Channels of the largest hidden maps; each doubling halves those before it.
    """

    def __init__(self, features: int, shape: tuple[int, ...], *, width: int = 32) -> None:
        super().__init__()
        self.shape = shape
        if len(shape) == 1:
            self.net = nn.Sequential(nn.Linear(features, shape[0]))
            return
        channels, height, _ = shape
        doublings = max(0, (height - 1).bit_length() - 2)  # from 4x4 on
        self.first = nn.Linear(features, width * 2 * 16)
        layers: list[nn.Module] = []
        now = width * 2
        for _ in range(doublings):
            layers += [nn.Upsample(scale_factor=2), nn.Conv2d(now, width, 3, padding=1), nn.ReLU()]
            now = width
        self.net = nn.Sequential(*layers, nn.Conv2d(now, channels, 3, padding=1))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        if len(self.shape) == 1:
            return self.net(z)  # type: ignore[no-any-return]
        x = self.net(torch.relu(self.first(z)).unflatten(1, (-1, 4, 4)))
        return interpolate(x, self.shape[1:], mode="bilinear") if tuple(x.shape[1:]) != self.shape else x


def autoencoder(
    model: nn.Module,
    images: Dataset | torch.Tensor,
    *,
    epochs: int,
    noise: float = 0.0,
    decoder: nn.Module | None = None,
    batch_size: int = 128,
    augment: tuple[str, ...] = (),
    device: torch.device | str | None = None,
    seed: int = 0,
    **options: Any,
) -> History:
    """Train `model` in place, up to its neck, to let a decoder redraw unlabelled images; its head is not changed.

    >>> from tlcore import transfer, worlds, zoo
    >>> world = worlds.Shapes(shapes=("arrow", "heart"))
    >>> net = zoo.get_model("resnet20")
    >>> history = autoencoder(net, world.sample(32), epochs=1, lr=0.01, progress=False)  # labels are not looked at
    >>> transfer.FeatureExtractor(net, "neck").transform(world.sample(5)).shape
    (5, 64)
    >>> done = transfer.fine_tune(net, world.sample(8), num_classes=2, epochs=1, progress=False)

    Setting: unsupervised (self-taught): no labels. Knowledge: feature representation.

    Parameters
    ----------
    images
        (N, C, H, W), or vectors (N, F); the labels of a dataset are not looked at.
    noise
        Standard deviation of what is added to the network's input and not to the picture it has to draw (Vincent et
        al. 2008).
    decoder
        From the neck (N, F) to images; default a `Decoder`.
    options
        Of `training.fit`: lr, optimizer, schedule, weight_decay, arithmetic, clip, progress, each_epoch, …

    Returns
    -------
    History
        Its losses are mean squared errors of a pixel.

    Raises
    ------
    ValueError, TypeError
        Fewer than 2 images, a negative noise, a network without a head, or what `training.fit` raises.
    """
    what = "autoencoder"
    if not 0 <= noise < float("inf"):
        raise ValueError(f"{what}(noise={noise!r}): from 0 on is accepted")
    data = unlabelled(what, images)
    where = runtime.device() if device is None else torch.device(device)
    assert isinstance(data.inputs, torch.Tensor)
    if decoder is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            decoder = Decoder(neck_width(model, data.inputs, what), tuple(data.inputs.shape[1:]))
    whole = nn.Sequential(Neck(model, what), decoder)
    loader = Loader(data.to(where), batch_size, augment=augment, seed=seed, drop_last=len(data) > batch_size)
    settings: dict[str, Any] = {"loss": mse_loss, "weight_decay": 0.0} | options
    history = training.fit(whole, _Redrawn(loader, noise, seed), epochs=epochs, device=where, seed=seed, **settings)
    history.settings["method"] = what
    return history


class _Redrawn:
    """Batches (image, the same image), the first with noise."""

    def __init__(self, loader: Loader, noise: float, seed: int) -> None:
        self.loader, self.noise = loader, noise
        self.draws = torch.Generator(device=loader.inputs.device).manual_seed(seed)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for x, _ in self.loader:
            if self.noise:
                yield x + self.noise * torch.randn(x.shape, generator=self.draws, device=x.device), x
            else:
                yield x, x
