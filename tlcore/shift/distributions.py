"""The four faces of P(X, Y) = P(X) P(Y|X) = P(Y) P(X|Y), each moved as the cause of what follows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from tlcore.runtime import nearest
from tlcore.shift.base import (
    Rows,
    Shift,
    class_names,
    equal,
    posterior,
    posterior_or_label,
    relabelled,
    without_posterior,
)
from tlcore.shift.divergences import precise
from tlcore.shift.transforms import INVERTIBLE, ONE_SIDED, transform
from tlcore.worlds import Dataset


@dataclass(frozen=True)
class _Transformed(Shift):
    """Something happens to the inputs, to a degree of its own for each row."""

    kind: str = "gain"

    def __post_init__(self) -> None:
        super().__post_init__()
        transform(self.kind)

    def changed(self, rows: Rows, level: torch.Tensor, draws: torch.Generator) -> Rows:
        """The rows with inputs changed to those degrees (N,), from -1 to 1."""
        if not bool(level.any()):
            return rows
        inputs = transform(self.kind)(rows.data, level, draws)
        # A one-to-one map of all vectors takes what is known of each row along; anything else blurs it (bright
        # pictures saturate), and a wholly new ground hides what the old one was.
        vectors = isinstance(inputs, torch.Tensor) and inputs.ndim != 4
        kept = vectors and self.kind in INVERTIBLE and bool((level == level[0]).all())
        if kept or equal(inputs, rows.data.inputs):
            factors = dict(rows.data.factors)
        else:
            hidden = self.kind == rows.label == "background" and bool((level == 1).all())
            factors = without_posterior(rows.data, hidden)
        return rows.but(data=replace(rows.data, inputs=inputs, factors=factors))


@dataclass(frozen=True)
class Marginal(_Transformed):
    """P_S(X) ≠ P_T(X): the same things seen by another sensor, at night, before another ground (covariate shift).

    >>> from tlcore import shift, worlds
    >>> shift.pair(worlds.Shapes(), shift.Marginal(0.5, kind="night"), size=10).truth.conditions
    conditional, marginal

    P(X|Y) moves with it. Where an input determines its label, P(Y|X) and P(Y) stay.

    Parameters
    ----------
    kind
        What happens to every input: gain, night, noise, blur, background, offset, or words.
    """

    kind: str = "gain"
    condition: ClassVar[str] = "marginal"

    def step(self, rows: Rows, draws: torch.Generator) -> Rows:
        """Every input, changed to the same degree."""
        level = torch.full_like(rows.weights, self.severity)
        return self.changed(rows, level, draws)


@dataclass(frozen=True)
class Selection(Shift):
    """Covariate shift by sample selection: some inputs occur more often in the target, whatever their label.

    The weights are proportional to exp(1.5 severity z), with z the score in standard deviations, cut off at 1.5.

    >>> from tlcore import shift, worlds
    >>> apart = shift.pair(worlds.Gaussian(), shift.Selection(1.0, by=3), size=4000)
    >>> x, w = apart.source.inputs[:, 3], apart.truth.weights
    >>> gap = (w * x).mean() - apart.target.inputs[:, 3].mean()  # reweighted, the source has the target's mean
    >>> bool(gap.abs() < 0.1)
    True

    Parameters
    ----------
    by
        What is looked at: a function of the dataset (N,), the name of a factor, the number of a feature, or
        "brightness" (the mean of each input; of a text, its length).
    """

    by: str | int | Callable[[Dataset], torch.Tensor] = "brightness"
    condition: ClassVar[str] = "marginal"
    reweights: ClassVar[bool] = True

    def score(self, data: Dataset) -> torch.Tensor:
        """What selection looks at, standardised (N,)."""
        x = data.inputs
        if callable(self.by):
            raw = self.by(data)
        elif isinstance(self.by, int):
            if not isinstance(x, torch.Tensor):
                raise TypeError(f"Selection(by={self.by}): texts have no features; 'brightness' is their length")
            columns = x.flatten(1)
            if not -columns.shape[1] <= self.by < columns.shape[1]:
                raise ValueError(f"Selection(by={self.by}): features from 0 to {columns.shape[1] - 1} are accepted")
            raw = columns[:, self.by]
        elif self.by in data.factors:
            raw = data.factors[self.by]
        elif self.by == "brightness":
            raw = x.float().flatten(1).mean(1) if isinstance(x, torch.Tensor) else torch.tensor([len(t) for t in x])
        else:
            raise ValueError(f"Selection(by={self.by!r}): {nearest(self.by, ['brightness', *data.factors])}")
        if not isinstance(raw, torch.Tensor) or raw.shape != (len(data),):
            came = tuple(raw.shape) if isinstance(raw, torch.Tensor) else type(raw).__name__
            raise ValueError(
                f"Selection(by={self.by!r}): it gives {came}; a tensor ({len(data)},), one a row, is needed"
            )
        raw = precise(raw)
        if not bool(raw.isfinite().all()):
            raise ValueError(f"Selection(by={self.by!r}): it gives numbers that are not finite")
        return ((raw - raw.mean()) / raw.std().clamp_min(1e-12)).clamp(-1.5, 1.5)

    def step(self, rows: Rows, draws: torch.Generator) -> Rows:
        """The same rows with other weights."""
        data = rows.data
        tilt = torch.exp(1.5 * self.severity * self.score(data)).to(rows.weights)
        if not data.classes:
            return rows.but(weights=rows.weights * tilt, seen=rows.seen * tilt)
        by_class = torch.ones_like(rows.prior)
        by_class[data.targets] = tilt
        if torch.equal(by_class[data.targets], tilt):  # it looks at nothing but the label
            return rows.times(by_class)
        share = posterior_or_label(data)
        old, new = ((weights / weights.sum())[:, None] for weights in (rows.weights, rows.weights * tilt))
        was, now = (old * share).sum(0), (new * share).sum(0)
        prior = rows.prior * now / was.clamp_min(torch.finfo(was.dtype).tiny)
        chance = (new * (share - now) - old * (share - was)).square().sum(0).sqrt()
        return rows.but(
            weights=rows.weights * tilt,
            seen=rows.seen * tilt,
            prior=prior / prior.sum(),
            error=rows.error.hypot(chance),
        )


@dataclass(frozen=True)
class Concept(Shift):
    """P_S(Y|X) ≠ P_T(Y|X): the same inputs mean something else.

    >>> from tlcore import shift, worlds
    >>> apart = shift.pair(worlds.Shapes(shapes=("circle", "star")), shift.Concept(0.5), size=10)
    >>> apart.truth.conditions
    concept, conditional
    >>> apart.truth.labelling[0]  # P_T(y|x) of the first row
    tensor([0.5000, 0.5000])

    Parameters
    ----------
    severity
        Probability that a label is changed: P_T(new | old) = (1 - severity) I + severity `to`.
    to
        What a changed label becomes: a matrix (K, K) whose rows sum to 1; by default each class turns into the next.
    """

    to: torch.Tensor | None = None
    condition: ClassVar[str] = "concept"

    def matrix(self, data: Dataset) -> torch.Tensor:
        """P_T(new | old) (K, K)."""
        count = len(class_names(data, "Concept"))
        if count < 2:
            raise ValueError("Concept: at least 2 classes are needed")
        if not (self.to is None or isinstance(self.to, torch.Tensor)):
            came = type(self.to).__name__
            raise TypeError(f"Concept(to={came}): a tensor ({count}, {count}) is accepted; torch.tensor(…) makes one")
        identity = torch.eye(count, device=data.device)
        to = identity.roll(1, 1) if self.to is None else self.to.to(identity)
        if to.shape != identity.shape or not torch.allclose(to.sum(1), identity.sum(1)) or to.min() < 0:
            raise ValueError(f"Concept(to={tuple(to.shape)}): ({count}, {count}) with rows of probabilities is needed")
        return (1 - self.severity) * identity + self.severity * to

    def step(self, rows: Rows, draws: torch.Generator) -> Rows:
        """The same inputs under new labels."""
        data = rows.data
        if not self.severity:
            return rows
        matrix = self.matrix(data)
        rolls = torch.rand(len(data), 1, generator=draws).to(data.device)
        new = (rolls > matrix.cumsum(1)[data.targets]).sum(1).clamp_max(len(matrix) - 1)
        made = relabelled(data, new, data.classes, posterior(data) @ matrix)
        error, old = rows.error @ matrix, rows.prior
        if rows.counted:  # multinomial counts
            change = matrix - torch.eye(len(matrix)).to(matrix)
            variance = (old @ change.square() - (old @ change).square()) / len(data)
            error = error.hypot(variance.clamp_min(0).sqrt())
        return rows.but(data=made, prior=old @ matrix, error=error)


@dataclass(frozen=True)
class Prior(Shift):
    """P_S(Y) ≠ P_T(Y): the same classes, some of them more often ("unbalanced labels").

    >>> from tlcore import shift, worlds
    >>> apart = shift.pair(worlds.Gaussian(prior=0.5), shift.Prior(1.0, to=(0.9, 0.1)), size=2000)
    >>> apart.truth.prior
    tensor([0.9000, 0.1000])
    >>> apart.truth.conditions  # these classes overlap, and so Bayes' rule moves P(Y|X) with P(Y)
    concept, prior, marginal

    Parameters
    ----------
    severity
        The target's prior is (1 - severity) times the source's plus severity times `to`.
    to
        Shares of the classes (K,); by default each class is 0.7 times as frequent as the one before.
    """

    to: Sequence[float] | None = None
    condition: ClassVar[str] = "prior"
    reweights: ClassVar[bool] = True

    def step(self, rows: Rows, draws: torch.Generator) -> Rows:
        """The same rows, weighed by P_T(y) / P_S(y); P(Y|X) follows by Bayes' rule."""
        if not self.severity:
            return rows
        names, old = class_names(rows.data, "Prior"), rows.prior
        to = torch.tensor(self.to if self.to is not None else [0.7**n for n in range(len(names))]).to(old)
        if len(to) != len(names) or float(to.min()) < 0 or not 0 < float(to.sum()) < math.inf:
            raise ValueError(f"Prior(to={self.to}): {len(names)} shares from 0 on are needed, one a class")
        new = (1 - self.severity) * old + self.severity * to / to.sum()
        missing = (new > 0) & ((old == 0) | (rows.data.counts() == 0))
        if bool(missing.any()):
            empty = [name for name, gone in zip(names, missing.tolist()) if gone]
            raise ValueError(f"Prior: the source has no rows of {', '.join(empty)}")
        moved = rows.times(torch.where(old > 0, new / old, 0))
        return moved.but(prior=new, error=rows.error * (1 - self.severity), counted=rows.counted and self.severity < 1)


@dataclass(frozen=True)
class Conditional(_Transformed):
    """P_S(X|Y) ≠ P_T(X|Y): each class looks different from before, in its own way; how frequent it is stays.

    >>> from tlcore import shift, worlds
    >>> world = worlds.Shapes(shapes=("circle", "star"))
    >>> shift.pair(world, shift.Conditional(1.0, kind="gain"), size=10).truth.conditions
    conditional, marginal

    Parameters
    ----------
    severity
        The level of the change runs from -severity for the first class to +severity for the last; from 0 for night,
        noise, blur and words, whose levels have no sign.
    kind
        What happens to the inputs: gain, night, noise, blur, background, offset, or words.
    """

    kind: str = "offset"
    condition: ClassVar[str] = "conditional"

    def step(self, rows: Rows, draws: torch.Generator) -> Rows:
        """Every input, changed to the degree of its class."""
        least = 0.0 if self.kind in ONE_SIDED else -self.severity
        levels = torch.linspace(least, self.severity, len(class_names(rows.data, "Conditional")))
        return self.changed(rows, levels.to(rows.weights)[rows.data.targets], draws)
