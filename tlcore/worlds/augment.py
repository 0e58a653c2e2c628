"""Random changes to whole batches of images (N, C, H, W) at once, each image its own, on the images' device.

Each function takes images, a generator for its draws, and keyword options; `Loader` calls them by name.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import pad

Augment = Callable[..., torch.Tensor]


def flip(images: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
    """Mirror half of the images, left to right."""
    mirrored = torch.rand(len(images), generator=draws, device=images.device) < 0.5
    return torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)


def crop(images: torch.Tensor, draws: torch.Generator, *, padding: int = 4) -> torch.Tensor:
    """Pad by reflection and cut out the old size at a random place (Krizhevsky 2012; He et al. 2015, section 4.2).

    >>> crop(torch.rand(8, 3, 32, 32), torch.Generator().manual_seed(0)).shape
    torch.Size([8, 3, 32, 32])
    """
    count, _, height, width = images.shape
    if padding < 1 or padding >= min(height, width):
        most = min(height, width) - 1
        raise ValueError(f"crop(padding={padding}): from 1 to {most} is accepted for {height}x{width}")
    padded = pad(images, (padding,) * 4, mode="reflect")
    top, left = torch.randint(2 * padding + 1, (2, count), generator=draws, device=images.device)
    rows = top[:, None] + torch.arange(height, device=images.device)  # (N, H)
    columns = left[:, None] + torch.arange(width, device=images.device)  # (N, W)
    which = torch.arange(count, device=images.device).view(-1, 1, 1)
    return padded.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


def cutout(images: torch.Tensor, draws: torch.Generator, *, side: int = 8) -> torch.Tensor:
    """Set a square of each image to the image's mean (DeVries, Taylor 2017, arXiv:1708.04552); it may reach outside."""
    count, _, height, width = images.shape
    if not 1 <= side <= max(height, width):
        raise ValueError(f"cutout(side={side}): from 1 to {max(height, width)} is accepted for {height}x{width}")
    row = torch.randint(height, (count, 1), generator=draws, device=images.device)
    column = torch.randint(width, (count, 1), generator=draws, device=images.device)
    low, high = side // 2, side - side // 2
    rows = torch.arange(height, device=images.device) - row
    columns = torch.arange(width, device=images.device) - column
    hole = ((rows >= -low) & (rows < high))[:, :, None] & ((columns >= -low) & (columns < high))[:, None]  # (N, H, W)
    return torch.where(hole[:, None], images.mean((1, 2, 3), keepdim=True), images)


def colour(images: torch.Tensor, draws: torch.Generator, *, strength: float = 0.2) -> torch.Tensor:
    """Turn brightness, contrast and each channel up or down by up to `strength`."""
    if not 0 <= strength < 1:
        raise ValueError(f"colour(strength={strength}): from 0 to below 1 is accepted")
    count, channels = images.shape[:2]

    def around_one(*shape: int) -> torch.Tensor:
        return 1 + strength * (2 * torch.rand(count, *shape, generator=draws, device=images.device) - 1)

    mean = images.mean((1, 2, 3), keepdim=True)
    changed = (images - mean) * around_one(1, 1, 1) + mean * around_one(1, 1, 1)
    return changed * around_one(channels, 1, 1)


AUGMENTS: dict[str, Augment] = {"flip": flip, "crop": crop, "cutout": cutout, "colour": colour}
