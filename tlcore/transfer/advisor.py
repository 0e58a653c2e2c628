"""Scratch, frozen, or fine-tuned? Advice from experiments: what did best where size and similarity were like yours.

>>> advice = recommend(60, 0.7)
>>> advice.strategy in STRATEGIES, len(advice.expected), advice.interval[0] <= advice.gain <= advice.interval[1]
(True, 7, True)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch

from tlcore import plots
from tlcore.runtime import nearest
from tlcore.shift.density_ratio import effective_size
from tlcore.transfer import evidence
from tlcore.transfer.grid import Trial
from tlcore.transfer.rules import STRATEGIES, Strategy

WITHOUT: tuple[Strategy, ...] = ("scratch", "raw svm")
SPREAD = (0.1, 0.9)
RIDGE = 1e-3  # on the slopes, which few experiments on one side would leave open


@dataclass(frozen=True)
class Bandwidths:
    """How far an experiment may be from the question and still count.

    Parameters
    ----------
    octaves
        Deviation of the kernel over labels a class, in doublings.
    similarity
        Deviation of the kernel over similarity.
    """

    octaves: float = 2.5
    similarity: float = 0.4


@dataclass(frozen=True, repr=False)
class Advice:
    """What to do, what to expect, and why.

    Parameters
    ----------
    strategy
        One of `STRATEGIES`.
    gain
        Expected accuracy above the better of training from scratch and a support vector machine on the inputs.
    interval
        In the experiments that count, eight tenths of the gains lie in it.
    expected
        Accuracy of each strategy by regression, best first; only their order is meant for your data.
    experiments
        The trials with their weights, which sum to 1, the heaviest first.
    notes
        What to mind, such as a question far from all experiments.
    """

    strategy: Strategy
    gain: float
    interval: tuple[float, float]
    expected: Mapping[Strategy, float]
    experiments: tuple[tuple[float, Trial], ...]
    question: str = ""
    notes: tuple[str, ...] = ()

    @property
    def effective(self) -> float:
        """How many equally heavy experiments the weights are worth (Kish)."""
        return effective_size(torch.tensor([weight for weight, _ in self.experiments], dtype=torch.float64))

    def table(self, rows: int = 8) -> plots.Table:
        """The heaviest experiments: their weight, what they were, and each strategy's accuracy."""
        body = [
            [f"{weight:.0%}", t.source, t.target, str(t.per_class), f"{t.similarity:.2f}"]
            + [f"{t.accuracy[strategy]:.0%}" for strategy in STRATEGIES]
            for weight, t in self.experiments[:rows]
        ]
        return plots.Table(body, ["weight", "source", "target", "a class", "similarity", *STRATEGIES], left=3)

    def plot(self, ax: Any = None) -> Any:
        """Draw the expected accuracies as bars, the advice in colour."""
        ax = ax or plots.figure(width=5.5)[1][0]
        names = list(self.expected)[::-1]
        colours = [plots.COLOURS[0] if name == self.strategy else "0.75" for name in names]
        bars = ax.barh(names, [self.expected[name] for name in names], color=colours)
        ax.bar_label(bars, [f"{self.expected[name]:.0%}" for name in names], padding=3)
        ax.set(xlabel="expected accuracy in such experiments", xlim=(0, 1.1))
        return ax

    def __str__(self) -> str:
        low, high = self.interval
        return "\n".join(
            [
                f"{self.question}: {self.strategy} ({STRATEGIES[self.strategy]}).",
                f"Expected gain over no transfer {100 * self.gain:+.1f} points, "
                f"from {100 * low:+.1f} to {100 * high:+.1f} in eight of ten such experiments; {self.effective:.0f} of "
                f"{len(self.experiments)} experiments count.",
                *self.notes,
            ]
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<p>{'<br>'.join(str(self).splitlines())}</p>{self.table()._repr_html_()}"


def recommend(
    num_target: int,
    similarity: float,
    *,
    num_classes: int = 4,
    trials: Sequence[Trial] | None = None,
    strategies: Iterable[Strategy] = tuple(STRATEGIES),
    bandwidths: Bandwidths | None = None,
) -> Advice:
    """Advise how to learn a target from a trained network, by what did best in experiments of like size and similarity.

    >>> recommend(20, 0.9).strategy, recommend(20, 0.1).strategy  # much in common, or little
    ('frozen svm', 'scratch')

    Local linear regression (Cleveland 1979) over doublings of the labels a class and over similarity, each experiment
    weighted by its nearness to the question. All strategies of an experiment met the same images, so they are
    compared with the same weights. A plain weighted mean (Nadaraya 1964, Watson 1964) gives worse advice when a target
    is left out: similar sizes are not spread evenly over similarities.

    Parameters
    ----------
    num_target
        Labelled examples of the target in all; at least two of each class.
    similarity
        As `transfer.similarity` measures it, from 0 to 1.
    num_classes
        Of the target; what counts is the number of labels a class. The experiments that come with the package have 4.
    trials
        Own experiments, as `grid` makes them; default those of `evidence`.
    strategies
        Those that are possible for you.
    bandwidths
        Default those that do best when each target in turn is left out (`best_bandwidths`).

    Raises
    ------
    ValueError
        For a similarity outside [0, 1], fewer than two examples of each class, an unknown strategy, or no trials.
    """
    wanted = _wanted(strategies)
    if not 0 <= similarity <= 1:
        raise ValueError(
            f"recommend(similarity={similarity}): from 0 to 1 is accepted, as transfer.similarity measures it"
        )
    if num_classes < 2 or num_target < 2 * num_classes:
        raise ValueError(
            f"recommend({num_target}, num_classes={num_classes}): two classes and {2 * max(num_classes, 2)} examples, "
            "two of each class, are needed to measure a similarity, and no experiment had fewer"
        )
    known = evidence.read() if trials is None else list(trials)
    if not known:
        raise ValueError("recommend(trials=[]): one experiment at least is needed; transfer.grid makes them")
    per_class = num_target / num_classes
    widths = bandwidths or (_SHIPPED if trials is None else best_bandwidths(known))
    away = _away(known, per_class, similarity)
    weights = _weights(away, widths)
    values = np.array([[t.accuracy[s] for s in wanted] for t in known])
    without = np.array([max(t.accuracy[s] for s in WITHOUT) for t in known])
    means = dict(zip(wanted, np.clip(_fitted(weights, away, values)[0], 0, 1).tolist(), strict=True))
    best = max(wanted, key=lambda s: means[s])
    gains = (values[:, wanted.index(best)] - without)[:, None]
    line = _fitted(weights, away, gains)
    gain = float(line[0, 0])
    left = (gains - np.c_[np.ones(len(away)), away] @ line)[:, 0]
    low, high = (gain + q for q in _quantiles(left, weights, SPREAD))
    heaviest = np.argsort(-weights, kind="stable")
    return Advice(
        best,
        gain,
        (min(low, gain), max(high, gain)),
        {s: means[s] for s in sorted(wanted, key=lambda s: -means[s])},
        tuple((float(weights[n]), known[n]) for n in heaviest),
        f"{num_target:,} labels, {num_classes} classes, similarity {similarity:.2f}",
        tuple(_notes(known, per_class)),
    )


# What best_bandwidths gives for the experiments that come with the package; a test computes it.
_SHIPPED = Bandwidths()


def best_bandwidths(
    trials: Sequence[Trial],
    octaves: Sequence[float] = (0.5, 1.0, 1.5, 2.5, 4.0),
    similarities: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7),
) -> Bandwidths:
    """The bandwidths whose advice for each target, from the trials on all others, costs the least accuracy.

    Raises
    ------
    ValueError
        If all trials are of one target.
    """
    if len({trial.target for trial in trials}) < 2:
        raise ValueError("best_bandwidths: trials on two targets at least are needed, to leave one out in turn")
    table = np.array([[t.accuracy[s] for s in STRATEGIES] for t in trials])
    names = np.array([t.target for t in trials])
    costs = {}
    for widths in (Bandwidths(*both) for both in product(octaves, similarities)):
        lost = []
        for n, trial in enumerate(trials):
            rest = names != names[n]
            away = _away(trials, trial.per_class, trial.similarity)[rest]
            expected = _fitted(_weights(away, widths), away, table[rest])[0]
            lost.append(table[n].max() - table[n, expected.argmax()])
        costs[widths] = float(np.mean(lost))
    return min(costs, key=lambda widths: costs[widths])


