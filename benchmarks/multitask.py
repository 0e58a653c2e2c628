"""One network for several tasks or one for each: the lectures' three conditions as knobs, and MultiMNIST.

Claim: the table says where multi-task learning gains over single networks and where it loses, with 95% intervals over
seeds; a tie is called a tie. The knobs are those of `tlcore.multitask.conditions` (the shapes world, a small trunk,
equal steps): a partner task that needs the same features or others; the share of all images that one task has; the
width of a trunk that four tasks share. Single networks stand beside it twice: with equal total cost in multiply-adds,
and with the same trunk each, which costs as many times as much as there are tasks. In the world of two teachers the
similarity is known exactly. The shapes' sizes, steps and rate are one setting for all, chosen so that a single network
learns its task. Of the teachers two settings were tried, before this table, and both are in it.

MultiMNIST: two random MNIST digits in 36x36, one in the upper left corner and one in the lower right, the brighter
pixel of both (two tasks: which is left, which is right). Sener and Koltun 2018 (arXiv:1810.04650) use such pictures;
their data and network differ in details, so the figures ascribed to them (not checked against the paper: single 97.23 /
95.90, uniform 96.46 / 94.99, MGDA 97.26 / 95.90) stand beside ours for the order of things. The network is
a LeNet whose neck of 50 features all heads share; a single network has it for itself. Needs MNIST in
``$TLCORE_DATA`` or ../shared/data.

``python benchmarks/multitask.py [--trials FILE] [--tiny]``: a file keeps single runs, and a run that was stopped goes
on from it; --tiny only shows that everything runs, its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from torch import nn

from tlcore import multitask, worlds
from tlcore.multitask.conditions import KNOBS

DATA = Path(os.environ.get("TLCORE_DATA") or Path(__file__).parents[2] / "shared" / "data")
SEEDS, TEACHER_SEEDS = range(5), 10
SETUP = multitask.Setup()
TEACHERS = ((2, 1e-2), (4, 1e-3))  # hidden units, weight decay; both settings that were tried are shown
IMAGES, EPOCHS, BATCH, RATE = 20_000, 4, 64, 0.05
METHODS = ("single", "sum", "uncertainty", "pcgrad")
SIDES = ("left", "right")
PUBLISHED = {"single": (97.23, 95.90), "sum": (96.46, 94.99)}  # Sener and Koltun's "uniform" is the sum


class Journal:
    """Figures of what was trained, by a key; in a file, if there is one."""

    def __init__(self, path: str | None) -> None:
        self.path = Path(path) if path else None
        lines = self.path.read_text().splitlines() if self.path and self.path.exists() else []
        self.known = {json.dumps(key): figures for key, figures in map(json.loads, lines)}

    def kept(self, make: Callable[[], Any], *key: Any) -> Any:
        """What `make` found for the key, now or before."""
        name = json.dumps(key)
        if name not in self.known:
            self.known[name] = make()
            if self.path:
                with self.path.open("a") as file:
                    file.write(json.dumps([key, self.known[name]]) + "\n")
        return self.known[name]


def knob_map(knob: str, seeds: range, setup: multitask.Setup, journal: Journal) -> multitask.ConditionMap:
    """All trials of a knob, single runs from the journal where it has them."""
    rows = []
    for value in KNOBS[knob][1]:
        for seed in seeds:
            rows += journal.kept(
                lambda v=value, s=seed: [list(one) for one in multitask.trial(knob, v, s, setup)],
                knob, value, seed, asdict(setup),
            )  # fmt: skip
    return multitask.ConditionMap([multitask.Trial(*row) for row in rows])


def pairs_of_digits(split: str, count: int, seed: int) -> dict[str, worlds.Dataset]:
    """Pictures (count, 1, 36, 36) of two digits: the left one is a task, and the right one another."""
    data = worlds.load("mnist", split=split, root=DATA)
    draws = torch.Generator().manual_seed(seed)
    left, right = torch.randint(len(data), (2, count), generator=draws)
    images = torch.zeros(count, 1, 36, 36, dtype=torch.uint8)
    images[:, :, :28, :28] = data.inputs[left]
    images[:, :, 8:, 8:] = torch.maximum(images[:, :, 8:, 8:], data.inputs[right])
    origin = f"MultiMNIST, {count} pairs of {data.origin}"
    first = worlds.Dataset(images, data.targets[left], data.classes, origin)
    return {"left": first, "right": worlds.Dataset(images, data.targets[right], data.classes, origin)}


def lenet() -> nn.Module:
    """Two convolutions and a linear layer; ends in 50 features."""
    return nn.Sequential(
        nn.Conv2d(1, 10, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(10, 20, 5), nn.MaxPool2d(2), nn.ReLU(),
        nn.Flatten(), nn.Linear(720, 50), nn.ReLU(),
    )  # fmt: skip


def digits(method: str, seed: int, train: dict[str, Any], test: dict[str, Any], epochs: int) -> list[float]:
    """Accuracies of left and right on the test pairs."""
    found: dict[str, float] = {}
    for tasks in [[side] for side in SIDES] if method == "single" else [list(SIDES)]:
        torch.manual_seed(seed)
        model = multitask.MultiTaskModel(lenet(), dict.fromkeys(tasks, 10), at="output", seed=seed)
        multitask.fit(
            model, {task: train[task] for task in tasks}, rule="sum" if method == "single" else method, epochs=epochs,
            lr=RATE, batch_size=BATCH, schedule="one_cycle", seed=seed, progress=False,
        )  # fmt: skip
        accuracies = multitask.evaluate(model, {task: test[task] for task in tasks})
        found |= {task: accuracy or 0.0 for task, (_, accuracy) in accuracies.items()}
    return [round(found[side], 4) for side in SIDES]


def teachers(seeds: int, units: int, decay: float) -> list[list[Any]]:
    """Trials of `multitask.teacher_map` as plain rows."""
    found = multitask.teacher_map(seeds=range(seeds), teacher=units, weight_decay=decay, device="cpu")
    return [list(one) for one in found.trials]


def told(values: list[float]) -> str:
    spread = f" ± {100 * stdev(values):.2f}" if len(values) > 1 else ""
    return f"{100 * mean(values):.2f}{spread}"


def cells(found: multitask.ConditionMap) -> dict[str, Any]:
    """A map as plain figures: for each value and task the difference in points, its interval and the verdict."""
    figures: dict[str, Any] = {}
    for name, against in (("equal_cost", "equal cost"), ("same_trunk", "same trunk")):
        figures[name] = {
            f"{value}, {task}": [round(100 * x, 2) for x in (one.difference, *one.interval)] + [one.verdict]
            for (value, task), one in found.cells(against).items()
        }
    return figures


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", metavar="FILE")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    journal, seeds, setup, images, epochs, many = Journal(options.trials), SEEDS, SETUP, IMAGES, EPOCHS, TEACHER_SEEDS
    if options.tiny:
        setup = multitask.Setup(size=8, width=4, images=40, test=60, steps=4, batch_size=20)
        seeds, images, epochs, many = range(2), 500, 1, 2
    torch.set_num_threads(1)
    try:
        test = pairs_of_digits("test", min(10_000, 5 * images), seed=10_000)
    except ValueError as error:
        sys.exit(f"benchmarks/multitask.py: {error}")
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
    print(
        f"Shapes world, {setup.size}x{setup.size}: {setup.images} images a task, {setup.steps} steps, "
        f"trunk of width {setup.width}.\n"
    )
    figures: dict[str, Any] = {"seeds": len(seeds)}
    for knob in KNOBS:
        found = knob_map(knob, seeds, setup, journal)
        print(f"{knob}\n\n{found}\n", flush=True)
        figures[knob] = cells(found)
    for units, decay in TEACHERS:
        rows = journal.kept(lambda t=units, w=decay: teachers(many, t, w), "rho", many, units, decay)
        known = multitask.ConditionMap([multitask.Trial(*row) for row in rows])
        print(f"cosine rho between two teachers of {units} hidden units, weight decay {decay}\n\n{known}\n", flush=True)
        figures[f"rho_{units}"] = cells(known)

    print(
        f"MultiMNIST: {images} pairs to train on, {epochs} epochs; accuracy in percent ± deviation over "
        f"{len(seeds)} seeds\n"
    )
    print("| method | left | right | left, minus single | right, minus single | published left / right |")
    print("| --- | --- | --- | --- | --- | --- |")
    alone: list[list[float]] = []
    for method in METHODS:
        found = [
            journal.kept(
                lambda m=method, s=seed: digits(m, s, pairs_of_digits("train", images, s), test, epochs),
                "multimnist", method, seed, images, epochs, BATCH, RATE,
            )
            for seed in seeds
        ]  # fmt: skip
        alone = alone or found
        sides = [[row[n] for row in found] for n in (0, 1)]
        gains = [multitask.Paired(tuple(side), tuple(row[n] for row in alone)) for n, side in enumerate(sides)]
        against = ["–", "–"] if method == "single" else [one.told() for one in gains]
        published = " / ".join(f"{value:.2f}" for value in PUBLISHED[method]) if method in PUBLISHED else "–"
        print(f"| {method} | {' | '.join(map(told, sides))} | {' | '.join(against)} | {published} |", flush=True)
        figures[f"multimnist_{method}"] = [round(mean(side), 4) for side in sides]
        if method != "single":
            figures[f"multimnist_{method}_verdict"] = [one.verdict for one in gains]
    print("\nPublished: ascribed to Sener and Koltun 2018, whose MGDA has 97.26 / 95.90; see above.")
    figures["origin"] = f"shapes world, generated; teacher-student world, generated; {test['left'].origin}"
    print("\n" + json.dumps(figures))


if __name__ == "__main__":
    main()
