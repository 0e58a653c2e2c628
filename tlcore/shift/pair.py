"""A source and a target that differ by known shifts, with the truth beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch

from tlcore.shift.base import Rows, Shift, differences, lost, posterior
from tlcore.shift.conditions import Conditions
from tlcore.worlds import Dataset


class World(Protocol):
    """Whatever samples datasets: `worlds.Shapes`, `Gaussian`, `TeacherStudent`, `Language`.

    If it also has a method `posterior`, from inputs to P(y|x) (N, K) or P(second class | x) (N,), then the truth about
    P(Y|X) is exact under one-to-one changes of vectors.
    """

    def sample(self, count: int, *, seed: int = 0) -> Dataset:
        """Draw so many rows."""


@dataclass(frozen=True)
class Truth:
    """What is known of a pair because we made it.

    Parameters
    ----------
    conditions
        Which of the six conditions hold, source beside target, after the whole chain. P(Y|X) is estimated where inputs
        changed in a world that cannot tell P(y|x) at any x (`tlcore.shift.base.differences`), P(Y) after `Selection`.
    weights
        p_T(x, y) / p_S(x, y) of each row of the source (N_S,), of mean 1 over the population; None where the target
        has rows that the source cannot have.
    prior
        P_T(Y) (K_T,), as `Gaussian`, `Language` and `Shapes` draw it and as shifts change it. Where the world does not
        know its own (a dataset, a teacher, superclasses), and after `Selection`, it is estimated from the rows.
    labelling
        P_T(y|x) of each row of the target (N_T, K_T); None where it is not known. Pictures and texts are taken to
        determine their label, unless what was asked for is gone: colours from grey pictures, a ground replaced wholly.
    """

    conditions: Conditions
    weights: torch.Tensor | None
    prior: torch.Tensor
    labelling: torch.Tensor | None


@dataclass(frozen=True)
class Pair:
    """A source, a target, and the truth about them."""

    source: Dataset
    target: Dataset
    truth: Truth

    def __repr__(self) -> str:
        return f"source: {self.source!r}\ntarget: {self.target!r}\nmoved: {self.truth.conditions!r}"


def pair(world: World | Dataset, shifts: Shift | Sequence[Shift] = (), *, size: int = 1000, seed: int = 0) -> Pair:
    """Draw a source and a target of `size` rows each that differ by the given shifts, one after another.

    From a world both are drawn afresh; a dataset is cut at random into two halves, so that no row is in both.

    >>> from tlcore import shift, worlds
    >>> apart = shift.pair(worlds.Shapes(), [shift.Prior(1.0), shift.Marginal(0.5, kind="noise")], size=200)
    >>> len(apart.source), len(apart.target)
    (200, 200)
    >>> apart.truth.conditions
    prior, conditional, marginal

    Raises
    ------
    ValueError
        If the dataset is too small: a shift that leaves out rows needs more of them.
    """
    if size < 2:
        raise ValueError(f"pair(size={size}): from 2 on is accepted")
    chain = [shifts] if isinstance(shifts, Shift) else list(shifts)
    count = most = 4 * size
    if not isinstance(world, Dataset):
        count = max(count, 64 * len(world.sample(1, seed=seed).classes))
        most = 128 * count
    while True:
        pool = world if isinstance(world, Dataset) else world.sample(count, seed=seed)
        found = _drawn(Rows.of(pool, world), chain, size, seed)
        if found is not None:
            return found
        if isinstance(world, Dataset) or count >= most:
            raise ValueError(
                f"pair(size={size}): {len(pool)} rows are too few for {size} in the source and {size} in the target; "
                "take a smaller size, a milder shift or more data"
            )
        count *= 2


def _drawn(start: Rows, chain: list[Shift], size: int, seed: int) -> Pair | None:
    """Source and target out of the pool, or None if it is too small."""
    draws, pool = torch.Generator().manual_seed(seed), start.data
    order = torch.randperm(len(pool), generator=draws).to(pool.device)
    first, second = order[: len(pool) // 2], order[len(pool) // 2 :]
    source = rows = start
    for one in chain:
        rows, source = one.step(rows, draws), one.narrow(source)
    weights = rows.weights[second]
    rolls = torch.rand(len(second), generator=draws).to(weights)
    taken = second[rolls * rows.weights.max() < weights][:size]
    first = first[source.weights[first] > 0][:size]
    if len(first) < size or len(taken) < size:
        return None
    known = (rows.weights / _mean(start, rows.weights))[first] if all(one.reweights for one in chain) else None
    target = rows.data[taken]
    labelling = posterior(target) if target.classes and not lost(target) else None
    told = ", ".join(f"{type(one).__name__}({one.severity:g})" for one in chain)
    target = replace(target, origin=f"{target.origin}; moved by {told}" if told else target.origin)
    return Pair(source.data[first], target, Truth(differences(source, rows), known, rows.prior, labelling))


def _mean(start: Rows, values: torch.Tensor) -> torch.Tensor:
    """Mean over the source's population, in which each class is as frequent as its prior says."""
    if not start.data.classes:
        return values.mean()
    counts = start.data.counts()
    return start.prior @ (torch.bincount(start.data.targets, values, len(counts)) / counts.clamp_min(1)).to(values)
