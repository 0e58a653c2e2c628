"""What does a channel look for? The pieces of images that excite it most, cut out by its receptive field.

Zeiler and Fergus 2014 (arXiv:1311.2901), fig. 2: low layers answer to edges and colours, middle ones to textures and
parts, high ones to objects.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from tlcore import anatomy, plots
from tlcore.transfer.cut import Cutter
from tlcore.transfer.features import Images, Options, images, rows

Box = tuple[int, int, int, int]


class Patch(NamedTuple):
    """A piece of one image.

    `picture` is (C, h, w), values as the images have them, divided by 255 if those are bytes; `box` is top, left,
    bottom, right in pixels, the last two outside; `position` is the row and column in the layer's map, () where it has
    none.
    """

    picture: torch.Tensor
    image: int
    position: tuple[int, ...]
    box: Box
    activation: float


@dataclass(repr=False)
class Patches:
    """The patches of one channel, the most exciting first; iterate, index, or plot."""

    layer: str
    channel: int
    size: tuple[int, ...]  # of the whole receptive field, before it was clipped
    patches: list[Patch]

    def __len__(self) -> int:
        return len(self.patches)

    def __getitem__(self, number: int) -> Patch:
        return self.patches[number]

    def __iter__(self) -> Iterator[Patch]:
        return iter(self.patches)

    def plot(self, axes: Any = None) -> Any:
        """Draw the patches in a row, each under its activation."""
        axes = axes if axes is not None else plots.figure(len(self), width=1.1, height=1.3)[1]
        for ax, patch in zip(axes, self.patches, strict=False):
            picture = patch.picture.clamp(0, 1).permute(1, 2, 0).cpu().numpy()
            ax.imshow(
                picture if picture.shape[2] == 3 else picture[:, :, 0], cmap=None if len(patch.picture) == 3 else "gray"
            )
            ax.set_title(f"{patch.activation:.2g}", fontsize=8)
            ax.set_axis_off()
        return axes

    def __repr__(self) -> str:
        field = "x".join(map(str, self.size))
        top = f", activations from {self[0].activation:.3g} to {self[-1].activation:.3g}" if len(self) else ""
        return f"Patches(channel {self.channel} of {self.layer!r}: {len(self)} of a field of {field} pixels{top})"


def top_patches(
    model: nn.Module,
    layer: str,
    channel: int,
    X: Images,
    count: int = 9,
    **options: Any,
) -> Patches:
    """The pieces of images at which a channel of a layer is most active, at most one of each image.

    >>> from tlcore import worlds, zoo
    >>> data = worlds.Shapes().sample(50)
    >>> found = top_patches(zoo.get_model("resnet20"), "layer1.0", 3, data, count=4, device="cpu")
    >>> len(found), found.size, found[0].picture.shape[0], found[0].activation >= found[1].activation
    (4, (7, 7), 3, True)

    Parameters
    ----------
    layer
        A layer that gives maps (N, C, H, W), or vectors (N, C), whose field is the whole image.
    X
        Images (N, C, H, W) as a tensor, an array or a dataset.
    options
        Of the `FeatureExtractor`: `mean`, `std`, `size`, `batch_size` and `device`. With `size`, boxes and pictures are
        those of the resized images.

    Raises
    ------
    ValueError
        For an unknown layer, with the nearest; a channel that there is not; images that are not accepted.
    """
    for name in ("pool", "cache"):
        if name in options:
            raise ValueError(f"top_patches({name}=…): accepted are mean, std, size, batch_size and device")
    if count < 1:
        raise ValueError(f"top_patches(count={count}): from 1 on is accepted")
    x = images(X, "top_patches")
    if x.ndim != 4:
        raise ValueError(f"top_patches: inputs of shape {tuple(x.shape)} were given; accepted are images (N, C, H, W)")
    taker = Options(function="top_patches", **options)
    cut = _Peaks(Cutter(model, device=taker.place, function="top_patches")([layer], None), channel)
    (found,) = taker.compute(cut, x)  # type: ignore[arg-type]  # (N, 2): the highest activation, and where it is
    values, places = torch.from_numpy(found).unbind(1)
    best = values.argsort(descending=True, stable=True)[:count].tolist()
    one = taker.resized(rows(x, best[0], 1))
    high, wide = one.shape[2:]
    field = anatomy.receptive_field(model, of=layer, input_size=one.shape[1:]) if cut.wide else None
    patches = []
    for row in best:
        picture = taker.resized(rows(x, row, 1))[0]
        position = divmod(int(places[row]), cut.wide) if cut.wide else ()
        spans = field.interval(position) if field else ((0, high - 1), (0, wide - 1))
        (top, bottom), (left, right) = (
            (max(a, 0), min(b + 1, n)) for (a, b), n in zip(spans, (high, wide), strict=True)
        )
        box = (top, left, bottom, right)
        patches.append(Patch(picture[:, top:bottom, left:right], row, position, box, float(values[row])))
    return Patches(layer, channel, field.size if field else (high, wide), patches)


class _Peaks:
    """A cut that gives, of one channel's map, the highest value and its place (N, 2)."""

    def __init__(self, cut: Any, channel: int) -> None:
        self.cut, self.layers, self.channel = cut, cut.layers, channel
        self.wide = 0  # columns of the map; 0 for vectors

    def __call__(self, x: torch.Tensor) -> list[torch.Tensor]:
        (maps,) = self.cut(x)
        layer = self.layers[0]
        if maps.ndim not in (2, 4):
            shape = ", ".join(map(str, maps.shape[1:]))
            raise ValueError(f"top_patches(layer={layer!r}): it gives (N, {shape}); accepted are maps (N, C, H, W)")
        if not 0 <= self.channel < maps.shape[1]:
            raise ValueError(f"top_patches(channel={self.channel}): {layer!r} has channels 0 to {maps.shape[1] - 1}")
        self.wide = maps.shape[3] if maps.ndim == 4 else 0
        value, place = (
            maps[:, self.channel].float().flatten(1).max(1) if maps.ndim == 4 else (maps[:, self.channel], None)
        )
        place = torch.zeros_like(value) if place is None else place.float()  # exact up to maps of 16 million places
        return [torch.stack([value.float(), place], 1)]
