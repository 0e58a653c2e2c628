"""Which of the six conditions hold between source and target, said with evidence, and not said where there is none.

Each condition has a test of its own. Feature and label spaces are compared as they are; P(Y) by the counts of the
classes; P(X) and P(X|Y) by the kernel two-sample test, for P(X|Y) within the classes; P(Y|X) by asking whether the
domain helps to predict the label of an input, among inputs that both domains have. Bayes' rule ties the verdicts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tlcore import plots
from tlcore.shift.concept import domain_helps
from tlcore.shift.conditions import CONDITIONS, NEEDS_FEATURES, NEEDS_LABELS, Conditions
from tlcore.shift.divergences import mmd
from tlcore.shift.features import Features, describe, known_words
from tlcore.shift.label_shift import calibrate, em
from tlcore.shift.threads import one_blas_thread
from tlcore.worlds import Dataset

MOVED, SAME, UNTOLD, INCOMPARABLE = "moved", "same", "cannot be told", "not comparable"
_FEW = 25  # common inputs, or labels other than the usual one: fewer tell nothing about P(Y|X)


@dataclass(frozen=True)
class Finding:
    """What was found about one condition: the verdict, the p-value of its test if there was one, and the evidence."""

    verdict: str
    evidence: str
    p_value: float | None = None


class Diagnosis(Mapping[str, Finding]):
    """One finding per condition.

    `verdicts` is short for the verdicts by condition; `agrees` compares them with the truth of a generated pair.
    """

    def __init__(self, findings: Mapping[str, Finding]) -> None:
        self.findings = {name: findings[name] for name in CONDITIONS}

    def __getitem__(self, name: str) -> Finding:
        return self.findings[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    @property
    def verdicts(self) -> dict[str, str]:
        """moved, same, cannot be told, or not comparable, by condition."""
        return {name: one.verdict for name, one in self.items()}

    def agrees(self, truth: Conditions) -> dict[str, bool]:
        """Whether each verdict is the true one."""
        said = {True: MOVED, False: SAME, None: INCOMPARABLE}
        return {name: one.verdict == said[truth[name]] for name, one in self.items()}

    def table(self) -> plots.Table:
        """One row per condition."""
        rows = [[name, CONDITIONS[name], one.verdict, one.evidence] for name, one in self.items()]
        return plots.table(rows, ["condition", "", "verdict", "evidence"])

    def __repr__(self) -> str:
        return repr(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


@one_blas_thread
def diagnose(
    source: Dataset,
    target: Dataset | torch.Tensor | np.ndarray | list[str],
    *,
    labelled: bool = True,
    certain: bool | None = None,
    features: Features | None = None,
    level: float = 0.01,
    permutations: int = 500,
    seed: int = 0,
) -> Diagnosis:
    """Say which of the six conditions hold.

    >>> from tlcore import shift, worlds
    >>> apart = shift.pair(worlds.Gaussian(), shift.Prior(1.0, to=(0.9, 0.1)), size=500)
    >>> found = diagnose(apart.source, apart.target)
    >>> found.verdicts["prior"], found.verdicts["conditional"]
    ('moved', 'same')
    >>> diagnose(apart.source, apart.target, labelled=False).verdicts["prior"]
    'cannot be told'

    Parameters
    ----------
    target
        A dataset, or bare inputs: a tensor, an array, or a list of texts.
    labelled
        Whether the labels of the target may be looked at (the names of its classes always are).
    certain
        Whether an input determines its label, up to errors of the labelling that both domains share. Then a moved
        prior leaves P(Y|X) as it is. By default taken to be so for pictures and texts, and not for vectors.
    features
        A function from inputs to a tensor (N, ...) that the tests look at, such as a trained network without its head.
        By default a few dozen numbers that need no training, see `tlcore.shift.features`.
    level
        Greatest probability of a false alarm, for each test.
    permutations
        Of the kernel tests, at least 1 / level - 1: their p-values are 1 / (1 + permutations) or more.

    Raises
    ------
    ValueError
        If the source has no classes, a domain fewer than 20 rows, or there are too few permutations for the level.
    TypeError
        For inputs of another kind.

    Notes
    -----
    Without the target's labels P(Y), P(X|Y) and P(Y|X) cannot be told: whatever the inputs look like, their labels
    might be as before or not. What the inputs say *if* P(X|Y) is unmoved, P(Y) as EM estimates it, stands as evidence.
    """
    if not source.classes:
        raise ValueError(f"diagnose: the source's labels must be classes; it is {source!r}")
    if not 0 < level < 1:
        raise ValueError(f"diagnose(level={level}): a probability between 0 and 1 is accepted")
    needed = math.ceil(1 / level) - 1
    if permutations < needed:
        raise ValueError(
            f"diagnose(permutations={permutations}): at least {needed} are needed for level={level}: "
            "no p-value is below 1 / (1 + permutations)"
        )
    inputs = target.inputs if isinstance(target, Dataset) else target
    if isinstance(inputs, np.ndarray) and inputs.dtype.kind in "biuf":
        inputs = torch.from_numpy(inputs.copy())
    if not isinstance(inputs, torch.Tensor | list):
        raise TypeError(
            f"diagnose: the target's inputs are a {type(inputs).__name__}; "
            "a tensor, an array of numbers or a list of texts is accepted"
        )
    if min(len(source), len(inputs)) < 20:
        raise ValueError(f"diagnose: at least 20 rows a domain are needed; there are {len(source)} and {len(inputs)}")
    found: dict[str, Finding] = {}
    found["feature_space"] = _spaces(source.inputs, inputs)
    found["label_space"] = _labels(source, target)
    alike = found["feature_space"].verdict == SAME
    common = found["label_space"].verdict == SAME
    for name in NEEDS_FEATURES:
        if not alike:
            found[name] = Finding(INCOMPARABLE, "the feature spaces differ")
    for name in NEEDS_LABELS:
        if found["label_space"].verdict == MOVED:
            found[name] = Finding(INCOMPARABLE, "the label spaces differ")
    x, y = describe(source.inputs, inputs, features) if alike else (np.empty((0, 0)), np.empty((0, 0)))
    if alike:
        found["marginal"] = _tested(mmd(*map(torch.from_numpy, (x, y)), permutations=permutations, seed=seed), level)
    if not (labelled and isinstance(target, Dataset) and common):
        told = _guess(source, x, y) if alike and common else ""
        for name in NEEDS_LABELS:
            found.setdefault(name, Finding(UNTOLD, "needs labels of the target" + told * (name == "prior")))
        return Diagnosis(found)
    number = torch.tensor([source.classes.index(name) for name in target.classes])
    groups = (source.targets.cpu(), number[target.targets.cpu()])
    counts = np.stack([np.bincount(part.numpy(), minlength=len(source.classes)) for part in groups])
    found["prior"] = _prior(counts, level)
    if alike:
        if (counts.min(0) < 2).all():
            found["conditional"] = Finding(INCOMPARABLE, "no class has 2 rows in both domains")
        else:
            within = mmd(*map(torch.from_numpy, (x, y)), permutations=permutations, groups=groups, seed=seed)
            found["conditional"] = _tested(within, level, "within classes: ")
        if certain is None:
            certain = not isinstance(source.inputs, torch.Tensor) or source.inputs.ndim == 4
        found["concept"] = _concept((x, y), groups, counts, certain, level, seed)
        _by_bayes(found, certain)
    return Diagnosis(found)


def _spaces(source: Any, target: Any) -> Finding:
    if isinstance(source, torch.Tensor) != isinstance(target, torch.Tensor):
        return Finding(MOVED, "tensors in one domain, texts in the other")
    if isinstance(source, torch.Tensor):
        one, other = (tuple(x.shape[1:]) for x in (source, target))
        return Finding(SAME, f"both {one}") if one == other else Finding(MOVED, f"{one} and {other}")
    own, foreign = known_words(source, target)
    said = f"{foreign:.0%} of the target's words occur in the source, {own:.0%} among its own halves"
    return Finding(MOVED if foreign < 0.8 * own else SAME, said)


def _labels(source: Dataset, target: Any) -> Finding:
    if not (isinstance(target, Dataset) and target.classes):
        return Finding(UNTOLD, "the target comes without names of classes")
    if set(source.classes) == set(target.classes):
        return Finding(SAME, f"the same {len(source.classes)} classes")
    new = [name for name in target.classes if name not in source.classes]
    return Finding(MOVED, f"only in the target: {', '.join(new[:4]) or 'none'}{', …' * (len(new) > 4)}")


def _tested(found: Any, level: float, said: str = "") -> Finding:
    return Finding(MOVED if found.p_value <= level else SAME, said + repr(found), found.p_value)


def _prior(counts: np.ndarray, level: float) -> Finding:
    from scipy.stats import chi2_contingency  # type: ignore[import-untyped]

    table = counts[:, counts.sum(0) > 0]
    if table.shape[1] < 2:
        return Finding(SAME, "one class only", 1.0)
    p = float(chi2_contingency(table).pvalue)
    shares = table / table.sum(1, keepdims=True)
    apart = 0.5 * np.abs(shares[0] - shares[1]).sum()
    return Finding(MOVED if p <= level else SAME, f"counts differ by {apart:.0%} (chi-squared p = {p:.2g})", p)


def _concept(
    features: tuple[np.ndarray, np.ndarray],
    groups: tuple[torch.Tensor, torch.Tensor],
    counts: np.ndarray,
    certain: bool,
    level: float,
    seed: int,
) -> Finding:
    others = int(counts.sum() - counts.sum(0).max())
    if others < _FEW:
        return Finding(UNTOLD, f"all labels but {others} are of one class")
    if certain and (counts.min(0) < 2).all():
        return Finding(UNTOLD, "no class is in both domains: a moved prior would look like new meanings")
    found = domain_helps(features, (groups[0].numpy(), groups[1].numpy()), with_prior=certain, seed=seed)
    said = f"knowing the domain saves {found.gain:.3f} nats a label (p = {found.p_value:.2g})"
    if found.common < _FEW:
        return Finding(UNTOLD, said + f", but only {found.common:.0f} inputs are common to both", found.p_value)
    return Finding(MOVED if found.p_value <= level else SAME, said, found.p_value)


def _by_bayes(found: dict[str, Finding], certain: bool) -> None:
    """What follows from the verdicts on P(Y) and P(X|Y), of which P(X) and P(Y|X) are made."""
    moved = {name: found[name].verdict == MOVED for name in ("prior", "conditional", "marginal", "concept")}

    def conclude(name: str, verdict: str, why: str) -> None:
        old = found[name]
        if old.verdict != verdict:
            found[name] = Finding(verdict, f"{why} ({old.evidence})", old.p_value)

    if moved["prior"] and found["conditional"].verdict == SAME:
        conclude("marginal", MOVED, "by Bayes' rule, since P(Y) moved under unmoved P(X|Y)")
        if certain:
            conclude("concept", SAME, "by Bayes' rule: an input determines its label, and P(X|Y) is unmoved")
        else:
            conclude("concept", MOVED, "by Bayes' rule, since P(Y) moved under unmoved P(X|Y)")
    elif moved["conditional"] and not moved["marginal"] and not moved["concept"]:
        one = min(("marginal", "concept"), key=lambda name: 1.0 if (p := found[name].p_value) is None else p)
        conclude(one, MOVED, "P(X, Y) moved, so P(X) or P(Y|X) did; of the two this is likelier")


def _guess(source: Dataset, x: np.ndarray, y: np.ndarray) -> str:
    """What the target's prior would be, were P(X|Y) unmoved."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    labels = source.targets.cpu()
    if len(source.classes) < 2 or int(source.counts().min()) < 3:
        return ""
    model = LogisticRegression(max_iter=300)
    held_out = cross_val_predict(model, x, labels.numpy(), cv=3, method="predict_log_proba")
    fixed = calibrate(torch.from_numpy(held_out), labels)
    there = fixed(torch.from_numpy(model.fit(x, labels.numpy()).predict_log_proba(y)))
    estimate = em(there, source.counts().cpu().double() / len(source))
    largest = int(estimate.argmax())
    return f"; if P(X|Y) is unmoved, {source.classes[largest]!r} makes {float(estimate[largest]):.0%} of it"
