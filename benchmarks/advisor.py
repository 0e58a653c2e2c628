"""The advisor's regret: accuracy that its advice gives away to the best strategy, known only afterwards.

Claim: on held-back cells and on real data the mean regret is at most 2 points, and never more than that of the
lectures' two tables. Held back are other sources (twelve other shapes, and their textures), other targets, sizes and
seeds of the shapes world; the real part is CIFAR-10, MNIST and USPS at 16x16, with networks trained on six classes of
CIFAR-10, on six digits, and on shapes. The tables say neither how many labels are "large" nor what is "similar": they
get the thresholds that suit them best on the very cells they are judged on, which the advisor does not. A cell without
advice is scored as a support vector machine on the inputs. Fixed beforehand: all of `tlcore.transfer.grid` and
`evidence`. Needs the three datasets in ``$TLCORE_DATA`` or ../shared/data.
``python benchmarks/advisor.py [--collect FILE]``; the latter runs the evidence anew, half an hour on one core.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from statistics import mean

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


def real() -> tuple[list[transfer.Trial], list[str]]:
    """Cells of real images, and where these come from."""
    nets = {
        "six of CIFAR-10": transfer.train_source(small("cifar10", "train", PHOTOS, 20_000)),
        "six of MNIST": transfer.train_source(small("mnist", "train", DIGITS, 12_000)),
        "shapes": transfer.train_source(evidence.SOURCES["shapes"].sample(12_000, seed=7)),
    }
    targets, origins = {}, []
    for name, (data, classes) in REAL.items():
        pool, test = small(data, "train", classes, 8000), small(data, "test", classes, 1500)
        targets[name] = transfer.Target(pool, test)
        origins += [pool.origin, test.origin]
    return transfer.grid(nets, targets, REAL_SIZES, SEEDS), origins


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


def best_table(name: str, trials: Sequence[transfer.Trial]) -> tuple[float, float, float]:
    """Smallest regret of a table over all thresholds, and these."""
    larges = [*sorted({t.per_class for t in trials}), float("inf")]
    likes = [*sorted({t.similarity for t in trials}), float("inf")]
    return min((regret(table(name, *limits), trials), *limits) for limits in product(larges, likes))


def best_freeze(trials: Sequence[transfer.Trial]) -> float:
    """The rule by size alone, likewise."""
    larges = [*sorted({t.per_class for t in trials}), float("inf")]
    return min(
        regret(lambda t, large=large: freeze_or_fine_tune(plentiful=t.per_class >= large), trials)  # type: ignore[misc]
        for large in larges
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--collect", metavar="FILE")
    if path := parser.parse_args().collect:
        trials = evidence.collect()
        evidence.write(trials, path)
        print(f"{len(trials)} trials, bandwidths {transfer.best_bandwidths(trials)}")
        return
    torch.set_num_threads(1)
    try:
        small("usps", "test", ("4",), 10)
    except ValueError as error:
        sys.exit(f"benchmarks/advisor.py: {error}")
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
    photos, origins = real()
    parts = {"held back, shapes world": held_back(), "real images": photos}
    both = [trial for part in parts.values() for trial in part]
    print(f"{', '.join(dict.fromkeys(origins))}\n")
    print(
        "Regret in points of accuracy, mean over cells; the tables and the rule with thresholds that suit them best here.\n"
    )
    rules = [
        "advisor",
        *TABLES,
        "freeze or fine-tune",
        *(f"always {s}" for s in STRATEGIES),
        "best single, known afterwards",
    ]
    print("| cells | number | " + " | ".join(rules) + " |\n| --- | ---: |" + " ---: |" * len(rules))
    figures: dict[str, object] = {}
    for name, trials in (parts | {"all": both}).items():
        always = {s: regret(lambda t, s=s: s, trials) for s in STRATEGIES}  # type: ignore[misc]
        ours, tables = regret(advisor, trials), [best_table(each, trials)[0] for each in TABLES]
        row = [ours, *tables, best_freeze(trials), *always.values(), min(always.values())]
        print(f"| {name} | {len(trials)} | " + " | ".join(f"{value:.1f}" for value in row) + " |")
        key = {"all": "", "real images": "_real"}.get(name, "_held_back")
        figures |= {f"regret{key}": round(ours, 2), f"regret_tables{key}": [round(v, 2) for v in tables]}
        figures |= {f"regret_always_fine_tune{key}": round(always["full"], 2)}
        figures |= {f"regret_freeze_or_fine_tune{key}": round(best_freeze(trials), 2)}
    print("\nReal images, cell by cell (accuracies in percent; the advice in brackets, mean of two draws):\n")
    print("| source | target | a class | similarity | " + " | ".join(STRATEGIES) + " | regret |")
    print("| --- | --- | ---: | ---: |" + " ---: |" * (len(STRATEGIES) + 1))
    for cell in dict.fromkeys((t.source, t.target, t.per_class) for t in photos):
        same = [t for t in photos if (t.source, t.target, t.per_class) == cell]
        said = {advisor(t) for t in same}
        values = [f"{100 * mean(t.accuracy[s] for t in same):.0f}" for s in STRATEGIES]
        marked = [f"({v})" if s in said else v for s, v in zip(STRATEGIES, values, strict=True)]
        like, cost = mean(t.similarity for t in same), regret(advisor, same)
        print(f"| {' | '.join(map(str, cell))} | {like:.2f} | " + " | ".join(marked) + f" | {cost:.1f} |")
    held = "shapes world, generated"
    print("\n" + json.dumps(figures | {"origin": "; ".join([held, *dict.fromkeys(origins)])}))


if __name__ == "__main__":
    main()
