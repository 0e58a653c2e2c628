"""A world of small pictures in which everything is known: one shape, its surface, its place, the light, the ground.

Every picture is drawn from a handful of factors, all of them in the dataset beside it; any of them can be the label.
Domains differ in how factors are distributed, tasks in which factor is asked for: both are knobs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from tlcore.runtime import nearest
from tlcore.worlds.dataset import Dataset
from tlcore.worlds.outlines import SHAPES, SUPERCLASS_OF, SUPERCLASSES

# A surface is the sign of c0 + c1 a + c2 b + c3 a b, where a and b are waves along two axes.
TEXTURES: dict[str, tuple[float, float, float, float]] = {
    "plain": (1, 0, 0, 0),
    "stripes": (0, 1, 0, 0),
    "bands": (0, 0, 1, 0),
    "checks": (0, 0, 0, 1),
    "dots": (-0.8, 1, 1, 0),
    "net": (0.8, 1, 1, 0),
}
COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.85, 0.15, 0.15),
    "orange": (0.95, 0.55, 0.10),
    "yellow": (0.95, 0.90, 0.20),
    "green": (0.20, 0.70, 0.25),
    "blue": (0.15, 0.35, 0.85),
    "purple": (0.60, 0.20, 0.75),
    "white": (0.95, 0.95, 0.95),
    "grey": (0.45, 0.45, 0.45),
}
_CHUNK = 256  # pictures drawn at a time: few enough for their planes to stay in a processor's cache
Range = tuple[float, float]


@dataclass(frozen=True)
class Shapes:
    """Pictures (3, size, size) with values in [0, 1] of one shape on a ground.

    >>> world = Shapes(shapes=("circle", "star"), noise=0)
    >>> data = world.sample(4, seed=3)
    >>> data.inputs.shape, data.classes
    (torch.Size([4, 3, 32, 32]), ('circle', 'star'))
    >>> sorted(data.factors)[:5]
    ['angle', 'background', 'blur', 'box', 'colour']
    >>> torch.equal(data.inputs, world.sample(4, seed=3).inputs)
    True

    Parameters
    ----------
    label
        The factor that is the target: shape, superclass, texture, colour, background, or mask (N, H, W).
    shapes, textures, colours, backgrounds
        What may occur, each equally often.
    weights
        Shares of the shapes, in place of equal ones: the prior P(Y) when the label is the shape.
    scale
        Least and largest radius, as a share of half the picture.
    offset
        Largest shift of the middle, likewise.
    angle
        Least and largest turn, in degrees.
    gain, slant
        Range of the light's strength; largest change of it across the picture.
    blur, noise
        Ranges of the share of blur, and of the deviation of Gaussian noise.
    clutter
        How strongly the pattern of the ground shows.
    """

    label: str = "shape"
    shapes: tuple[str, ...] = tuple(SHAPES)
    textures: tuple[str, ...] = tuple(TEXTURES)
    colours: tuple[str, ...] = tuple(COLOURS)
    backgrounds: tuple[str, ...] = tuple(TEXTURES)
    weights: tuple[float, ...] | None = None
    size: int = 32
    scale: Range = (0.4, 0.8)
    offset: float = 0.2
    angle: Range = (-25.0, 25.0)
    gain: Range = (0.8, 1.1)
    slant: float = 0.2
    blur: Range | float = 0.0
    noise: Range | float = 0.03
    clutter: float = 0.25

    def __post_init__(self) -> None:
        for field, known in (
            ("shapes", SHAPES), ("textures", TEXTURES), ("colours", COLOURS), ("backgrounds", TEXTURES)
        ):  # fmt: skip
            chosen = getattr(self, field)
            if not chosen:
                raise ValueError(f"Shapes({field}=()): at least one is needed")
            for name in chosen:
                if name not in known:
                    raise ValueError(f"Shapes({field}=…): {name!r} is unknown; {nearest(name, known)}")
        if self.label not in LABELS:
            raise ValueError(f"Shapes(label={self.label!r}): {nearest(self.label, LABELS)}")
        if self.weights is not None and (len(self.weights) != len(self.shapes) or min(self.weights) < 0):
            raise ValueError(
                f"Shapes(weights={self.weights}): one share from 0 on for each of {len(self.shapes)} shapes"
            )

    def but(self, **changes: Any) -> Shapes:
        """The same world with some knobs turned.

        >>> Shapes().but(noise=0.2).noise
        0.2
        """
        return replace(self, **changes)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the label's classes; empty for masks."""
        return self._names(self.label)

    def sample(self, count: int, *, seed: int = 0, device: torch.device | str = "cpu") -> Dataset:
        """Draw `count` pictures with their factors, masks and boxes; the same seed gives the same pictures.

        Factors: shape, superclass, texture, colour, background (numbers of names), scale, x, y, angle, gain, blur,
        noise (numbers), mask (N, H, W) and box (N, 4: left, top, right, bottom, in pixels).
        """
        if count < 1:
            raise ValueError(f"sample({count}): from 1 on is accepted")
        draws = torch.Generator(device=device).manual_seed(seed)
        factors, hidden = self._factors(count, draws)
        images, masks = self._draw(factors, hidden, draws)
        factors |= {"mask": masks, "box": _boxes(masks)}
        groups = torch.tensor([SUPERCLASSES.index(SUPERCLASS_OF[name]) for name in self.shapes], device=device)
        present = torch.tensor([name in self._names("superclass") for name in SUPERCLASSES], device=device)
        factors["superclass"] = (present.cumsum(0) - 1)[groups[factors["shape"]]]
        origin = f"shapes world, generated, seed {seed}"
        return Dataset(images, factors[self.label], self.classes, origin, factors)

    def _names(self, factor: str) -> tuple[str, ...]:
        if factor == "superclass":
            present = {SUPERCLASS_OF[name] for name in self.shapes}
            return tuple(name for name in SUPERCLASSES if name in present)
        return {
            "shape": self.shapes,
            "texture": self.textures,
            "colour": self.colours,
            "background": self.backgrounds,
        }.get(factor, ())

    def _factors(self, count: int, draws: torch.Generator) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """The factors of each picture, and what else it takes to draw it."""
        device = draws.device

        def between(low: float, high: float, *shape: int) -> torch.Tensor:
            return low + (high - low) * torch.rand(count, *shape, generator=draws, device=device)

        def one_of(names: Sequence[str]) -> torch.Tensor:
            return torch.randint(len(names), (count,), generator=draws, device=device)

        shares = torch.tensor(self.weights or [1.0] * len(self.shapes), dtype=torch.float32, device=draws.device)
        factors = {
            "shape": torch.multinomial(shares, count, replacement=True, generator=draws),
            "texture": one_of(self.textures),
            "colour": one_of(self.colours),
            "background": one_of(self.backgrounds),
            "scale": between(*self.scale),
            "x": between(-self.offset, self.offset),
            "y": between(-self.offset, self.offset),
            "angle": between(*self.angle),
            "gain": between(*self.gain),
            "blur": between(*_range(self.blur)),
            "noise": between(*_range(self.noise)),
        }
        hidden = {
            "tint": between(-0.08, 0.08, 3),
            "ground": between(0.1, 0.75, 1) + between(-0.15, 0.15, 3),
            "pitch": between(5.0, 8.0),
            "phase": between(0.0, 6.28, 4),
            "wave": between(5.0, 10.0),
            "slope": between(-self.slant, self.slant, 2),
        }
        return factors, hidden

    def _draw(
        self, factors: dict[str, torch.Tensor], hidden: dict[str, torch.Tensor], draws: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        count, side, device = len(factors["shape"]), self.size, draws.device
        images = torch.empty(count, 3, side, side, device=device)
        masks = torch.empty(count, side, side, dtype=torch.bool, device=device)
        every = factors | hidden
        for number, name in enumerate(self.shapes):
            rows = (factors["shape"] == number).nonzero()[:, 0]
            for chunk in rows.split(_CHUNK):
                images[chunk], masks[chunk] = self._render(name, {k: t[chunk] for k, t in every.items()})
        if _range(self.blur)[1] > 0:
            soft = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
            images = torch.lerp(images, soft, factors["blur"].view(-1, 1, 1, 1))
        if _range(self.noise)[1] > 0:
            grain = torch.randn(images.shape, generator=draws, device=device)
            images.addcmul_(grain, factors["noise"].view(-1, 1, 1, 1))
        return images.clamp_(0, 1), masks

    def _render(self, name: str, f: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw pictures of one shape: (n, 3, H, W) and (n, H, W)."""
        device, side = f["scale"].device, self.size
        axis = (torch.arange(side, device=device) + 0.5) * (2 / side) - 1  # pixel centres in (-1, 1)
        x, y = axis.view(1, 1, side), axis.view(1, side, 1)

        def each(values: torch.Tensor) -> torch.Tensor:
            return values.view(-1, 1, 1)

        turn = torch.deg2rad(f["angle"])
        c, s = each(turn.cos() / f["scale"]), each(turn.sin() / f["scale"])
        dx, dy = x - each(f["x"]), y - each(f["y"])
        u, v = dx * c + dy * s, dy * c - dx * s  # (n, H, W): the shape's own coordinates
        distance = SHAPES[name](u, v)
        cover = (0.5 - distance * each(f["scale"] * (side / 2))).clamp_(0, 1)  # share of the pixel that is shape

        surface = _pattern(TEXTURES, self.textures, f["texture"], u, v, f["pitch"], f["phase"][:, :2])
        ground = _pattern(TEXTURES, self.backgrounds, f["background"], x, y, f["wave"], f["phase"][:, 2:])
        palette = torch.tensor([COLOURS[name] for name in self.colours], device=device)
        colour = palette[f["colour"]] + f["tint"]  # (n, 3)
        light = each(f["gain"]) * (1 + each(f["slope"][:, 0]) * x + each(f["slope"][:, 1]) * y)
        shade, under = (0.7 + 0.3 * surface) * cover * light, (1 + self.clutter * ground) * (1 - cover) * light
        image = colour.view(-1, 3, 1, 1) * shade[:, None]
        image += f["ground"].view(-1, 3, 1, 1) * under[:, None]
        return image, distance < 0


LABELS = ("shape", "superclass", "texture", "colour", "background", "mask")


def _range(value: Range | float) -> Range:
    return value if isinstance(value, tuple) else (value, value)


def _pattern(
    known: dict[str, tuple[float, float, float, float]],
    names: Sequence[str],
    chosen: torch.Tensor,
    u: torch.Tensor,
    v: torch.Tensor,
    pitch: torch.Tensor,
    phase: torch.Tensor,
) -> torch.Tensor:
    """Values in [-1, 1] (n, H, W) of each picture's pattern."""
    c0, c1, c2, c3 = (
        t.view(-1, 1, 1) for t in torch.tensor([known[n] for n in names], device=u.device)[chosen].unbind(1)
    )
    a = torch.sin(u * pitch.view(-1, 1, 1) + phase[:, 0].view(-1, 1, 1))
    b = torch.sin(v * pitch.view(-1, 1, 1) + phase[:, 1].view(-1, 1, 1))
    return ((c0 + c1 * a + (c2 + c3 * a) * b) * 4).clamp_(-1, 1)


def _boxes(masks: torch.Tensor) -> torch.Tensor:
    """Left, top, right, bottom of what is true in each mask (N, H, W); the right and the bottom pixel are outside."""
    sides = []
    for axis in (1, 2):
        seen = masks.any(axis)
        length = seen.shape[1]
        first, last = seen.int().argmax(1), length - seen.flip(1).int().argmax(1)
        empty = ~seen.any(1)
        sides.append((first.masked_fill(empty, 0), last.masked_fill(empty, 0)))
    (left, right), (top, bottom) = sides
    return torch.stack([left, top, right, bottom], 1)
