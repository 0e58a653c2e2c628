"""What all networks of the zoo share: they know what images they take, and say so in a sentence."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn


class Net(nn.Module):
    """A network that classifies images (N, in_channels, H, W).

    Parameters
    ----------
    smallest
        Least height and width of an image.
    exact
        The image must have this size, since the first linear layer is made for it.
    """

    def __init__(self, *, in_channels: int, num_classes: int, smallest: int = 1, exact: bool = False) -> None:
        super().__init__()
        for name, value in (("in_channels", in_channels), ("num_classes", num_classes)):
            if type(value) is not int or value < 1:
                raise ValueError(f"{type(self).__name__}({name}={value!r}): a whole number from 1 on is accepted")
        self.in_channels, self.num_classes = in_channels, num_classes
        self.smallest, self.exact = smallest, exact
        self.register_forward_pre_hook(_check_images)


def _check_images(net: nn.Module, args: tuple[Any, ...]) -> None:
    """Refuse what the network cannot take, before a layer deep inside does so in its own words."""
    images = args[0] if args else None
    if not isinstance(net, Net) or not isinstance(images, torch.Tensor) or isinstance(images, fx.Proxy):
        return
    name, channels, least = type(net).__name__, net.in_channels, net.smallest
    size = f"{least}x{least}"
    wanted = f"(N, {channels}, {least}, {least})" if net.exact else f"(N, {channels}, H, W) from {size} pixels on"
    fits = images.ndim == 4 and images.shape[1] == channels
    sides = list(images.shape[2:])
    if not fits or (sides != [least, least] if net.exact else min(sides) < least):
        raise ValueError(f"{name}: images of shape {tuple(images.shape)} were given; accepted is {wanted}")


class ConvBN(nn.Sequential):
    """Convolution, batch normalisation, ReLU: the brick of every network since 2015.

    >>> ConvBN(3, 8, 3, stride=2, padding=1)(torch.zeros(2, 3, 9, 9)).shape
    torch.Size([2, 8, 5, 5])

    Parameters
    ----------
    kernel
        Size of the kernel, or (height, width).
    padding
        Pixels of zeros on each side; None keeps the size (at stride 1).
    act
        Apply ReLU.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | tuple[int, int],
        *,
        stride: int = 1,
        padding: int | tuple[int, int] | None = None,
        groups: int = 1,
        eps: float = 1e-5,
        act: bool = True,
        bias: bool = False,
    ) -> None:
        super().__init__()
        kh, kw = (kernel, kernel) if isinstance(kernel, int) else kernel
        pad = (kh // 2, kw // 2) if padding is None else padding
        self.conv = nn.Conv2d(in_channels, out_channels, (kh, kw), stride, pad, groups=groups, bias=bias)
        self.bn = nn.BatchNorm2d(out_channels, eps=eps)
        if act:
            self.relu = nn.ReLU(inplace=True)


def response_norm() -> nn.LocalResponseNorm:
    """Krizhevsky et al. 2012, section 3.3: k=2, n=5, alpha=1e-4; torch divides alpha by n, the paper does not."""
    return nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2)


def he_init(net: nn.Module) -> None:
    """Draw all kernels from He et al. 2015 (arXiv:1502.01852), eq. 10; normalisation starts as the identity."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
