"""The experiments that `recommend` rests on: four sources, six targets of falling similarity, five sizes, three seeds.

All are pictures of the shapes world at 16x16. ``python benchmarks/advisor.py --collect`` runs them anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from tlcore import worlds
from tlcore.transfer.grid import Target, Trial, grid
from tlcore.transfer.rules import STRATEGIES
from tlcore.transfer.small import train_source

WORLD = worlds.Shapes(size=16, scale=(0.6, 0.9), offset=0.1, clutter=0.15)
NEW = ("crescent", "trapezoid", "L", "heart")
OLD = tuple(name for name in WORLD.shapes if name not in NEW)
SOURCES: Mapping[str, worlds.Shapes] = {
    "shapes": WORLD.but(shapes=OLD),
    "grainy shapes": WORLD.but(shapes=OLD, noise=0.2),
    "kinds of shapes": WORLD.but(shapes=OLD, label="superclass"),
    "textures": WORLD.but(shapes=OLD, label="texture"),
}
TARGETS: Mapping[str, worlds.Shapes] = {
    "new shapes": WORLD.but(shapes=NEW),
    "new shapes, small and turned": WORLD.but(shapes=NEW, scale=(0.4, 0.7), angle=(-90.0, 90.0)),
    "new shapes, grainy": WORLD.but(shapes=NEW, noise=0.25),
    "backgrounds": WORLD.but(label="background", backgrounds=("plain", "stripes", "checks", "dots"), clutter=0.5),
    "textures": WORLD.but(label="texture", textures=("stripes", "checks", "dots", "net")),
    "colours": WORLD.but(label="colour", colours=("red", "orange", "blue", "purple"), gain=(0.3, 1.1), noise=0.2),
}
SIZES = (5, 15, 50, 150, 300)
SEEDS = (0, 1, 2)


def target(world: worlds.Shapes, *, pool: int = 4000, test: int = 1000, seed: int = 0) -> Target:
    """Labelled pictures of a world.

    >>> target(TARGETS["new shapes"], pool=40, test=8).pool.inputs.shape
    torch.Size([40, 3, 16, 16])
    """
    return Target(world.sample(pool, seed=2 * seed + 101), world.sample(test, seed=2 * seed + 102))


def collect(
    sources: Mapping[str, worlds.Shapes] = SOURCES,
    targets: Mapping[str, worlds.Shapes] = TARGETS,
    sizes: Sequence[int] = SIZES,
    seeds: Sequence[int] = SEEDS,
    *,
    pretrain_on: int = 12_000,
) -> list[Trial]:
    """Train the sources, and run every strategy on every target."""
    nets = {name: train_source(world.sample(pretrain_on, seed=1)) for name, world in sources.items()}
    return grid(nets, {name: target(world) for name, world in targets.items()}, sizes, seeds)


def write(trials: Sequence[Trial], path: str | Path) -> None:
    """Keep trials in a file: all of it or nothing."""
    rows = [
        [t.source, t.target, t.per_class, t.classes, t.seed, t.similarity, [t.accuracy[s] for s in STRATEGIES]]
        for t in trials
    ]
    lines = ",\n".join(json.dumps(row) for row in rows)
    beside = Path(f"{path}.part")
    beside.write_text(f'{{"strategies": {json.dumps(list(STRATEGIES))}, "trials": [\n{lines}\n]}}\n')
    os.replace(beside, path)


def read(path: str | Path | None = None) -> list[Trial]:
    """Trials from a file; by default those that came with the package.

    >>> trial = read()[0]
    >>> trial.source, trial.target, trial.per_class
    ('shapes', 'new shapes', 5)
    """
    return list(_shipped()) if path is None else _parsed(json.loads(Path(path).read_text()))


@cache
def _shipped() -> tuple[Trial, ...]:
    return tuple(_parsed(json.loads(files("tlcore.transfer").joinpath("evidence.json").read_text())))


def _parsed(given: Mapping[str, Any]) -> list[Trial]:
    names = given["strategies"]
    return [
        Trial(source, name, per_class, classes, seed, like, dict(zip(names, accuracy, strict=True)))
        for source, name, per_class, classes, seed, like, accuracy in given["trials"]
    ]
