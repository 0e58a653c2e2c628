"""Instance transfer without target labels: source rows count as often as the target has such rows.

Sources: Shimodaira 2000, "Improving predictive inference under covariate shift by weighting the log-likelihood
function"; the weights are those of `shift.logistic_ratio` and `shift.kliep`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from tlcore import shift
from tlcore.runtime import nearest
from tlcore.transfer.given import Array, Labels, both, classes, labels, rows

Ratio = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
RATIOS: dict[str, Ratio] = {"logistic": shift.logistic_ratio, "kliep": shift.kliep}


class ImportanceWeighting(ClassifierMixin, BaseEstimator):
    """Train any classifier on the source, each row weighted by how much more often the target has such a row.

    >>> from tlcore import worlds
    >>> world = worlds.TeacherStudent(features=4, flips=0.05)
    >>> source = world.sample(400)
    >>> target = source.inputs[source.inputs[:, 0] > 0.5]  # a biased part of the same world
    >>> model = ImportanceWeighting().fit(source.inputs, source.targets, target)  # (N, F), (N,), (M, F)
    >>> model.predict(target).shape, model.weights_.shape, bool(1 < model.effective_size_ < 400)
    ((105,), (400,), True)

    Setting: transductive; P(X) differs and P(Y|X) does not (covariate shift). Knowledge: instances. Labels: source.

    Parameters
    ----------
    estimator
        A classifier whose `fit` takes `sample_weight`; default logistic regression.
    weights
        "logistic" or "kliep", a function from source and target tensors to weights (N,), or the weights themselves.
    flatten
        Exponent of the weights: 1 for their full correction, 0 for none, between for less variance at some bias
        (Shimodaira 2000, section 3).

    Attributes
    ----------
    weights_
        (N,), of mean 1.
    effective_size_
        How many rows of equal weight they are worth (Kish); a warning tells where it is less than 5 a class.
    estimator_, classes_
        The fitted classifier; its classes.

    Raises
    ------
    ValueError, TypeError
        Rows of different shapes, fewer than 2 rows a side, missing labels, one class only, an estimator without
        `sample_weight`, unknown or impossible weights, or `flatten` outside [0, 1].
    """

    def __init__(
        self, estimator: Any = None, *, weights: str | Ratio | Array = "logistic", flatten: float = 1.0
    ) -> None:
        self.estimator, self.weights, self.flatten = estimator, weights, flatten

    def fit(self, Xs: Any, ys: Any, Xt: Any, yt: Any = None) -> ImportanceWeighting:
        """Weigh the source's rows (N, ...) against the target's (M, ...), and train; `yt` is not looked at."""
        from sklearn.linear_model import LogisticRegression

        what = "ImportanceWeighting"
        x, target = both(what, Xs, Xt)
        y = labels(what, "ys", ys, len(x))
        self.classes_ = classes(what, y)
        if not 0 <= self.flatten <= 1:
            raise ValueError(f"{what}(flatten={self.flatten!r}): from 0 (no weights) to 1 is accepted")
        learner = LogisticRegression(max_iter=1000) if self.estimator is None else clone(self.estimator)
        if not has_fit_parameter(learner, "sample_weight"):
            name = type(learner).__name__
            raise TypeError(f"{what}: {name}.fit takes no sample_weight; LogisticRegression, LinearSVC, … do")
        weights = self._weights(x, target) ** self.flatten
        self.weights_ = weights / weights.mean()
        self.effective_size_ = shift.effective_size(torch.from_numpy(self.weights_))
        if self.effective_size_ < 5 * len(self.classes_):
            warnings.warn(
                f"{what}: the {len(x)} weighted rows are worth {self.effective_size_:.1f}; at least "
                f"{5 * len(self.classes_)} (5 a class) are wanted: source and target hardly overlap; try flatten=0.5",
                stacklevel=2,
            )
        self.estimator_ = learner.fit(x, y, sample_weight=self.weights_)
        return self

    def predict(self, X: Any) -> Labels:
        """Classes (N,)."""
        check_is_fitted(self, "estimator_")
        found: Labels = self.estimator_.predict(rows("ImportanceWeighting", "X", X))
        return found

    def predict_proba(self, X: Any) -> Array:
        """Probabilities (N, K), where the classifier has them."""
        check_is_fitted(self, "estimator_")
        found: Array = self.estimator_.predict_proba(rows("ImportanceWeighting", "X", X))
        return found

    def _weights(self, x: Array, target: Array) -> Array:
        given = self.weights
        if isinstance(given, str):
            if given not in RATIOS:
                raise ValueError(f"ImportanceWeighting(weights={given!r}): {nearest(given, RATIOS)}")
            given = RATIOS[given]
        made = given(torch.from_numpy(x), torch.from_numpy(target)) if callable(given) else given
        found = np.asarray(made, dtype=np.float64)
        if found.shape != (len(x),) or not np.isfinite(found).all() or found.min() < 0 or found.max() == 0:
            raise ValueError(
                f"ImportanceWeighting: the weights are {found.shape}; one a source row, ({len(x)},), finite, from 0 on "
                "and not all 0, is accepted"
            )
        return found
