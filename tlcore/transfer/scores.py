"""How well would this network transfer? Two scores from one pass over the target's labelled data, without training.

Both rank sources for one target, higher being better; neither is an accuracy, and neither compares targets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike

Array = np.ndarray


def leep(probabilities: ArrayLike | torch.Tensor, labels: ArrayLike | torch.Tensor) -> float:
    """Log expected empirical prediction: how well the source's own classes tell the target's.

    >>> round(leep([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.1, 0.9]], [0, 0, 1, 1]), 3)
    -0.295
    >>> leep([[1.0, 0.0], [0.0, 1.0]], [1, 0])  # each class of the source is one of the target
    0.0

    Nguyen, Hassner, Seeger, Archambeau 2020 (arXiv:2002.12462), equations 1 and 2: with P(y | z) counted over the
    target's rows, each having source class z to the degree the network says so, the mean log-probability of the labels.

    Parameters
    ----------
    probabilities
        Of the source's classes, as the network gives them for the target's inputs (N, Z); rows that sum to 1.
    labels
        Class numbers of the target (N,).

    Returns
    -------
    float
        At most 0.

    Raises
    ------
    ValueError
        If the rows are no probabilities, or there are not as many labels.
    """
    theta, y = _rows(probabilities, "leep"), _labels(labels, "leep")
    _same_length(theta, y, "leep")
    if theta.min() < -1e-6 or np.abs(theta.sum(1) - 1).max() > 1e-3:
        raise ValueError("leep: each row must hold probabilities that sum to 1; take the softmax of the logits first")
    joint = np.eye(int(y.max()) + 1)[y].T @ theta / len(y)  # (K, Z): P(y, z)
    given = joint / np.maximum(joint.sum(0), 1e-300)  # P(y | z)
    return float(np.log((given[y] * theta).sum(1)).mean()) + 0.0


@dataclass(frozen=True)
class _Evidence:
    value: float
    alpha: float
    beta: float


def logme(features: ArrayLike | torch.Tensor, labels: ArrayLike | torch.Tensor) -> float:
    """Log maximum evidence: how probable the labels are under a Bayesian linear model on the features, per row.

    >>> rows = np.random.default_rng(0).normal(size=(200, 5))
    >>> told, chance = logme(rows, (rows[:, 0] > 0).astype(int)), logme(rows, np.arange(200) % 2)
    >>> told > chance
    True

    You, Liu, Wang, Long 2021 (arXiv:2102.11005), algorithm 1: each class against the others is a regression
    y = F w + e with w ~ N(0, 1/alpha) and e ~ N(0, 1/beta); alpha and beta maximise the evidence, whose mean over
    classes is the score.

    Parameters
    ----------
    features
        Of the target's inputs (N, F), such as a network's neck.
    labels
        Class numbers of the target (N,).

    Raises
    ------
    ValueError
        If there is one class only, a number is not finite, or there are not as many labels as rows.
    """
    rows, y = _rows(features, "logme"), _labels(labels, "logme")
    _same_length(rows, y, "logme")
    if len(np.unique(y)) < 2:
        raise ValueError("logme: all labels are of one class; two at least are needed")
    u, s, _ = np.linalg.svd(rows, full_matrices=False)
    targets = np.eye(int(y.max()) + 1)[y][:, np.unique(y)]  # (N, K)
    return float(np.mean([_evidence(u, s, column, rows.shape[1]).value for column in targets.T]) / len(rows))


def _evidence(u: Array, s: Array, y: Array, width: int) -> _Evidence:
    """Largest evidence of y ~ N(0, I / beta + F F' / alpha), by MacKay's fixed point, from the decomposition of F."""
    count, squares, along = len(y), s**2, u.T @ y
    outside = max(float(y @ y - along @ along), 0.0)  # of y's square, what no weights can reach
    alpha, beta = 1.0, 1.0
    for _ in range(200):
        shrunk = beta * squares / (alpha + beta * squares)  # in (0, 1): how well each direction is determined
        known = float(shrunk.sum())
        weight = float((shrunk**2 * along**2 / np.maximum(squares, 1e-300)).sum())
        error = outside + float(((1 - shrunk) ** 2 * along**2).sum())
        new_alpha, new_beta = known / max(weight, 1e-12), (count - known) / max(error, 1e-12)
        done = abs(np.log(new_alpha / alpha)) + abs(np.log(new_beta / beta)) < 1e-9
        alpha, beta = new_alpha, new_beta
        if done:
            break
    variances = 1 / beta + squares / alpha  # of y along u
    inside = float((np.log(variances) + along**2 / variances).sum())
    rest = (count - len(s)) * -np.log(beta) + beta * outside
    return _Evidence(-0.5 * (count * np.log(2 * np.pi) + inside + rest), alpha, beta)


def _rows(values: ArrayLike | torch.Tensor, function: str) -> Array:
    given = values.detach().cpu().float().numpy() if isinstance(values, torch.Tensor) else values
    rows = np.asarray(given, dtype=np.float64)
    if rows.ndim != 2 or not len(rows):
        raise ValueError(f"{function}: rows (N, F) are accepted, N from 1 on; this has the shape {rows.shape}")
    if not np.isfinite(rows).all():
        raise ValueError(
            f"{function}: row {int(np.argmin(np.isfinite(rows).all(1)))} holds a number that is not finite"
        )
    return rows


def _labels(labels: ArrayLike | torch.Tensor, function: str) -> Array:
    y = np.asarray(labels.detach().cpu() if isinstance(labels, torch.Tensor) else labels)
    if y.ndim != 1 or y.dtype.kind not in "iub" or (len(y) and y.min() < 0):
        raise ValueError(f"{function}: labels are class numbers (N,) from 0 on; these are {y.dtype} of shape {y.shape}")
    return y.astype(np.int64)


def _same_length(rows: Array, y: Array, function: str) -> None:
    if len(rows) != len(y):
        raise ValueError(f"{function}: {len(rows)} rows and {len(y)} labels; as many of both are needed")
