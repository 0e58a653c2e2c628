"""Sixteen shapes as distance functions of (u, v): negative inside, positive outside, about one unit from the middle.

Each function takes coordinates of any shape; u points right, v down. The four superclasses group them as
CIFAR-100's do.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

Outline = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def _box(u: torch.Tensor, v: torch.Tensor, width: float, height: float) -> torch.Tensor:
    return torch.maximum(u.abs() - width, v.abs() - height)


def circle(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return torch.hypot(u, v) - 0.9


def ellipse(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return (torch.hypot(u, 2 * v) - 1) * 0.7


def ring(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return (torch.hypot(u, v) - 0.7).abs() - 0.25


def crescent(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return torch.maximum(torch.hypot(u, v) - 0.95, 0.85 - torch.hypot(u - 0.5, v))


def square(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return _box(u, v, 0.8, 0.8)


def triangle(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return torch.maximum(0.866 * u.abs() - 0.5 * v, v) - 0.5


def diamond(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return (u.abs() / 0.65 + v.abs() - 1) * 0.55


def trapezoid(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return torch.maximum(v.abs() - 0.6, 0.9 * (u.abs() - 0.62 - 0.45 * v))


def plus(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return torch.minimum(_box(u, v, 0.95, 0.28), _box(u, v, 0.28, 0.95))


def tee(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return torch.minimum(_box(u, v + 0.65, 0.78, 0.26), _box(u, v - 0.1, 0.26, 0.85))


def ell(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return torch.minimum(_box(u + 0.45, v, 0.26, 0.9), _box(u - 0.05, v - 0.64, 0.75, 0.26))


def zed(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    bars = torch.minimum(_box(u + 0.2, v + 0.62, 0.6, 0.25), _box(u - 0.2, v - 0.62, 0.6, 0.25))
    return torch.minimum(bars, _box(u, v, 0.25, 0.85))


def heart(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    w = v + 0.1
    lobes = torch.hypot(u.abs() - 0.42, w + 0.3) - 0.48
    return torch.minimum(lobes, torch.maximum(0.74 * u.abs() + 0.67 * w - 0.6, -w - 0.25))


def star(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    turn = torch.atan2(u, -v) * (5 / (2 * torch.pi))
    edge = (turn - turn.round()).abs()  # 0 at a point, 0.5 between two
    return (torch.hypot(u, v) - (1 - 1.15 * edge)) * 0.7


def arrow(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    head = torch.maximum(0.75 * v.abs() + 0.66 * u - 0.62, 0.05 - u)
    return torch.minimum(head, _box(u + 0.4, v, 0.55, 0.2))


def hourglass(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return torch.maximum(v.abs() - 0.75, (u.abs() - v.abs() - 0.08) * 0.7)


OUTLINES: dict[str, dict[str, Outline]] = {
    "round": {"circle": circle, "ellipse": ellipse, "ring": ring, "crescent": crescent},
    "polygon": {"square": square, "triangle": triangle, "diamond": diamond, "trapezoid": trapezoid},
    "letter": {"plus": plus, "T": tee, "L": ell, "Z": zed},
    "figure": {"heart": heart, "star": star, "arrow": arrow, "hourglass": hourglass},
}
SHAPES: dict[str, Outline] = {name: outline for group in OUTLINES.values() for name, outline in group.items()}
SUPERCLASSES: tuple[str, ...] = tuple(OUTLINES)
SUPERCLASS_OF: dict[str, str] = {name: group for group, members in OUTLINES.items() for name in members}
