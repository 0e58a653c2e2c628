"""Parameter transfer between groups: one linear model a group, their coefficients drawn around a common mean.

What a group with many rows says flows up into the mean, and from there down to groups with few: "hierarchical GLM
models in stats, where information flows", says the lecture.

Sources: Gelman & Hill 2007, "Data Analysis Using Regression and Multilevel/Hierarchical Models", chapters 12 to 14;
Laird & Ware 1982, "Random-Effects Models for Longitudinal Data"; Breslow & Clayton 1993, "Approximate Inference in
Generalized Linear Mixed Models".
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from tlcore.runtime import nearest
from tlcore.transfer.given import Array, Labels, labels, rows

FAMILIES = ("gaussian", "binomial", "poisson")
_LOW, _HIGH = -14.0, 12.0  # logarithms of tau² among which it is looked for, in units of the data
_LEAST_GROUPS = 3


class Pooled(NamedTuple):
    """The solution for given spreads: the mean (F,), each group's coefficients (G, F), and what is known of them."""

    mean: Array
    coefficients: Array
    information: Array  # of the mean (F, F)
    covariances: Array  # of each group's coefficients about the mean (G, F, F)


class HierarchicalGLM(BaseEstimator):
    """A generalised linear model for each group, with partial pooling.

    >>> draws = np.random.default_rng(0)
    >>> group = np.repeat(np.arange(8), [60, 60, 60, 60, 60, 60, 60, 3])  # the last has 3 rows
    >>> slopes = 2 + draws.normal(size=8)
    >>> X = draws.normal(size=(423, 1))  # (N, F)
    >>> y = slopes[group] * X[:, 0] + draws.normal(size=423)  # (N,)
    >>> model = HierarchicalGLM(tau="each").fit(X, y, group)
    >>> model.coef_.shape, model.tau_.round(1).tolist()  # intercepts do not differ, slopes do
    ((8, 1), [0.0, 0.6])
    >>> model.own_share_[[0, 7], 1].round(1).tolist()  # how much a group's slope is its own
    [0.9, 0.7]

    Setting: inductive (P(Y|X) differs between groups). Knowledge: parameters. Labels: in every group.

    Parameters
    ----------
    family
        "gaussian" (identity link), "binomial" (two classes, logit link) or "poisson" (counts, log link).
    tau
        Standard deviation of the coefficients around their mean: 0 is complete pooling, infinity is none. "one"
        estimates one number for all coefficients, "each" one for each: empirical Bayes. A number or one for each
        coefficient, the intercept first, fixes it. Bring features to one scale before.
    sigma
        Standard deviation of the noise, "gaussian" only; by default estimated along with tau.
    mean
        Of the coefficients, the intercept first, when it is known from another source; by default it is estimated.
    fit_intercept
        Each group has an intercept too.

    Attributes
    ----------
    coef_, intercept_
        (G, F) and (G,), in the order of `groups_`.
    shared_coef_, shared_intercept_
        Their means, which serve groups that were never seen.
    tau_, sigma_
        (1 + F,), the intercept's first; and the noise ("gaussian").
    own_share_
        (G, 1 + F): how much of each coefficient comes from the group's own rows, from 0 (pooled) to 1 (not pooled).
    groups_, classes_
        Names of the groups; the two classes ("binomial").

    Raises
    ------
    ValueError, TypeError
        Fewer than 3 groups where tau is to be estimated, fewer rows than coefficients, labels that the family cannot
        have, missing labels or groups, an unknown family, negative spreads, or no pooling with a group that has fewer
        rows than coefficients.

    Notes
    -----
    "gaussian": y_g = X_g w_g + noise with w_g ~ N(m, T), T = diag(tau²). With P = T^-1 and A = X_g'X_g / sigma²,
    b = X_g'y_g / sigma², w_g = (A + P)^-1 (b + P m), and m solves
    sum_g [A - A (A + P)^-1 A] m = sum_g [b - A (A + P)^-1 b].
    tau and sigma have the greatest restricted likelihood, in which m is integrated out. Others: the same with the
    weights and the working response of iteratively reweighted least squares, which ends at the joint mode of m and all
    w_g; tau has the greatest Laplace approximation of the likelihood, which for few rows a group leans to small values.
    """

    def __init__(
        self,
        family: Literal["gaussian", "binomial", "poisson"] = "gaussian",
        *,
        tau: float | Sequence[float] | Literal["one", "each"] = "one",
        sigma: float | None = None,
        mean: Sequence[float] | Array | None = None,
        fit_intercept: bool = True,
    ) -> None:
        self.family, self.tau, self.sigma, self.mean, self.fit_intercept = family, tau, sigma, mean, fit_intercept

    def fit(self, X: Any, y: Any, groups: Any) -> HierarchicalGLM:
        """Learn from rows (N, F), labels (N,) and the group of each row (N,)."""
        what = "HierarchicalGLM"
        if self.family not in FAMILIES:
            raise ValueError(f"{what}(family={self.family!r}): {nearest(str(self.family), FAMILIES)}")
        x = rows(what, "X", X, least=2)
        response = self._response(labels(what, "y", y, len(x)))
        named = labels(what, "groups", groups, len(x), why="each row belongs to one")
        self.groups_, number = np.unique(named, return_inverse=True)
        x = self._with_intercept(x)
        parts = [(x[number == g], response[number == g]) for g in range(len(self.groups_))]
        tau, sigma = self._spreads(parts)
        found = self._solve(parts, tau, sigma)
        self.tau_, self.sigma_ = tau, sigma
        self._mean, self._all = found.mean, found.coefficients
        intercept = int(self.fit_intercept)
        self.shared_coef_, self.coef_ = found.mean[intercept:], found.coefficients[:, intercept:]
        zeros: Array = np.zeros(len(parts))
        self.intercept_ = found.coefficients[:, 0] if intercept else zeros
        self.shared_intercept_ = float(found.mean[0]) if intercept else 0.0
        left = np.diagonal(found.covariances, axis1=1, axis2=2)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = 1 - left / tau**2
        self.own_share_: Array = np.where(tau == 0, 0.0, np.where(np.isinf(tau), 1.0, share))
        return self

    def predict(self, X: Any, groups: Any) -> Labels:
        """Means (N,), or classes for "binomial"; a group that was never seen is answered by the shared coefficients."""
        mean = self._inverse(self._linear(X, groups))
        if self.family != "binomial":
            return mean
        found: Labels = self.classes_[(mean > 0.5).astype(int)]
        return found

    def predict_proba(self, X: Any, groups: Any) -> Array:
        """Probabilities of both classes (N, 2), "binomial" only."""
        if self.family != "binomial":
            raise ValueError(
                f"HierarchicalGLM(family={self.family!r}).predict_proba: only 'binomial' has probabilities"
            )
        second = self._inverse(self._linear(X, groups))
        return np.stack([1 - second, second], 1)

    def _linear(self, X: Any, groups: Any) -> Array:
        check_is_fitted(self, "coef_")
        x = rows("HierarchicalGLM", "X", X)
        named = labels("HierarchicalGLM", "groups", groups, len(x), why="each row belongs to one")
        if x.shape[1] != self.coef_.shape[1]:
            raise ValueError(
                f"HierarchicalGLM: rows of X have {x.shape[1]} numbers; it was fitted to {self.coef_.shape[1]}"
            )
        place = {name: n for n, name in enumerate(self.groups_.tolist())}
        known = np.concatenate([self._all, self._mean[None]])  # the last row is for groups never seen
        own = known[[place.get(name, len(place)) for name in named.tolist()]]
        found: Array = (self._with_intercept(x) * own).sum(1)
        return found

    def _with_intercept(self, x: Array) -> Array:
        return np.concatenate([np.ones((len(x), 1)), x], 1) if self.fit_intercept else x

    def _response(self, y: Labels) -> Array:
        """Labels as numbers that the family can have."""
        if self.family == "binomial":
            self.classes_ = np.unique(y)
            if len(self.classes_) != 2:
                raise ValueError(
                    f"HierarchicalGLM(family='binomial'): y has {len(self.classes_)} classes; two are accepted"
                )
            second: Array = (y == self.classes_[1]).astype(np.float64)
            return second
        if y.dtype.kind not in "fiub":
            raise TypeError(f"HierarchicalGLM(family={self.family!r}): y holds {y.dtype}; numbers are accepted")
        numbers: Array = y.astype(np.float64)
        if self.family == "poisson" and (numbers.min() < 0 or (numbers != np.round(numbers)).any()):
            raise ValueError(
                "HierarchicalGLM(family='poisson'): y has numbers that are no counts; 0, 1, 2, … are accepted"
            )
        return numbers

    def _spreads(self, parts: list[tuple[Array, Array]]) -> tuple[Array, float]:
        """tau (F,) and sigma: as given, or those of the greatest likelihood."""
        what, features = "HierarchicalGLM", parts[0][0].shape[1]
        count = sum(len(y) for _, y in parts)
        if self.sigma is not None and (self.family != "gaussian" or not 0 < self.sigma < math.inf):
            raise ValueError(f"{what}(sigma={self.sigma!r}): above 0, and for family='gaussian' only")
        if self.mean is not None and np.shape(self.mean) != (features,):
            raise ValueError(
                f"{what}(mean=…): {np.shape(self.mean)} was given; ({features},), one number a coefficient"
            )
        fixed = None
        if isinstance(self.tau, str):
            if self.tau not in ("one", "each"):
                raise ValueError(f"{what}(tau={self.tau!r}): accepted are 'one', 'each' and numbers from 0 on")
            if len(parts) < _LEAST_GROUPS:
                raise ValueError(
                    f"{what}(tau={self.tau!r}): there are {len(parts)} groups; at least {_LEAST_GROUPS} are needed to "
                    "see how much groups differ; give tau a number, such as 0.5"
                )
        else:
            given = np.asarray(self.tau, dtype=np.float64)
            if given.shape not in ((), (features,)) or np.isnan(given).any() or given.min() < 0:
                raise ValueError(f"{what}(tau={self.tau!r}): a number from 0 on, or {features} (the intercept's first)")
            fixed = np.broadcast_to(given, features).copy()
            _check_alone(parts, fixed)
        if count <= features:
            raise ValueError(f"{what}: {count} rows for {features} coefficients; at least {features + 1} are needed")
        if self.family != "gaussian":
            tau = fixed if fixed is not None else self._greatest(parts, features, scale=1.0)[0]
            return tau, 1.0
        pooled = self._residual(parts)
        if fixed is not None and self.sigma is not None:
            return fixed, float(self.sigma)
        if fixed is not None:
            return fixed, self._noise(parts, fixed, pooled)
        return self._greatest(parts, features, scale=pooled)

    def _greatest(self, parts: list[tuple[Array, Array]], features: int, scale: float) -> tuple[Array, float]:
        """tau and sigma of the greatest likelihood."""
        from scipy.optimize import minimize, minimize_scalar  # type: ignore[import-untyped]

        def spreads(logs: Array) -> Array:
            found: Array = scale * np.exp(np.broadcast_to(logs, features) / 2)
            return found

        def noise(tau: Array) -> float:
            if self.family != "gaussian":
                return 1.0
            return float(self.sigma) if self.sigma is not None else self._noise(parts, tau, scale)

        def loss(logs: Any) -> float:
            tau = spreads(np.atleast_1d(logs))
            return -self._likelihood(parts, tau, noise(tau))

        grid = np.linspace(_LOW, _HIGH, 14)
        middle = int(np.argmin([loss(log) for log in grid]))
        low, high = grid[max(0, middle - 1)], grid[min(len(grid) - 1, middle + 1)]
        best = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6})
        logs = np.array([best.x])
        if self.tau == "each":
            start = np.full(features, float(np.clip(best.x, -4, 4)))
            found = minimize(loss, start, method="L-BFGS-B", bounds=[(_LOW, _HIGH)] * features)
            logs = found.x
        tau = spreads(logs)
        tau = np.where(tau < 2 * scale * math.exp(_LOW / 2), 0.0, tau)  # at the lower end groups do not differ at all
        return tau, noise(tau)

    def _noise(self, parts: list[tuple[Array, Array]], tau: Array, scale: float) -> float:
        """sigma of the greatest restricted likelihood, for given tau."""
        from scipy.optimize import minimize_scalar

        tau = np.where(np.isinf(tau), 1e4 * scale, tau)  # the likelihood of an infinite one differs by a constant
        best = minimize_scalar(
            lambda log: -self._likelihood(parts, tau, scale * math.exp(log / 2)),
            bounds=(_LOW, 3.0), method="bounded", options={"xatol": 1e-7},
        )  # fmt: skip
        return float(scale * math.exp(best.x / 2))

    @staticmethod
    def _residual(parts: list[tuple[Array, Array]]) -> float:
        """What complete pooling leaves of y: a scale for tau and sigma."""
        x, y = np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])
        left = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
        return float(np.sqrt((left**2).mean())) or 1.0

    def _likelihood(self, parts: list[tuple[Array, Array]], tau: Array, sigma: float) -> float:
        """Logarithm of the (restricted, or approximate) likelihood of the spreads."""
        found = self._solve(parts, tau, sigma)
        total = 0.0 if self.mean is not None else -np.linalg.slogdet(found.information)[1] / 2
        for (x, y), own in zip(parts, found.coefficients):
            eta = x @ own
            weights = self._weights(eta, sigma)
            half = (x * tau).T * np.sqrt(weights)  # T^(1/2) X' W^(1/2)
            total -= np.linalg.slogdet(np.eye(len(tau)) + half @ half.T)[1] / 2
            moved = np.divide(own - found.mean, tau, out=np.zeros_like(tau), where=tau > 0)
            total += self._log_density(y, eta, sigma) - (moved**2).sum() / 2
        return float(total)

    def _solve(self, parts: list[tuple[Array, Array]], tau: Array, sigma: float) -> Pooled:
        """Mean and coefficients of the greatest posterior density."""
        sums = [self._sums(x, y, np.zeros(x.shape[1]), sigma, first=True) for x, y in parts]
        found = _pooled(sums, tau, self.mean)
        if self.family == "gaussian":
            return found
        for _ in range(200):
            before = found.coefficients
            found = _pooled(
                [self._sums(x, y, own, sigma) for (x, y), own in zip(parts, before)], tau, self.mean
            )  # fmt: skip
            change = np.abs(found.coefficients - before).max()
            if change < 1e-9 * (1 + np.abs(before).max()):
                return found
            if np.abs(found.coefficients).max() > 50:
                break
        warnings.warn(
            f"HierarchicalGLM(family={self.family!r}): the coefficients do not settle; a group without pooling may be "
            "told apart perfectly: use a finite tau",
            stacklevel=4,
        )
        return found

    def _sums(self, x: Array, y: Array, own: Array, sigma: float, *, first: bool = False) -> tuple[Array, Array]:
        """A and b of a group: those of least squares, or of one reweighted step from `own`."""
        if self.family == "gaussian":
            return x.T @ x / sigma**2, x.T @ y / sigma**2
        if first:  # from means between each label and the middle, as GLMs are begun
            mean = (y + 0.5) / 2 if self.family == "binomial" else y + 0.5
            eta = np.log(mean / (1 - mean)) if self.family == "binomial" else np.log(mean)
        else:
            eta = x @ own
            mean = self._inverse(eta)
        weights = self._weights(eta, sigma)
        working = eta + (y - mean) / weights
        return (x.T * weights) @ x, (x.T * weights) @ working

    def _inverse(self, eta: Array) -> Array:
        from scipy.special import expit  # type: ignore[import-untyped]

        if self.family == "gaussian":
            return eta
        found: Array = expit(eta) if self.family == "binomial" else np.exp(np.clip(eta, -50, 50))
        return found

    def _weights(self, eta: Array, sigma: float) -> Array:
        if self.family == "gaussian":
            return np.full(len(eta), 1 / sigma**2)
        mean = self._inverse(eta)
        return np.maximum(mean * (1 - mean) if self.family == "binomial" else mean, 1e-10)

    def _log_density(self, y: Array, eta: Array, sigma: float) -> float:
        from scipy.special import gammaln

        if self.family == "gaussian":
            return float(-((y - eta) ** 2).sum() / (2 * sigma**2) - len(y) * math.log(sigma * math.sqrt(2 * math.pi)))
        if self.family == "binomial":
            return float((y * eta - np.logaddexp(0, eta)).sum())
        return float((y * eta - np.exp(np.clip(eta, -50, 50)) - gammaln(y + 1)).sum())


