"""What every shift is: a step from the rows of the source to those of the target, of which the truth stays known."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch

from tlcore.shift.conditions import Conditions
from tlcore.worlds import Dataset

POSTERIOR = "posterior"  # the factor P(y|x) (N, K) of worlds in which it is known


@dataclass(frozen=True)
class Rows:
    """Rows on their way from the source to the target.

    Parameters
    ----------
    data
        Their inputs and labels so far.
    weights
        How often each row occurs in the target, relative to the source (N,).
    prior
        P(Y) among rows of those weights (K,).
    """

    data: Dataset
    weights: torch.Tensor
    prior: torch.Tensor

    @classmethod
    def of(cls, data: Dataset) -> Rows:
        """The source itself."""
        counts = data.counts() if data.classes else torch.zeros(0, device=data.device)
        return cls(data, torch.ones(len(data), device=data.device), counts / len(data))

    def but(self, **changes: Any) -> Rows:
        """The same rows with something changed."""
        return replace(self, **changes)


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

    def narrow(self, data: Dataset) -> Dataset:
        """What of the data the source has."""
        return data

    def step(self, rows: Rows, draws: torch.Generator) -> Rows:
        """What becomes of the rows: their inputs and labels in the target, and how often they occur in it."""
        return rows

    def drags(self, rows: Rows) -> set[str]:
        """The conditions it makes true besides a moved prior, when severity is above 0."""
        return set()

    def tells(self, rows: Rows) -> float:
        """By how much (total variation) the prior has to move to count as moved: a hundredth, and what chance moves."""
        return 0.01 + math.sqrt(len(rows.prior) / len(rows.data))

    def moves(self, rows: Rows | Dataset, after: Rows | None = None) -> Conditions:
        """Which of the six conditions it makes true when the source is `rows`; `after` is its step, if it was taken."""
        rows = Rows.of(rows) if isinstance(rows, Dataset) else rows
        if not self.severity:
            return Conditions(set())
        found, after = self.drags(rows), after or self.step(rows, torch.Generator().manual_seed(0))
        same_classes = after.data.classes == rows.data.classes
        if same_classes and 0.5 * float((after.prior - rows.prior).abs().sum()) > self.tells(rows):
            found = found | {"prior"}
        return Conditions(found)


def posterior(data: Dataset) -> torch.Tensor:
    """P(y|x) of each row (N, K): as the world knows it, else certain, as the label says; NaN where it got lost."""
    if POSTERIOR in data.factors:
        return data.factors[POSTERIOR]
    return torch.nn.functional.one_hot(data.targets.long(), len(data.classes)).float()


def lost(data: Dataset) -> bool:
    """Whether P(y|x) was known and is not any more: the inputs were blurred, and classes overlap."""
    return POSTERIOR in data.factors and bool(data.factors[POSTERIOR].isnan().any())


def without_posterior(data: Dataset) -> dict[str, torch.Tensor]:
    """The factors of rows whose P(y|x), if it was known, is lost."""
    unknown = {name: torch.full_like(factor, torch.nan) for name, factor in data.factors.items() if name == POSTERIOR}
    return dict(data.factors) | unknown


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
