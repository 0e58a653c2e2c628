"""Instance transfer with a few target labels: boosting that trusts misfitting source rows less and less.

Source: Dai, Yang, Xue & Yu 2007, "Boosting for Transfer Learning" (ICML), algorithm 1.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from tlcore.transfer.given import Array, Labels, both, classes, labels, rows


class TrAdaBoost(ClassifierMixin, BaseEstimator):
    """Boost on many source rows and a few labelled target rows together.

    >>> from tlcore import worlds
    >>> world = worlds.Gaussian(features=5, distance=3)
    >>> source, few = world.but(rho=0.6).sample(300), world.sample(12, seed=1)
    >>> model = TrAdaBoost(rounds=10).fit(source.inputs, source.targets, few.inputs, few.targets)
    >>> model.predict(world.sample(50, seed=2).inputs).shape, model.source_weights_.shape
    ((50,), (11, 300))

    Setting: inductive, P(Y|X) may differ. Knowledge: instances. Labels: source and target.

    In each round a target row that is got wrong gains weight, as in AdaBoost, and a source row that is got wrong loses
    weight: it seems to come from another world.

    Parameters
    ----------
    estimator
        A classifier whose `fit` takes `sample_weight`, such as a decision stump; default logistic regression.
    rounds
        N.

    Attributes
    ----------
    estimators_, errors_
        The classifiers; their weighted errors on the target's rows.
    source_weights_, target_weights_
        Before each round and after the last one, (rounds + 1, N) and (rounds + 1, M); not normalised, as in the paper.
    beta_
        By which a source row is multiplied when it is got wrong.
    classes_
        Two or more; see Notes.

    Raises
    ------
    ValueError, TypeError
        Rows of different shapes, missing labels on either side, a class that only one side has, `rounds` below 1, X

    Notes
    -----
    Dai et al. 2007, algorithm 1. With n source rows, beta = 1 / (1 + sqrt(2 ln n / N)), e_t the error on the target's
    rows under their own normalised weights and beta_t = e_t / (1 - e_t), a source row that is got wrong is multiplied
    by beta and a target row by 1 / beta_t. The answer is 1 where the product of beta_t^-h_t(x) over t = ceil(N/2) … N
    reaches that of beta_t^(-1/2): a vote of the later half of the classifiers, each with log(1 / beta_t). For more than
    two classes we take the same vote, class by class. The paper asks for e_t < 1/2 and is silent about the rest: here
    an error of one half or more counts as one half (no vote; the target's weights stay, the source's go on falling),
    and an error of 0, whose vote would be infinite, as 1 / (2 M + 2).
    """

    def __init__(self, estimator: Any = None, *, rounds: int = 20) -> None:
        self.estimator, self.rounds = estimator, rounds

    def fit(self, Xs: Any, ys: Any, Xt: Any, yt: Any = None) -> TrAdaBoost:
        """Learn from the source (N, ...), (N,) and the labelled target rows (M, ...), (M,)."""
        what = "TrAdaBoost"
        if type(self.rounds) is not int or self.rounds < 1:
            raise ValueError(f"{what}(rounds={self.rounds!r}): a whole number from 1 on is accepted, such as 20")
        source, target = both(what, Xs, Xt)
        y_source = labels(what, "ys", ys, len(source))
        y_target = labels(what, "yt", yt, len(target), why="a few labelled target rows tell which source rows fit")
        self.classes_ = classes(what, y_source, y_target)
        learner = self._learner()
        n = len(source)
        x, y = np.concatenate([source, target]), np.concatenate([y_source, y_target])
        weights: Array = np.ones(len(x))
        self.beta_ = 1 / (1 + math.sqrt(2 * math.log(n) / self.rounds))
        self.estimators_: list[Any] = []
        self.errors_: list[float] = []
        history = [weights]
        for _ in range(self.rounds):
            fitted = clone(learner).fit(x, y, sample_weight=weights / weights.mean())  # the scale matters to penalties
            wrong = fitted.predict(x) != y  # (N + M,)
            error = float(weights[n:][wrong[n:]].sum() / weights[n:].sum())
            self.estimators_.append(fitted)
            self.errors_.append(error)
            factor = np.where(np.arange(len(x)) < n, self.beta_, 1 / self._beta(error, len(target)))
            weights = np.where(wrong, weights * factor, weights)
            weights = weights / max(1.0, weights.max() / 1e100)  # one scale for all changes nothing
            history.append(weights)
        if min(self.errors_[math.ceil(self.rounds / 2) - 1 :]) >= 0.5:
            name = type(learner).__name__
            raise ValueError(
                f"{what}: in the later half of {self.rounds} rounds every {name} is wrong on half of the {len(target)} "
                "target rows or more, so none has a vote; more target rows, rounds or a stronger estimator is needed"
            )
        self.source_weights_, self.target_weights_ = np.stack(history)[:, :n], np.stack(history)[:, n:]
        return self

    def predict(self, X: Any) -> Labels:
        """Classes (N,)."""
        found: Labels = self.classes_[self.decision_function(X).argmax(1)]
        return found

    def decision_function(self, X: Any) -> Array:
        """Votes of the later half for each class (N, K)."""
        check_is_fitted(self, "estimators_")
        x = rows("TrAdaBoost", "X", X)
        made = len(self.estimators_)
        votes: Array = np.zeros((len(x), len(self.classes_)))
        for fitted, error in list(zip(self.estimators_, self.errors_))[math.ceil(made / 2) - 1 :]:
            beta = self._beta(error, self.target_weights_.shape[1])
            votes += math.log(1 / beta) * (fitted.predict(x)[:, None] == self.classes_)
        return votes

    @staticmethod
    def _beta(error: float, count: int) -> float:
        error = min(error, 0.5) or 1 / (2 * count + 2)
        return error / (1 - error)

    def _learner(self) -> Any:
        from sklearn.linear_model import LogisticRegression

        learner = LogisticRegression(max_iter=1000) if self.estimator is None else self.estimator
        if not has_fit_parameter(learner, "sample_weight"):
            raise TypeError(f"TrAdaBoost: {type(learner).__name__}.fit takes no sample_weight; decision trees do")
        return learner
