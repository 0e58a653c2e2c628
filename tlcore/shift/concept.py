"""Does P(Y|X) differ between two domains? Only inputs that both have can tell.

If it does not, then the domain says nothing about the label that the input does not say already. Inputs are weighed by
how well they might have come from the other domain (overlap weights: Li, Morgan and Zaslavsky 2018), so that both
domains have the same distribution of inputs, and a model too simple for the truth errs in both alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tlcore.shift.density_ratio import effective_size

_FOLDS = 3


@dataclass(frozen=True)
class Help:
    """By how much knowing the domain helps: nats per label, with a p-value, and how many inputs are common to both."""

    gain: float
    p_value: float
    common: float


def domain_helps(
    features: tuple[np.ndarray, np.ndarray],
    labels: tuple[np.ndarray, np.ndarray],
    *,
    with_prior: bool = False,
    seed: int = 0,
) -> Help:
    """Compare, on held-out rows, a classifier for both domains with one that may treat them differently.

    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.normal(size=(300, 2)), rng.normal(size=(300, 2))
    >>> domain_helps((x, y), (x[:, 0] > 0, y[:, 0] > 0)).p_value > 0.05  # the same rule
    True
    >>> domain_helps((x, y), (x[:, 0] > 0, y[:, 0] < 0)).p_value < 0.001
    True

    Parameters
    ----------
    features
        Of source and target, (N, F) and (M, F), of about unit size.
    labels
        Class numbers (N,) and (M,).
    with_prior
        Let the common classifier, too, know how frequent each class is in the domain: then only a difference beyond
        a moved prior counts.
    """
    from scipy.stats import norm  # type: ignore[import-untyped]

    x, y = np.concatenate(features), np.concatenate(labels).astype(int)
    domain = np.repeat([0, 1], [len(part) for part in features])
    fold = _folds(len(y), seed)
    weights, common = _overlap(x, domain, fold)
    side = domain[:, None] - 0.5
    together = np.concatenate([x, side], 1) if with_prior else x
    apart = np.concatenate([x, side, 2 * side * x], 1)
    common_rule, own_rules = (_scores(part, y, weights, fold) for part in (together, apart))
    rows = np.arange(len(y))
    gains = weights * (own_rules[rows, y] - common_rule[rows, y])
    error = gains.std(ddof=1) / np.sqrt(len(gains))
    p = float(norm.sf(gains.mean() / error)) if error > 0 else 1.0
    if not with_prior:
        p = min(1.0, 2 * min(p, _biased(common_rule, y, domain, weights)))
    return Help(float(gains.sum() / weights.sum()), p, common)


def _biased(scores: np.ndarray, y: np.ndarray, domain: np.ndarray, weights: np.ndarray) -> float:
    """p-value of a common rule that errs the same way in both domains: as often for each class, as confidently.

    The sharper question: it looks at K numbers only, the residuals of all but one class and their product with the
    scores. A rule that is off by the same in both domains is not blamed, since only differences count.
    """
    from scipy.stats import chi2

    residual = np.eye(scores.shape[1])[y] - np.exp(scores)  # (N, K)
    seen = np.bincount(y, minlength=scores.shape[1]) > 0
    parts = np.concatenate([residual[:, seen][:, 1:], (residual * scores).sum(1, keepdims=True)], 1)
    moments = []
    for side in (0, 1):
        x, w = parts[domain == side], weights[domain == side][:, None]
        mean = (w * x).sum(0) / w.sum()
        off = w * (x - mean) / w.sum()
        moments.append((mean, off.T @ off))
    gap = moments[1][0] - moments[0][0]
    spread = moments[0][1] + moments[1][1]
    return float(chi2.sf(gap @ np.linalg.pinv(spread) @ gap, len(gap)))


def _overlap(x: np.ndarray, domain: np.ndarray, fold: np.ndarray) -> tuple[np.ndarray, float]:
    """Weight of each row, 1 on average, and how many rows of the poorer domain lie where the other has some too.

    A row where both domains are equally dense weighs 1/2, one where the other has none 0: twice the sum counts what is
    common, and Kish's size how many rows carry it.
    """
    odds = np.empty(len(x))
    for n in range(_FOLDS):
        inside = fold != n
        odds[~inside] = _model().fit(x[inside], domain[inside]).predict_proba(x[~inside])[:, 1]
    weights = np.where(domain == 0, odds, 1 - odds)
    sides = [weights[domain == side] for side in (0, 1)]
    common = min(min(effective_size(torch.from_numpy(side)), 2 * float(side.sum())) for side in sides)
    return weights / weights.mean(), common


def _scores(x: np.ndarray, y: np.ndarray, weights: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Log-probability of each class for each row (N, K), by models that have not seen it."""
    count = int(y.max()) + 1
    found = np.empty((len(y), count))
    for n in range(_FOLDS):
        inside = fold != n
        model = _model().fit(x[inside], y[inside], sample_weight=weights[inside])
        every = np.zeros((int((~inside).sum()), count))
        every[:, model.classes_] = model.predict_proba(x[~inside])
        found[~inside] = np.log(np.maximum(every, 1e-3))
    return found


def _folds(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(count) % _FOLDS


def _model() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=0.1, max_iter=200, tol=1e-3)
