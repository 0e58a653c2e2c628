"""Relational-knowledge transfer: which relations carry a label is learned on one network and used on another.

The nodes of a network are not independent: what is known of one says something of those it is related to. No feature of
a node is carried over, and no node: only how much each *kind* of relation is worth.

Sources: Zhu, Ghahramani & Lafferty 2003, "Semi-Supervised Learning Using Gaussian Fields and Harmonic Functions";
Pan & Yang 2010, "A Survey on Transfer Learning", section 3.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from tlcore.transfer.given import Array, Labels

UNKNOWN = -1


@dataclass(frozen=True)
class Network:
    """Nodes with classes, and several kinds of relations among them.

    Attributes
    ----------
    relations
        (R, N, N), symmetric, from 0 on, with zeros on the diagonal.
    targets
        Class numbers (N,).
    """

    relations: Array
    targets: Labels


def networks(
    sizes: Sequence[int] = (200, 200),
    *,
    num_classes: int = 3,
    homophily: Sequence[float] = (0.8, 0.4, 1 / 3),
    degree: float = 6.0,
    seed: int = 0,
) -> list[Network]:
    """Networks of one world: each relation joins nodes of one class with the same probability in all of them.

    >>> source, target = networks((60, 40))
    >>> source.relations.shape, target.targets.shape
    ((3, 60, 60), (40,))

    Parameters
    ----------
    homophily
        Of each relation: the share of its links that join nodes of one class; 1 / num_classes is chance.
    degree
        Links of a node and relation, in the mean.

    Raises
    ------
    ValueError
        Fewer nodes than twice the classes, shares outside [0, 1], or a degree not above 0.
    """
    if min(sizes) < 2 * num_classes or num_classes < 2:
        raise ValueError(
            f"networks({tuple(sizes)}): from 2 classes and {2 * num_classes} nodes (2 a class) on is accepted"
        )
    if min(homophily) < 0 or max(homophily) > 1 or degree <= 0:
        raise ValueError(
            f"networks(homophily={tuple(homophily)}, degree={degree}): shares from 0 to 1, a degree above 0"
        )
    draws = np.random.default_rng(seed)
    made = []
    for size in sizes:
        targets = draws.permutation(np.arange(size) % num_classes)
        same = targets[:, None] == targets
        others = size - size / num_classes
        relations = []
        for share in homophily:
            chance = np.where(same, share * degree / (size / num_classes), (1 - share) * degree / others)
            links = np.triu(draws.random((size, size)) < chance, 1)
            relations.append((links | links.T).astype(np.float64))
        made.append(Network(np.stack(relations), targets))
    return made


def propagate(weights: Any, targets: Any, num_classes: int, *, leak: float = 1e-3) -> Array:
    """Spread the known labels over one network: each node's belief is the mean of its neighbours'.

    >>> chain = np.array([[0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0.0]])  # 0 - 1 - 2 - 3
    >>> propagate(chain, [0, UNKNOWN, UNKNOWN, 1], 2, leak=0).round(3)
    array([[1.   , 0.   ],
           [0.667, 0.333],
           [0.333, 0.667],
           [0.   , 1.   ]])

    Parameters
    ----------
    weights
        (N, N), symmetric, from 0 on.
    targets
        Class numbers (N,); -1 where it is not known.
    leak
        Weight of a link from every node to "any class, all alike": a part of the network without a known node then gets
        equal beliefs, and beliefs fade with distance.

    Returns
    -------
    Array
        (N, K), rows of sum 1.

    Raises
    ------
    ValueError
        Weights that are not symmetric, negative or not finite, class numbers out of range, no known label, or, without
        a leak, a node that no known one can be reached from.

    Notes
    -----
    Zhu et al. 2003, eq. 5: f_U = (D_UU - W_UU)^-1 W_UL f_L, here with D_UU + leak, and leak/K on the right.
    """
    w = np.asarray(weights, dtype=np.float64)
    y = np.asarray(targets)
    if w.ndim != 2 or w.shape != (len(y), len(y)) or not np.isfinite(w).all():
        raise ValueError(f"propagate: weights are {w.shape} for {len(y)} labels; finite numbers ({len(y)}, {len(y)})")
    if w.min() < 0 or not np.allclose(w, w.T):
        raise ValueError("propagate: the weights are negative or not symmetric; symmetric ones from 0 on are accepted")
    y = _known(y, num_classes, "propagate", "targets")
    if leak < 0:
        raise ValueError(f"propagate(leak={leak!r}): from 0 on is accepted")
    if leak == 0:
        from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped]

        _, part = connected_components(w > 0, directed=False)
        lost = int((~np.isin(part, part[y >= 0])).sum())
        if lost:
            raise ValueError(
                f"propagate(leak=0): {lost} nodes cannot be reached from a known one; give a leak, as 1e-3"
            )
    found: Array = _harmonic(torch.from_numpy(w), torch.from_numpy(y), num_classes, leak).numpy()
    return found


class RelationalTransfer(BaseEstimator):
    """Learn on a labelled network what each kind of relation is worth, and spread few labels over another by it.

    >>> source, target = networks((150, 150))
    >>> known = np.where(np.arange(150) < 15, target.targets, UNKNOWN)  # (N,); -1 where it is not known
    >>> model = RelationalTransfer().fit(source.relations, source.targets, target.relations, known)
    >>> model.weights_.round(1).tolist()  # of the relations, of sum 1
    [1.0, 0.0, 0.0]
    >>> float((model.predict() == target.targets).mean()) > 0.8
    True

    Setting: inductive, on data that are not independent. Knowledge: relations. Labels: source, and a few of the target.

    Parameters
    ----------
    steps, lr
        Of Adam on the logarithms of the relations' weights.
    hidden
        Share of the source's labels that is hidden in each step, and is to be found from the others.
    leak
        See `propagate`.
    seed
        Of which labels are hidden.

    Attributes
    ----------
    weights_
        (R,), of sum 1.
    beliefs_
        Of the target's nodes (N, K), rows of sum 1.
    classes_
        Class numbers (K,).

    Raises
    ------
    ValueError
        Source and target with different numbers of relations, relations that are no symmetric matrices, missing source
        labels, a class that only one side has among the known labels, or no known target label.

    Notes
    -----
    The weights w are those under which the harmonic solution of Zhu et al. 2003 on sum_r w_r A_r gives the hidden
    source labels the greatest likelihood. The paper (section 5) learns weights by the entropy of the solution, on one
    network; carrying them to another is the transfer.
    """

    def __init__(
        self, *, steps: int = 60, lr: float = 0.2, hidden: float = 0.8, leak: float = 0.05, seed: int = 0
    ) -> None:
        self.steps, self.lr, self.hidden, self.leak, self.seed = steps, lr, hidden, leak, seed

    def fit(self, source: Any, ys: Any, target: Any, yt: Any = None) -> RelationalTransfer:
        """Learn from relations (R, N, N) with labels (N,), and spread the target's known labels (M,) over (R, M, M)."""
        what = "RelationalTransfer"
        if not 0 < self.hidden < 1 or self.steps < 1 or not self.lr > 0 or not self.leak > 0:
            raise ValueError(
                f"{what}(steps={self.steps}, lr={self.lr}, hidden={self.hidden}, leak={self.leak}): steps from 1 on, a "
                "rate and a leak above 0, and a share between 0 and 1 are accepted"
            )
        mine, theirs = _relations(what, "source", source), _relations(what, "target", target)
        if len(mine) != len(theirs):
            raise ValueError(f"{what}: source has {len(mine)} relations, the target {len(theirs)}; the same are needed")
        if yt is None:
            raise ValueError(
                f"{what}: yt is None; class numbers (N,), -1 where unknown, are needed, at least one known"
            )
        y = np.asarray(ys)
        if y.shape != mine.shape[1:2]:
            raise ValueError(f"{what}: ys is {y.shape} for {mine.shape[1]} source nodes")
        count = int(y.max()) + 1
        y = _known(y, count, what, "ys")
        if (y < 0).any():
            raise ValueError(f"{what}: {int((y < 0).sum())} of {len(y)} source nodes have no label; all are needed")
        known = np.asarray(yt)
        if known.shape != theirs.shape[1:2]:
            raise ValueError(f"{what}: yt is {known.shape} for {theirs.shape[1]} target nodes")
        known = _known(known, count, what, "yt")
        absent = sorted(set(y.tolist()) - set(known[known >= 0].tolist()))
        if absent:
            raise ValueError(
                f"{what}: class {absent[0]} is in ys, and no known target node is of it; one at least is needed"
            )
        self.classes_ = np.arange(count)
        self.weights_ = self._learned(mine, y, count)
        self.beliefs_ = propagate(np.einsum("r,rij->ij", self.weights_, theirs), known, count, leak=self.leak)
        return self

    def predict(self) -> Labels:
        """Classes of the target's nodes (M,)."""
        check_is_fitted(self, "beliefs_")
        found: Labels = self.classes_[self.beliefs_.argmax(1)]
        return found

    def _learned(self, relations: Array, y: Labels, count: int) -> Array:
        links, truth = torch.from_numpy(relations), torch.from_numpy(y)
        draws = torch.Generator().manual_seed(self.seed)
        logs = torch.zeros(len(links), dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.Adam([logs], self.lr)
        for _ in range(self.steps):
            hidden = torch.rand(len(truth), generator=draws) < self.hidden
            if hidden.all() or not hidden.any():
                continue
            seen = torch.where(hidden, UNKNOWN, truth)
            beliefs = _harmonic(torch.einsum("r,rij->ij", logs.softmax(0), links), seen, count, self.leak)
            loss = -beliefs[hidden, truth[hidden]].clamp(min=1e-12).log().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        found: Array = logs.detach().softmax(0).numpy()
        return found


def _harmonic(weights: torch.Tensor, targets: torch.Tensor, num_classes: int, leak: float) -> torch.Tensor:
    """Beliefs (N, K), with gradients."""
    known = targets >= 0
    beliefs = torch.nn.functional.one_hot(targets.clamp(min=0), num_classes).to(weights)
    rows = weights[~known]  # (U, N)
    system = torch.diag(rows.sum(1) + leak) - rows[:, ~known]
    right = rows[:, known] @ beliefs[known] + leak / num_classes
    spread: torch.Tensor = torch.linalg.solve(system, right)
    return beliefs.index_put(((~known).nonzero()[:, 0],), spread)


def _relations(what: str, name: str, given: Any) -> Array:
    found = np.asarray(given, dtype=np.float64)
    if found.ndim != 3 or found.shape[1] != found.shape[2] or not found.size:
        raise ValueError(f"{what}: {name} is {found.shape}; relations (R, N, N) are accepted")
    if not np.isfinite(found).all() or found.min() < 0 or not np.allclose(found, found.transpose(0, 2, 1)):
        raise ValueError(f"{what}: {name} has relations that are negative, not finite or not symmetric")
    return found


def _known(y: Labels, count: int, what: str, name: str) -> Labels:
    if y.dtype.kind not in "iu" or y.max(initial=-1) >= count or y.min(initial=0) < UNKNOWN:
        raise ValueError(f"{what}: {name} holds {y.dtype} labels; class numbers below {count}, or -1 where unknown")
    if not (y >= 0).any():
        raise ValueError(f"{what}: {name} has no known label; at least one node that is known is needed")
    return y.astype(np.int64)
