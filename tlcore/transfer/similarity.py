"""How much a trained network's neck has to say about a target, on a scale from 0 to 1.

>>> rows = np.random.default_rng(0).normal(size=(200, 20))
>>> labels = (rows[:, 0] * rows[:, 1] > 0).astype(int)  # no linear classifier of the raw inputs can tell
>>> similarity_of(np.c_[rows[:, :1] * rows[:, 1:2], rows[:, 2:]], rows, labels) > 0.7
True
>>> similarity_of(rows[:, 5:], rows, labels) < 0.2
True
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from torch import nn

from tlcore.shift.threads import one_blas_thread
from tlcore.transfer.classifiers import pixel_reader, targets
from tlcore.transfer.features import FeatureExtractor
from tlcore.worlds import Dataset

MOST = 300  # rows that are looked at
FOLDS = 5


def similarity(model: nn.Module, data: Dataset, layer: str = "neck", *, seed: int = 0) -> float:
    """Of the errors that a linear classifier makes on raw inputs, the share that it does not make on the neck.

    >>> from tlcore import worlds, zoo
    >>> net = zoo.get_model("resnet20", weights="shapesx")
    >>> new = worlds.Shapes(shapes=("crescent", "trapezoid", "L", "heart")).sample(100)
    >>> similarity(net, new) > 0.6
    True

    Both accuracies are cross-validated (five folds, or as many as the rarest class has rows) on at most 300 rows. It is
    a property of a source, a target and its labels, as the difference of two *tasks* is: P(X) alone does not say it.

    Parameters
    ----------
    model
        Trained on the source.
    data
        Labelled examples of the target.
    layer
        As in `FeatureExtractor`.

    Returns
    -------
    float
        From 0 (the neck is no better than the inputs, or worse) to 1 (it makes no error).

    Raises
    ------
    ValueError
        If a class has fewer than two examples, or there is one class.
    """
    labels = targets(data, "similarity")
    neck = FeatureExtractor(model, layer).transform(data)
    return similarity_of(neck, pixel_reader().transform(data), labels, seed=seed)


@one_blas_thread
def similarity_of(neck: ArrayLike, raw: ArrayLike, labels: ArrayLike, *, seed: int = 0) -> float:
    """`similarity` of features (N, F) and raw inputs (N, D) that are there already; labels (N,).

    An example stands at the head of this file.
    """
    from sklearn.linear_model import RidgeClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    y = np.asarray(labels)
    counts = np.unique(y, return_counts=True)[1]
    if len(counts) < 2 or counts.min() < 2:
        raise ValueError(
            f"similarity: {len(counts)} classes, the rarest with {counts.min() if len(counts) else 0} examples; two "
            "classes and two examples of each are needed to cross-validate"
        )
    rows, right = _some_of_each(y, np.random.default_rng(seed).permutation(len(y))[:MOST]), []
    folds = StratifiedKFold(
        min(FOLDS, int(np.unique(y[rows], return_counts=True)[1].min())), shuffle=True, random_state=seed
    )
    for given in (neck, raw):
        values = np.asarray(given, dtype=np.float64).reshape(len(y), -1)[rows]
        model = make_pipeline(StandardScaler(), RidgeClassifier(alpha=0.1 * values.shape[1]))
        right.append(float(np.mean(cross_val_predict(model, values, y[rows], cv=folds) == y[rows])))
    left = max(1 - right[1], 1 / len(rows))
    return float(np.clip((right[0] - right[1]) / left, 0, 1))


def _some_of_each(y: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The rows, and two of each class that they miss."""
    short = [c for c in np.unique(y) if np.sum(y[rows] == c) < 2]
    return np.unique(np.r_[rows, *(np.flatnonzero(y == c)[:2] for c in short)])
