"""What happens to inputs between the world and the dataset: another sensor, night, noise, another ground, lost words.

Each takes a dataset and a level per input (N,), from -1 to 1, where 0 changes nothing, and gives back the inputs.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Callable

import torch

from tlcore.runtime import nearest
from tlcore.worlds import Dataset
from tlcore.worlds.dataset import as_floats

Inputs = torch.Tensor | list[str]
_DIRECTION_SEED = 97  # of the direction along which `offset` moves vectors


def gain(data: Dataset, level: torch.Tensor, draws: torch.Generator) -> Inputs:
    """A sensor of another sensitivity: 2^level times as much; pictures saturate at white."""
    return _pictures(data, "gain", lambda x, each: x * torch.exp2(each), level)


def night(data: Dataset, level: torch.Tensor, draws: torch.Generator) -> Inputs:
    """Less light, and the grain of a picture taken with little of it."""

    def darker(x: torch.Tensor, each: torch.Tensor) -> torch.Tensor:
        return x * (1 - 0.8 * each.abs()) + 0.06 * each.abs() * _noise(x, draws)

    return _pictures(data, "night", darker, level, only_pictures=True)


def noise(data: Dataset, level: torch.Tensor, draws: torch.Generator) -> Inputs:
    """Gaussian noise of a quarter of the range (of one unit for vectors) at level 1."""
    size = 0.25 if _is_pictures(data) else 1.0
    return _pictures(data, "noise", lambda x, each: x + size * each.abs() * _noise(x, draws), level)


def blur(data: Dataset, level: torch.Tensor, draws: torch.Generator) -> Inputs:
    """A lens out of focus: the mean over 5x5 pixels at level 1."""

    def softer(x: torch.Tensor, each: torch.Tensor) -> torch.Tensor:
        padded = torch.nn.functional.pad(x, (2, 2, 2, 2), mode="replicate")
        return torch.lerp(x, torch.nn.functional.avg_pool2d(padded, 5, 1), each.abs())

    return _pictures(data, "blur", softer, level, only_pictures=True)


def background(data: Dataset, level: torch.Tensor, draws: torch.Generator) -> Inputs:
    """Another ground behind the object: at level 1 a bright slope, at -1 a dark one; needs the factor "mask"."""
    if "mask" not in data.factors:
        raise ValueError("kind='background': the data has no factor 'mask' that says what is object; Shapes has one")
    mask = data.factors["mask"][:, None]

    def replaced(x: torch.Tensor, each: torch.Tensor) -> torch.Tensor:
        slope = torch.linspace(-0.15, 0.15, x.shape[3], device=x.device).view(1, 1, 1, -1)
        ground = (0.5 + 0.35 * each.sign() + slope).expand_as(x)
        return torch.where(mask, x, torch.lerp(x, ground, each.abs()))

    return _pictures(data, "background", replaced, level, only_pictures=True)


def offset(data: Dataset, level: torch.Tensor, draws: torch.Generator) -> Inputs:
    """A tint of pictures from blue to red; vectors move along one fixed direction, 1.5 units at level 1."""

    def moved(x: torch.Tensor, each: torch.Tensor) -> torch.Tensor:
        if _is_pictures(data):
            tint = torch.linspace(0.25, -0.25, x.shape[1], device=x.device) if x.shape[1] > 1 else x.new_tensor([0.25])
            return x + each * tint.view(1, -1, 1, 1)
        fixed = torch.Generator().manual_seed(_DIRECTION_SEED)
        way: torch.Tensor = torch.randn(x.shape[1:], generator=fixed)
        step: torch.Tensor = (1.5 * way / way.norm()).to(x)
        return x + each * step

    return _pictures(data, "offset", moved, level)


def words(data: Dataset, level: torch.Tensor, draws: torch.Generator) -> Inputs:
    """Words get lost on the way, as in a bad recording: 40 % of them at level 1; texts only."""
    if isinstance(data.inputs, torch.Tensor):
        raise TypeError("kind='words': the inputs are a tensor; texts are accepted")
    rolls = random.Random(int(torch.randint(2**31, (1,), generator=draws)))
    made = []
    for text, share in zip(data.inputs, (0.4 * level.abs()).tolist()):
        kept = [word for word in text.split() if rolls.random() >= share]
        made.append(" ".join(kept or text.split()[:1]))
    return made


TRANSFORMS: dict[str, Callable[[Dataset, torch.Tensor, torch.Generator], Inputs]] = {
    "gain": gain,
    "night": night,
    "noise": noise,
    "blur": blur,
    "background": background,
    "offset": offset,
    "words": words,
}
INVERTIBLE = ("gain", "offset")  # of vectors: what is known of a row stays true of the moved row
ONE_SIDED = ("night", "noise", "blur", "words")  # a level below 0 does the same as one above


def transform(kind: str) -> Callable[[Dataset, torch.Tensor, torch.Generator], Inputs]:
    """The transform of that name, or the error that names the nearest."""
    if kind not in TRANSFORMS:
        raise ValueError(f"kind={kind!r} is unknown; {nearest(kind, TRANSFORMS)}")
    return TRANSFORMS[kind]


def translate(text: str, share: float = 1.0) -> str:
    """Another language, as far as spelling goes: a one-to-one map of words that keeps vowels vowels.

    `share` of the vocabulary is translated: always the same words.

    >>> translate("The cat sat.")
    'Vji dev tev.'
    """
    return re.sub(r"[A-Za-z]+", lambda found: _foreign(found[0], share), text)


_LETTERS, _NEXT = "aeioubcdfghjklmnpqrstvwxyz", "eiouacdfghjklmnpqrstvwxyzb"
_ALPHABET = str.maketrans(_LETTERS + _LETTERS.upper(), _NEXT + _NEXT.upper())


def _foreign(word: str, share: float) -> str:
    chosen = zlib.crc32(word.lower().encode()) / 2**32 < share
    return word.translate(_ALPHABET) if chosen else word


def _is_pictures(data: Dataset) -> bool:
    return isinstance(data.inputs, torch.Tensor) and data.inputs.ndim == 4


def _noise(x: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
    return torch.randn(x.shape, generator=draws).to(x)


def _pictures(
    data: Dataset,
    kind: str,
    change: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    level: torch.Tensor,
    only_pictures: bool = False,
) -> torch.Tensor:
    """Change pictures between black and white, bytes as bytes, or vectors without a bound, as floats."""
    x = data.inputs
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"kind={kind!r}: the inputs are texts; for them 'words' is accepted")
    if not _is_pictures(data):
        if only_pictures:
            raise ValueError(f"kind={kind!r}: pictures (N, C, H, W) are needed, the inputs are {tuple(x.shape)}")
        x = x if x.is_floating_point() else x.float()
        return change(x, level.to(x).view(-1, *[1] * (x.ndim - 1)))
    bytes_ = x.dtype == torch.uint8
    if not (bytes_ or x.is_floating_point()):
        raise TypeError(f"kind={kind!r}: the pictures are {x.dtype}; bytes (uint8) or floats from 0 to 1 are accepted")
    unit = as_floats(x)
    made = change(unit, level.to(unit).view(-1, 1, 1, 1)).clamp(0, 1)
    return (made * 255).round().to(torch.uint8) if bytes_ else made
