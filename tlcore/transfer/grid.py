"""Every strategy on every target at every size: small networks, many at once, so that "when?" becomes a measurement.

Two targets of three classes, with 5 labelled images of each, from one source:

>>> from tlcore import worlds
>>> shape, texture = worlds.Shapes(size=24), worlds.Shapes(label="texture", size=24)
>>> net = small_net(16, seed=0)  # in earnest: trained
>>> targets = {
...     "shape": Target(*(shape.but(shapes=("L", "Z", "heart")).sample(n, seed=n) for n in (40, 80))),
...     "texture": Target(*(texture.but(textures=("plain", "bands", "dots")).sample(n, seed=n) for n in (40, 80))),
... }
>>> found = grid({"nothing yet": net}, targets, sizes=(5,), seeds=(0,), steps=lambda per_class: 3)
>>> [(trial.target, trial.per_class, len(trial.accuracy)) for trial in found]
[('shape', 5, 7), ('texture', 5, 7)]
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from tlcore import runtime
from tlcore.training import Lab
from tlcore.transfer.classifiers import judged
from tlcore.transfer.rules import STRATEGIES, Strategy
from tlcore.transfer.similarity import similarity_of
from tlcore.transfer.small import small_net
from tlcore.worlds import Dataset
from tlcore.worlds.dataset import as_floats

# Largest rates of stochastic gradient descent with momentum 0.9; found by halving and doubling.
RATES: Mapping[str, float] = {"scratch": 0.02, "top": 0.03, "full": 0.03, "discriminative": 0.03}
FACTOR = 2.6  # of discriminative rates, Howard and Ruder 2018
BATCH = 32


class Target(NamedTuple):
    """Labelled images to draw training sets from, and others to test on."""

    pool: Dataset
    test: Dataset


@dataclass(frozen=True)
class Trial:
    """All strategies on one training set; accuracies are shares of the test set."""

    source: str
    target: str
    per_class: int
    classes: int
    seed: int
    similarity: float
    accuracy: Mapping[Strategy, float]

    @property
    def best(self) -> Strategy:
        """The strategy that a look at the test set would have chosen."""
        return max(self.accuracy, key=lambda strategy: self.accuracy[strategy])

    def regret(self, strategy: Strategy) -> float:
        """How much accuracy a strategy gives away to the best one."""
        return self.accuracy[self.best] - self.accuracy[strategy]


def default_steps(per_class: int) -> int:
    """Steps of training for so many labelled images a class: they grow with the square root.

    >>> [default_steps(n) for n in (5, 50, 300)]
    [150, 474, 1160]
    """
    return round(67 * math.sqrt(per_class))


def grid(
    sources: Mapping[str, nn.Sequential],
    targets: Mapping[str, Target],
    sizes: Sequence[int],
    seeds: Iterable[int],
    *,
    steps: Callable[[int], int] = default_steps,
    device: torch.device | str | None = None,
) -> list[Trial]:
    """Run every strategy for every source, target, number of labels and seed.

    An example with shapes stands at the head of this file.

    Parameters
    ----------
    sources
        Trained networks made by `small_net`, by name; they are not changed.
    targets
        By name, all with the same number of classes; every class in the pool and in the test set.
    sizes
        Labelled images of each class.
    seeds
        Of what is drawn from the pool, of new heads and of batches.
    steps
        Of training for so many images of each class, the same for all strategies.

    Raises
    ------
    ValueError
        If targets have other numbers of classes, or a pool has too few images of a class.
    """
    _check(targets, sizes)
    seeds, trials = list(seeds), []
    for per_class in sizes:
        keys = [(name, seed) for name in targets for seed in seeds]
        drawn = [targets[name].pool.subset(per_class=per_class, seed=1000 + seed) for name, seed in keys]
        tests = [targets[name].test for name, _ in keys]
        run = _Runs(drawn, tests, [seed for _, seed in keys], steps(per_class), device)
        alone = {"scratch": run.scratch(), "raw svm": run.heads("svm", run.raw)}
        for source, net in sources.items():
            neck = run.neck(net)
            found = alone | run.transferred(net, neck)
            for n, (target, seed) in enumerate(keys):
                accuracy = {strategy: round(float(found[strategy][n]), 4) for strategy in STRATEGIES}
                like = similarity_of(neck[n][0], run.raw[n][0], drawn[n].targets.cpu().numpy())
                trials.append(Trial(source, target, per_class, len(tests[n].classes), seed, round(like, 3), accuracy))
    return trials


def _check(targets: Mapping[str, Target], sizes: Sequence[int]) -> None:
    if not targets or not sizes or min(sizes) < 2:
        raise ValueError(
            f"grid: one target at least, and from 2 images a class on; got {len(targets)} and {list(sizes)}"
        )
    counts = {name: len(target.test.classes) for name, target in targets.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"grid: all targets need the same number of classes; they have {counts}")


class _Runs:
    """All training sets of one size."""

    def __init__(
        self,
        drawn: list[Dataset],
        tests: list[Dataset],
        seeds: list[int],
        steps: int,
        device: torch.device | str | None,
    ) -> None:
        self.drawn, self.tests, self.seeds, self.steps = drawn, tests, seeds, steps
        self.device = runtime.device() if device is None else torch.device(device)
        self.classes = len(tests[0].classes)
        self.raw = [tuple(_flat(_images(part)) for part in pair) for pair in zip(drawn, tests, strict=True)]

    def neck(self, net: nn.Sequential) -> list[tuple[np.ndarray, ...]]:
        """Features of training and test images."""
        pairs = zip(self.drawn, self.tests, strict=True)
        return [tuple(_images(self._through(net[:-1], part)).cpu().numpy() for part in pair) for pair in pairs]

    def heads(self, head: str, features: list[tuple[np.ndarray, ...]]) -> list[float]:
        """Accuracies of a classifier on features, one a training set."""
        found = []
        for n, (known, new) in enumerate(features):
            y, y_test = (part[n].targets.cpu().numpy() for part in (self.drawn, self.tests))
            found.append(judged(head, "", known, new, y, y_test, self.seeds[n]).accuracy)
        return found

    def scratch(self) -> list[float]:
        """The whole network, from random weights."""
        channels = _images(self.drawn[0]).shape[1]
        return self._train(lambda: small_net(self.classes, channels=channels, seed=torch.initial_seed()), "scratch")

    def transferred(self, net: nn.Sequential, neck: list[tuple[np.ndarray, ...]]) -> dict[str, list[float]]:
        """The strategies that start from a trained network with these features."""
        fixed, free = net[:-3], net[-3:]  # the last convolution, the mean and the head are free in "top"
        maps = [[self._through(fixed, part) for part in parts] for parts in (self.drawn, self.tests)]
        return {
            "frozen svm": self.heads("svm", neck),
            "frozen softmax": self.heads("softmax", neck),
            "top": self._train(self._start(free), "top", maps[0], maps[1]),
            "full": self._train(self._start(net), "full"),
            "discriminative": self._train(self._start(net), "discriminative", factor=FACTOR),
        }

    def _start(self, net: nn.Sequential) -> Callable[[], nn.Module]:
        def make() -> nn.Module:
            head = nn.Linear(net[-1].weight.shape[1], self.classes)  # type: ignore[index, union-attr, arg-type]
            return nn.Sequential(*copy.deepcopy(net[:-1]), head)

        return make

    def _train(
        self, make: Callable[[], nn.Module], strategy: str, drawn: list[Dataset] | None = None,
        tests: list[Dataset] | None = None, factor: float = 1.0,
    ) -> list[float]:  # fmt: skip
        knobs = {"lr": RATES[strategy], "factor": factor}
        plans = [{"seed": seed, "data": n} | knobs for n, seed in enumerate(self.seeds)]
        size = min(BATCH, len(self.drawn[0]))
        lab = Lab(make, device=self.device)
        done = lab.run(plans, drawn or self.drawn, steps=self.steps, batch_size=size, val=tests or self.tests)
        return done.column("val_accuracy")

    @torch.no_grad()
    def _through(self, body: nn.Module, data: Dataset) -> Dataset:
        body = copy.deepcopy(body).to(self.device).eval()
        maps = [body(as_floats(part).to(self.device)) for part in _images(data).split(1024)]
        return Dataset(torch.cat(maps), data.targets, data.classes, data.origin)


def _images(data: Dataset) -> torch.Tensor:
    if not isinstance(data.inputs, torch.Tensor):
        raise TypeError("grid: the inputs are texts; images (N, C, H, W) are accepted")
    return data.inputs


def _flat(images: torch.Tensor) -> np.ndarray:
    return as_floats(images).float().flatten(1).cpu().numpy()
