"""The advisor's regret: accuracy that its advice gives away to the best strategy, known only afterwards.

Claim: on held-back cells and on real data the mean regret is at most 2 points, and never more than that of the
lectures' two tables. Held back are other sources (twelve other shapes, and their textures), other targets, sizes and
seeds of the shapes world; the real part is CIFAR-10, MNIST and USPS at 16x16, with networks trained on six classes of
CIFAR-10, on six digits, and on shapes. The tables say neither how many labels are "large" nor what is "similar": they
get the thresholds that suit them best on the evidence, which is all that the advisor knows too; beside it stands what
they would do with the best thresholds for the very cells they are judged on. A cell without
advice is scored as a support vector machine on the inputs. Fixed beforehand: all of `tlcore.transfer.grid` and
`evidence`. Needs the three datasets in ``$TLCORE_DATA`` or ../shared/data.
``python benchmarks/advisor.py [--trials FILE]`` takes a quarter of an hour on one core; a file keeps the trials, and
from it they are read. ``--collect FILE`` runs the evidence anew, in half an hour.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from statistics import mean, stdev

import torch
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from tlcore import transfer, worlds
from tlcore.transfer import evidence
from tlcore.transfer.rules import STRATEGIES, TABLES, Strategy, freeze_or_fine_tune, table_advice

DATA = Path(os.environ.get("TLCORE_DATA") or Path(__file__).parents[2] / "shared" / "data")
W = evidence.WORLD
NEW = ("ring", "square", "T", "star")
OLD = tuple(name for name in W.shapes if name not in NEW)
SOURCES = {"other shapes": W.but(shapes=OLD), "their textures": W.but(shapes=OLD, label="texture")}
TARGETS = {
    "ring, square, T, star": W.but(shapes=NEW),
    "the same, blurred": W.but(shapes=NEW, blur=0.8, noise=0.1),
    "circle, diamond, Z, arrow": W.but(shapes=("circle", "diamond", "Z", "arrow")),
    "other textures": W.but(label="texture", textures=("plain", "bands", "dots", "net"), shapes=("circle", "square")),
    "greens and blues": W.but(label="colour", colours=("yellow", "green", "white", "grey"), noise=0.2),
}
SIZES, SEEDS = (10, 30, 100, 250), (10, 11)
PHOTOS, DIGITS = ("airplane", "bird", "deer", "dog", "frog", "truck"), ("0", "1", "2", "3", "5", "6")
REAL = {
    "CIFAR-10": ("cifar10", ("automobile", "cat", "horse", "ship")),
    "MNIST": ("mnist", ("4", "7", "8", "9")),
    "USPS": ("usps", ("4", "7", "8", "9")),
}
REAL_SIZES = (5, 20, 80, 160)
Rule = Callable[[transfer.Trial], Strategy]


def small(name: str, split: str, classes: Sequence[str], most: int) -> worlds.Dataset:
    """Images (N, 3, 16, 16) of some classes."""
    data = worlds.load(name, split=split, root=DATA).subset(classes=tuple(classes))
    data = data.subset(size=min(most, len(data)), seed=1)
    images = data.inputs.float() / 255 if data.inputs.dtype == torch.uint8 else data.inputs.float()
    if images.shape[-1] == 28:
        images = interpolate(images, size=32, mode="bilinear")
    images = adaptive_avg_pool2d(images, 16).expand(-1, 3, -1, -1).contiguous()
    return worlds.Dataset(images, data.targets, data.classes, data.origin)


def held_back() -> list[transfer.Trial]:
    """Cells of the shapes world that the evidence has not."""
    nets = {name: transfer.train_source(world.sample(12_000, seed=7)) for name, world in SOURCES.items()}
    targets = {name: evidence.target(world, seed=5) for name, world in TARGETS.items()}
    return transfer.grid(nets, targets, SIZES, SEEDS)


def real() -> list[transfer.Trial]:
    """Cells of real images."""
    nets = {
        "six of CIFAR-10": transfer.train_source(small("cifar10", "train", PHOTOS, 20_000)),
        "six of MNIST": transfer.train_source(small("mnist", "train", DIGITS, 12_000)),
        "shapes": transfer.train_source(evidence.SOURCES["shapes"].sample(12_000, seed=7)),
    }
    targets = {}
    for name, (data, classes) in REAL.items():
        targets[name] = transfer.Target(small(data, "train", classes, 8000), small(data, "test", classes, 1500))
    return transfer.grid(nets, targets, REAL_SIZES, SEEDS)


def advisor(trial: transfer.Trial) -> Strategy:
    """What the advisor says, from the evidence alone."""
    return transfer.recommend(trial.per_class * trial.classes, trial.similarity, num_classes=trial.classes).strategy


def table(name: str, large: float, similar: float) -> Rule:
    """A table of the lectures with thresholds."""

    def rule(trial: transfer.Trial) -> Strategy:
        said = table_advice(name, large=trial.per_class >= large, similar=trial.similarity >= similar)
        return said or "raw svm"

    return rule


def regret(rule: Rule, trials: Sequence[transfer.Trial]) -> float:
    """Mean regret in points of accuracy."""
    return 100 * mean(trial.regret(rule(trial)) for trial in trials)


def above(one: Rule, other: Rule, trials: Sequence[transfer.Trial]) -> tuple[float, float]:
    """How much more regret one rule has than the other: mean over pairs of source and target, and standard error."""
    pairs: dict[tuple[str, str], list[float]] = {}
    for trial in trials:
        pairs.setdefault((trial.source, trial.target), []).append(trial.regret(one(trial)) - trial.regret(other(trial)))
    means = [100 * mean(found) for found in pairs.values()]
    return mean(means), stdev(means) / len(means) ** 0.5


def limits(trials: Sequence[transfer.Trial]) -> list[tuple[float, float]]:
    """All thresholds of size and similarity that make a difference on these trials."""
    larges = [*sorted({t.per_class for t in trials}), float("inf")]
    return list(product(larges, [*sorted({t.similarity for t in trials}), float("inf")]))


def fitted(make: Callable[[float, float], Rule], trials: Sequence[transfer.Trial]) -> Rule:
    """A rule with the thresholds that suit it best on these trials."""
    return make(*min(limits(trials), key=lambda both: regret(make(*both), trials)))


RULES: dict[str, Callable[[float, float], Rule]] = {
    **{name: partial(table, name) for name in TABLES},
    "freeze or fine-tune": lambda large, _: lambda t: freeze_or_fine_tune(plentiful=t.per_class >= large),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--collect", metavar="FILE")
    parser.add_argument("--trials", metavar="FILE")
    options = parser.parse_args()
    if options.collect:
        found = evidence.collect()
        evidence.write(found, options.collect)
        print(f"{len(found)} trials, bandwidths {transfer.best_bandwidths(found)}")
        return
    torch.set_num_threads(1)
    try:
        small("usps", "test", ("4",), 10)
    except ValueError as error:
        sys.exit(f"benchmarks/advisor.py: {error}")
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
    real_cells, held_cells, origins = trials(options.trials)
    parts = {"held back, shapes world": held_cells, "real images": real_cells, "all": held_cells + real_cells}
    print(f"{', '.join(dict.fromkeys(origins))}\n")
    print("Regret in points of accuracy, mean over cells.\n")
    known = evidence.read()
    always: dict[str, Rule] = {f"always {s}": partial(_said, s) for s in STRATEGIES}
    fair = {name: fitted(make, known) for name, make in RULES.items()}
    figures: dict[str, object] = {}
    print("| rule | " + " | ".join(f"{name} ({len(cells)})" for name, cells in parts.items()) + " |")
    print("| --- |" + " ---: |" * len(parts))
    for name, rule in {"advisor": advisor, **fair, **always}.items():
        found = [regret(rule, cells) for cells in parts.values()]
        print(f"| {name} | " + " | ".join(f"{value:.1f}" for value in found) + " |")
        figures[name] = [round(value, 2) for value in found]
    for name, make in RULES.items():
        found = [regret(fitted(make, cells), cells) for cells in parts.values()]
        print(f"| {name}, best thresholds known afterwards | " + " | ".join(f"{value:.1f}" for value in found) + " |")
        figures[f"{name} afterwards"] = [round(value, 2) for value in found]
    apart = {name: above(advisor, fair[name], parts["all"]) for name in TABLES}
    print("\nThe advisor's regret above a table's, cell by cell, over pairs of source and target (standard error):")
    print("; ".join(f"{name} {more:+.2f} ({error:.2f})" for name, (more, error) in apart.items()) + ".")
    print("\nReal images, cell by cell (accuracies in percent; the advice in brackets, mean of two draws):\n")
    print("| source | target | a class | similarity | " + " | ".join(STRATEGIES) + " | regret |")
    print("| --- | --- | ---: | ---: |" + " ---: |" * (len(STRATEGIES) + 1))
    for cell in dict.fromkeys((t.source, t.target, t.per_class) for t in real_cells):
        same = [t for t in real_cells if (t.source, t.target, t.per_class) == cell]
        said = {advisor(t) for t in same}
        values = [f"{100 * mean(t.accuracy[s] for t in same):.0f}" for s in STRATEGIES]
        marked = [f"({v})" if s in said else v for s, v in zip(STRATEGIES, values, strict=True)]
        like, cost = mean(t.similarity for t in same), regret(advisor, same)
        print(f"| {' | '.join(map(str, cell))} | {like:.2f} | " + " | ".join(marked) + f" | {cost:.1f} |")
    held = "shapes world, generated"
    last = {
        "regret": figures["advisor"][2],
        "regret_tables": [figures[name][2] for name in TABLES],
        "above_tables": [[round(value, 2) for value in apart[name]] for name in TABLES],
        "regret_freeze_or_fine_tune": figures["freeze or fine-tune"][2],
        "regret_always_fine_tune": figures["always full"][2],
        "held back, real, all": figures,
        "origin": "; ".join([held, *dict.fromkeys(origins)]),
    }
    print("\n" + json.dumps(last))


def _said(strategy: Strategy, trial: transfer.Trial) -> Strategy:
    return strategy


def trials(path: str | None) -> tuple[list[transfer.Trial], list[transfer.Trial], list[str]]:
    """Real cells and held-back ones, from the file or run now, and the origins of the real images."""
    names = [f"{path}.{part}.json" for part in ("real", "held_back")]
    origins = [small(data, split, classes, 10).origin for data, classes in REAL.values() for split in ("train", "test")]
    if path and all(Path(name).exists() for name in names):
        one, other = (evidence.read(name) for name in names)
        return one, other, origins
    found = real(), held_back()
    if path:
        for name, part in zip(names, found, strict=True):
            evidence.write(part, name)
    return *found, origins


if __name__ == "__main__":
    main()
