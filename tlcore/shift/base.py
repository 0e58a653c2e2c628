"""What every shift is: a step from the rows of the source to those of the target, of which the truth stays known."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch

from tlcore.shift.conditions import Conditions
from tlcore.worlds import Dataset, Gaussian, Language, Shapes, TeacherStudent

POSTERIOR = "posterior"  # the factor P(y|x) (N, K) of worlds in which it is known
Rule = Callable[[torch.Tensor], torch.Tensor]  # P(y|x) (N, K) at any x (N, F)
_ROUNDING = 1e-4  # probabilities closer than this are the same
_FEW = 1e-3  # share of rows that may differ by chance: those on the border of two classes, in float32


@dataclass(frozen=True)
class Rows:
    """Rows on their way from the source to the target; every step keeps their number and order.

    Parameters
    ----------
    data
        Their inputs and labels so far.
    weights
        p(x, y) so far, relative to the source (N,), up to a factor.
    seen
        p(x) so far, relative to the source (N,), up to a factor: `weights` averaged over the labels an input can have.
    prior
        P(Y) so far (K,).
    error
        Standard error of its distance to the source's (K,): 0 where that follows from the shifts alone.
    counted
        Whether `prior` goes back to counts of these rows, which differ by chance from their world's.
    label
        Name of the factor that the source's label is, if it is one.
    rule
        P(y|x) of the source at any x, where its world can tell.
    """

    data: Dataset
    weights: torch.Tensor
    seen: torch.Tensor
    prior: torch.Tensor
    error: torch.Tensor
    counted: bool = False
    label: str = ""
    rule: Rule | None = None

    @classmethod
    def of(cls, data: Dataset, world: object = None) -> Rows:
        """The source itself; its prior is that of the world if it is known, else the rows'."""
        known, ones = _known_prior(world), torch.ones(len(data), device=data.device)
        counts = data.counts() if data.classes else torch.zeros(0)
        prior = (counts / len(data) if known is None else known).to(data.device)
        asked = [name for name, factor in data.factors.items() if equal(factor, data.targets)]
        label = asked[0] if asked else ""
        return cls(data, ones, ones, prior, torch.zeros_like(prior), known is None, label, _known_rule(world))

    def but(self, **changes: Any) -> Rows:
        """The same rows with something changed."""
        return replace(self, **changes)

    def times(self, ratio: torch.Tensor) -> Rows:
        """The same rows, those of each class so many times as often (K,); P(Y|X) and P(X) follow by Bayes' rule."""
        data, prior = self.data, self.prior * ratio
        seen = posterior_or_label(data) @ ratio
        if POSTERIOR in data.factors:
            known = posterior(data) * ratio / seen.clamp_min(torch.finfo(seen.dtype).tiny)[:, None]
            data = relabelled(data, data.targets, data.classes, known)
        return self.but(
            data=data,
            weights=self.weights * ratio[data.targets],
            seen=self.seen * seen,
            prior=prior / prior.sum(),
            error=self.error * ratio / prior.sum(),
        )


@dataclass(frozen=True)
class Shift:
    """A difference between source and target; the base class makes none.

    Parameters
    ----------
    severity
        From 0, where the target is distributed as the source, to 1.
    """

    severity: float = 1.0
    condition: ClassVar[str] = ""
    reweights: ClassVar[bool] = False  # the target's rows are the source's, only more or less often

    def __post_init__(self) -> None:
        if not 0 <= self.severity <= 1:
            raise ValueError(f"{type(self).__name__}(severity={self.severity}): from 0 to 1 is accepted")

    def narrow(self, rows: Rows) -> Rows:
        """What of the rows the source has; others weigh nothing."""
        return rows

    def step(self, rows: Rows, draws: torch.Generator) -> Rows:
        """What becomes of the rows: their inputs and labels in the target, and how often they occur in it."""
        return rows

    def moves(self, rows: Rows | Dataset, after: Rows | None = None) -> Conditions:
        """Which of the six conditions it makes true when the source is `rows`; `after` is its step, if it was taken."""
        rows = Rows.of(rows) if isinstance(rows, Dataset) else rows
        return differences(self.narrow(rows), after or self.step(rows, torch.Generator().manual_seed(0)))


def differences(source: Rows, target: Rows) -> Conditions:
    """Which of the six conditions hold between rows and what became of them, whatever the steps in between.

    Over common inputs each face follows from P(Y|X) and p(x), row by row, and so it is exact where they are. Where
    inputs changed, P(X) and P(X|Y) have moved, and P(Y|X) is compared at the new inputs if the source's world can tell
    it there: with what the rows took along or, if that got lost and classes do not overlap, with their labels.
    Otherwise the answer is estimated: moved if classes overlap, if the rows' own P(y|x) did or if it is not known any
    more; else inputs are taken to determine their labels. P(Y) is estimated where `target.error` is not 0,
    and moved if by more than four of it.
    """
    here, there, found = source.data, target.data, set()
    if here.classes != there.classes:
        found.add("label_space")
    elif bool(((target.prior - source.prior).abs() > _ROUNDING + 4 * target.error).any()):
        found.add("prior")
    if _other_space(here.inputs, there.inputs):
        return Conditions(found | {"feature_space"})
    same = equal(here.inputs, there.inputs)
    if not same:
        found |= {"marginal", "conditional"}
    elif _differ(_scaled(source.seen), _scaled(target.seen)):
        found.add("marginal")
    if not here.classes or here.classes != there.classes:
        return Conditions(found)
    old, new = posterior_or_label(here), posterior_or_label(there)
    if same:
        common = (source.seen > 0) & (target.seen > 0)
        parts = _scaled(old * source.seen[:, None]), _scaled(new * target.seen[:, None])  # p(x|y), up to p(x)
        both = (parts[0].amax(0) > 0) & (parts[1].amax(0) > 0)
        by_bayes = lost(here) and "prior" in found  # what was blurred overlaps
        found |= {"concept"} if by_bayes or _differ(old[common], new[common]) else set()
        found |= {"conditional"} if _differ(parts[0][:, both], parts[1][:, both]) else set()
    elif _concept(source, target):
        found.add("concept")
    return Conditions(found)