def _wanted(strategies: Iterable[Strategy]) -> list[Strategy]:
    wanted = list(strategies)
    for name in wanted:
        if name not in STRATEGIES:
            raise ValueError(f"recommend(strategies=[{name!r}]): {nearest(name, STRATEGIES)}")
    if not wanted:
        raise ValueError(f"recommend(strategies=[]): one at least of {', '.join(map(repr, STRATEGIES))} is needed")
    return wanted


def _away(trials: Sequence[Trial], per_class: float, similarity: float) -> np.ndarray:
    """How far each trial is from the question (N, 2), in doublings of the labels and in similarity.

    A question beyond all sizes is answered as one at the edge.
    """
    sizes, likes = np.log2([t.per_class for t in trials]), np.array([t.similarity for t in trials])
    made: np.ndarray = np.c_[sizes - np.clip(np.log2(per_class), sizes.min(), sizes.max()), likes - similarity]
    return made


def _weights(away: np.ndarray, widths: Bandwidths) -> np.ndarray:
    """Weights (N,) that sum to 1."""
    logits = -0.5 * ((away / (widths.octaves, widths.similarity)) ** 2).sum(1)
    weights = np.exp(logits - logits.max())
    made: np.ndarray = weights / weights.sum()
    return made


def _fitted(weights: np.ndarray, away: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Value at the question and slopes (3, S) of the weighted least squares line through values (N, S)."""
    x = np.c_[np.ones(len(away)), away]
    square = x.T @ (weights[:, None] * x) + RIDGE * np.diag([0, 1, 1])
    made: np.ndarray = np.linalg.solve(square, x.T @ (weights[:, None] * values))
    return made


def _quantiles(values: np.ndarray, weights: np.ndarray, shares: Sequence[float]) -> list[float]:
    order = np.argsort(values)
    middle = np.cumsum(weights[order]) - weights[order] / 2
    return [float(np.interp(share, middle, values[order])) for share in shares]


def _notes(trials: Sequence[Trial], per_class: float) -> list[str]:
    sizes = [t.per_class for t in trials]
    if not min(sizes) / 2 <= per_class <= max(sizes) * 2:
        edge = min(sizes) if per_class < min(sizes) else max(sizes)
        return [
            f"{per_class:g} labels a class is far from all experiments ({min(sizes)} to {max(sizes)}): read as {edge}."
        ]
    return []