def _pooled(sums: list[tuple[Array, Array]], tau: Array, mean: Any) -> Pooled:
    """The closed form of the notes, for A and b of each group; written so that tau may be 0 or infinite."""
    features = len(tau)
    eye = np.eye(features)
    finite = np.where(np.isinf(tau), 0.0, tau)
    precision = np.where(np.isinf(tau), 0.0, 1.0)  # of the scaled coefficients u = (w - m) / tau
    scale = np.where(np.isinf(tau), 1.0, finite)
    information, right = np.zeros((features, features)), np.zeros(features)
    inner = []
    for a, b in sums:
        # covariance of w about m: S (S A S + P)^-1 S, S = diag(tau)
        covariance = scale[:, None] * np.linalg.solve(scale[:, None] * a * scale + np.diag(precision), eye) * scale
        information += a - a @ covariance @ a
        right += b - a @ covariance @ b
        inner.append(covariance)
    free = np.isinf(tau)
    if mean is not None:
        middle: Array = np.asarray(mean, dtype=np.float64)
    else:
        # A coefficient that is not pooled at all has no mean: that of the groups' own takes its place below.
        kept = ~free
        middle = np.zeros(features)
        if kept.any():
            middle[kept] = np.linalg.lstsq(information[np.ix_(kept, kept)], right[kept], rcond=None)[0]
    own = np.stack([middle + covariance @ (b - a @ middle) for (a, b), covariance in zip(sums, inner)])
    if mean is None and free.any():
        middle = np.where(free, own.mean(0), middle)
    return Pooled(middle, own, information, np.stack(inner))


def _check_alone(parts: list[tuple[Array, Array]], tau: Array) -> None:
    """Without pooling each group must do with its own rows."""
    free = np.isinf(tau)
    if free.any():
        short = [len(y) for x, y in parts if np.linalg.matrix_rank(x[:, free]) < free.sum()]
        if short:
            raise ValueError(
                f"HierarchicalGLM(tau=inf): a group has {min(short)} rows for {free.sum()} coefficients of its own; at "
                f"least {free.sum()} rows in each, none a copy of others, are needed: pool with a finite tau"
            )