def _concept(source: Rows, target: Rows) -> bool:
    """Whether P(Y|X) moved although inputs changed."""
    data, there = target.data, target.weights > 0
    if source.rule is None or not isinstance(data.inputs, torch.Tensor):
        return lost(data) or overlaps(source.data) or _differ(posterior(source.data), posterior(data))
    told = source.rule(data.inputs)
    if not lost(data):
        return _differ(told[there], posterior(data)[there])
    certain = float((1 - told.amax(1)).mean()) < 0.01
    return not certain or _differ(told.argmax(1)[there], data.targets[there])


def _differ(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether more than a few rows differ by more than rounding."""
    apart = (one - other).abs() > _ROUNDING * (1 + one.abs())
    return float((apart.any(1) if apart.ndim > 1 else apart).float().mean()) > _FEW  # False of no rows at all


def _scaled(values: torch.Tensor) -> torch.Tensor:
    """Each column over its mean."""
    return values / values.mean(0).clamp_min(torch.finfo(values.dtype).tiny)


def equal(one: torch.Tensor | list[str], other: torch.Tensor | list[str]) -> bool:
    """Whether two lots of inputs are the same, element by element."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one is other or (one.shape == other.shape and bool((one == other).all()))
    return one == other if isinstance(one, list) else False


def _other_space(one: torch.Tensor | list[str], other: torch.Tensor | list[str]) -> bool:
    """Inputs of another shape, or texts with a word that the source does not have."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.shape[1:] != other.shape[1:]
    known, used = (set(re.findall(r"\w+", " ".join(texts))) for texts in (one, other))
    return not used <= known


def _known_prior(world: object) -> torch.Tensor | None:
    """P(Y) of a world that has it as a knob."""
    shares: tuple[float, ...] | None = None
    if isinstance(world, Gaussian):
        shares = (1 - world.prior, world.prior)
    elif isinstance(world, Language):
        shares = world.weights or (1.0,) * len(world.classes)
    elif isinstance(world, Shapes) and world.label not in ("mask", "superclass"):
        drawn = world.label == "shape" and world.weights
        shares = world.weights if drawn else (1.0,) * len(world.classes)
    return None if shares is None else torch.tensor(shares) / sum(shares)


def _known_rule(world: object) -> Rule | None:
    """P(y|x) at any x, of a world with a `posterior` (N,) or (N, K), or with a teacher."""
    if isinstance(world, TeacherStudent):
        flips = world.flips
        return lambda x: _two((world.score(x) > 0).to(x) * (1 - 2 * flips) + flips)
    told = getattr(world, "posterior", None)
    return None if told is None else lambda x: _two(told(x))


def _two(plus: torch.Tensor) -> torch.Tensor:
    return torch.stack([1 - plus, plus], 1) if plus.ndim == 1 else plus


def posterior(data: Dataset) -> torch.Tensor:
    """P(y|x) of each row (N, K): as the world knows it, else certain, as the label says; NaN where it got lost."""
    if POSTERIOR in data.factors:
        return data.factors[POSTERIOR].to(torch.get_default_dtype())
    return torch.nn.functional.one_hot(data.targets.long(), len(data.classes)).float()


def lost(data: Dataset) -> bool:
    """Whether P(y|x) is not known any more: inputs were blurred where it was not certain, or labels were erased."""
    return POSTERIOR in data.factors and bool(data.factors[POSTERIOR].isnan().any())


def posterior_or_label(data: Dataset) -> torch.Tensor:
    """P(y|x) (N, K), or where it is lost the labels: right on average, with more noise."""
    known = {name: factor for name, factor in data.factors.items() if name != POSTERIOR}
    return posterior(replace(data, factors=known) if lost(data) else data)


def without_posterior(data: Dataset, erased: bool = False) -> dict[str, torch.Tensor]:
    """The factors of rows of which P(y|x), if it was known, is lost; so it is in any case if the label was erased."""
    factors = dict(data.factors)
    if erased or POSTERIOR in factors:
        factors[POSTERIOR] = torch.full((len(data), len(data.classes)), torch.nan, device=data.device)
    return factors


def overlaps(data: Dataset) -> bool:
    """Whether an input can belong to several classes: P(y|x) is, or was, known and not certain."""
    return lost(data) or (POSTERIOR in data.factors and float(1 - data.factors[POSTERIOR].amax(1).mean()) > 0.01)


def relabelled(data: Dataset, targets: torch.Tensor, classes: tuple[str, ...], known: torch.Tensor | None) -> Dataset:
    """The same inputs with other labels, of which P(y|x) may be known."""
    factors = {name: factor for name, factor in data.factors.items() if name != POSTERIOR}
    if known is not None:
        factors[POSTERIOR] = known
    return replace(data, targets=targets, classes=classes, factors=factors)


def class_names(data: Dataset, who: str) -> tuple[str, ...]:
    """The classes of the data, or the error that says that there are none."""
    if not data.classes:
        raise ValueError(f"{who}: labels that are classes are needed; the data is {data!r}")
    return data.classes
