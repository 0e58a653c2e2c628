"""Feature-representation transfer in closed form: an estimator learns on aligned features; CORAL makes them.

Source: Sun, Feng & Saenko 2016, "Return of Frustratingly Easy Domain Adaptation" (arXiv:1511.05547).
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.validation import check_is_fitted

from tlcore.transfer.given import Array, Labels, both, classes, labels, rows

Side = Literal["source", "target"]


class Alignment(Protocol):
    """What brings source and target into one feature space."""

    def fit(self, Xs: Any, ys: Any, Xt: Any, yt: Any = None) -> Any:
        """Learn from both samples."""

    def transform(self, X: Any, side: Side = "target") -> Array:
        """Rows of one side in the common space (N, D)."""


class CORAL(BaseEstimator):
    """Give the source the target's mean and covariance: whiten it, then colour it as the target is.

    >>> draws = np.random.default_rng(0)
    >>> Xs = draws.normal(size=(300, 2)) * [1, 3]  # (N, F)
    >>> Xt = draws.normal(size=(200, 2)) * [2, 1] + 5  # (M, F)
    >>> coral = CORAL(regularization=1e-6).fit(Xs, None, Xt)
    >>> moved = coral.transform(Xs, "source")  # (N, F)
    >>> np.allclose(moved.mean(0), Xt.mean(0)), np.allclose(np.cov(moved.T), np.cov(Xt.T), atol=1e-4)
    (True, True)

    Setting: transductive (P(X) differs). Knowledge: feature representation. Labels: none for the alignment.

    Parameters
    ----------
    regularization
        Added to the variances of both sides, in units of the features squared; the paper's 1 is meant for standardised
        features. 0 is accepted: what one side has no variance in is then left out.
    means
        Move the mean too. The paper standardises each side first, which does the same.

    Attributes
    ----------
    map_
        A (F, F), with which centred source rows are multiplied.

    Raises
    ------
    ValueError, TypeError
        Rows of different shapes, fewer than 2 rows a side, numbers that are not finite, a negative regularization.

    Notes
    -----
    Algorithm 1: A = C_S^(-1/2) C_T^(1/2), with C = cov + regularization I. Without regularization a side may lack
    directions: then only the leading r of C_T are kept, r the smaller of the ranks, as in theorem 1. Its formula misses
    the best approximation where the source lacks directions (U_S' U_T is then no rotation): we take the rotation
    nearest to U_S' U_T, which reaches it, and gives algorithm 1 where nothing is missing.
    """

    def __init__(self, *, regularization: float = 1.0, means: bool = True) -> None:
        self.regularization, self.means = regularization, means

    def fit(self, Xs: Any, ys: Any, Xt: Any, yt: Any = None) -> CORAL:
        """Learn from rows (N, ...) and (M, ...); labels are not looked at."""
        if not 0 <= self.regularization < np.inf:
            raise ValueError(f"CORAL(regularization={self.regularization!r}): from 0 on is accepted, such as 1.0")
        x, y = both("CORAL", Xs, Xt)
        self.source_mean_, self.target_mean_ = x.mean(0), y.mean(0)
        (values, axes), (others, theirs) = (self._spectrum(part) for part in (x, y))
        others, theirs = others[: len(values)], theirs[:, : len(values)]
        left, _, right = np.linalg.svd(axes.T @ theirs, full_matrices=False)
        self.map_: Array = (axes / np.sqrt(values)) @ (left @ right) @ (theirs * np.sqrt(others)).T
        return self

    def transform(self, X: Any, side: Side = "target") -> Array:
        """Source rows in the target's likeness (N, F); target rows stay as they are."""
        check_is_fitted(self, "map_")
        x = side_rows("CORAL", X, side, len(self.map_))
        if side == "target":
            return x
        moved: Array = (x - self.source_mean_) @ self.map_ + (self.target_mean_ if self.means else self.source_mean_)
        return moved

    def _spectrum(self, x: Array) -> tuple[Array, Array]:
        """Variances above 0, falling (r,), and their directions (F, r)."""
        covariance = np.atleast_2d(np.cov(x, rowvar=False)) + self.regularization * np.eye(x.shape[1])
        values, vectors = np.linalg.eigh(covariance)
        kept = values > values.max() * len(values) * np.finfo(np.float64).eps
        return values[kept][::-1], vectors[:, kept][:, ::-1]


class Aligned(ClassifierMixin, BaseEstimator):
    """Any classifier behind an alignment: it learns on the source's aligned rows, and answers on the target's.

    >>> from tlcore import worlds
    >>> world = worlds.Gaussian(features=4, distance=3)
    >>> source, target = world.sample(400), world.sample(400, seed=1)
    >>> moved = target.inputs * 3 + 2  # another sensor
    >>> model = Aligned(CORAL(regularization=0.01)).fit(source.inputs, source.targets, moved)
    >>> float((model.predict(moved) == target.targets.numpy()).mean()) > 0.9
    True

    Setting: transductive. Knowledge: feature representation. Labels: source only.

    Parameters
    ----------
    alignment
        `CORAL`, `SubspaceAlignment`, `TCA`, or anything with their `fit` and `transform`.
    estimator
        Any classifier; default logistic regression.

    Attributes
    ----------
    alignment_, estimator_, classes_
        Fitted.
    """

    def __init__(self, alignment: Alignment, estimator: Any = None) -> None:
        self.alignment, self.estimator = alignment, estimator

    def fit(self, Xs: Any, ys: Any, Xt: Any, yt: Any = None) -> Aligned:
        """Align the source (N, ...) and the target (M, ...), then learn from the source's labels; not from `yt`."""
        from sklearn.linear_model import LogisticRegression

        what = "Aligned"
        x, target = both(what, Xs, Xt)
        y = labels(what, "ys", ys, len(x))
        self.classes_ = classes(what, y)
        self.alignment_ = clone(self.alignment).fit(x, y, target)
        learner = LogisticRegression(max_iter=1000) if self.estimator is None else clone(self.estimator)
        self.estimator_ = learner.fit(self.alignment_.transform(x, "source"), y)
        return self

    def predict(self, X: Any) -> Labels:
        """Classes (N,) of target rows."""
        found: Labels = self.estimator_.predict(self._moved(X))
        return found

    def predict_proba(self, X: Any) -> Array:
        """Probabilities (N, K) of target rows, where the classifier has them."""
        found: Array = self.estimator_.predict_proba(self._moved(X))
        return found

    def _moved(self, X: Any) -> Array:
        check_is_fitted(self, "estimator_")
        moved: Array = self.alignment_.transform(rows("Aligned", "X", X), "target")
        return moved


def side_rows(what: str, X: Any, side: str, features: int) -> Array:
    """Rows (N, F) of a side that an alignment was fitted to."""
    if side not in ("source", "target"):
        raise ValueError(f"{what}.transform(side={side!r}): accepted are 'source' and 'target'")
    x = rows(what, "X", X)
    if x.shape[1] != features:
        raise ValueError(f"{what}.transform: rows of X have {x.shape[1]} numbers; it was fitted to rows of {features}")
    return x
