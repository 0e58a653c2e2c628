"""Feature-representation transfer in a kernel space: few components in which the domains' means coincide.

Source: Pan, Tsang, Kwok & Yang 2011, "Domain Adaptation via Transfer Component Analysis".
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from tlcore import shift
from tlcore.transfer.alignment import Side, side_rows
from tlcore.transfer.given import Array, both

_MOST = 6000  # rows of both sides: a few matrices of 290 MB


class TCA(BaseEstimator):
    """Components that keep much variance and little of what tells the domains apart.

    >>> draws = np.random.default_rng(0)
    >>> Xs = draws.normal(size=(60, 5))  # (N, F)
    >>> Xt = draws.normal(size=(40, 5)) + [4, 0, 0, 0, 0]  # (M, F)
    >>> tca = TCA(2, mu=0.1).fit(Xs, None, Xt)
    >>> source, target = tca.transform(Xs, "source"), tca.transform(Xt)
    >>> source.shape, target.shape, bool(abs(source.mean(0) - target.mean(0)).max() < 0.1)
    ((60, 2), (40, 2), True)

    Setting: transductive (P(X) differs). Knowledge: feature representation. Labels: none for the alignment.

    Parameters
    ----------
    components
        m.
    kernel
        "linear", or "rbf": exp(-|a - b|² / (2 bandwidth²)).
    bandwidth
        Of "rbf"; default the median distance between two rows of the pooled sample.
    mu
        Weight of the penalty on the size of the components, in the paper's eq. 8.

    Attributes
    ----------
    vectors_
        W (N + M, m), the weights of the pooled rows.
    values_
        Their eigenvalues, falling (m,).

    Raises
    ------
    ValueError, TypeError
        Rows of different shapes, too few rows for so many components, more than 6000 rows in all, a kernel that is not
        known, a bandwidth or `mu` not above 0.

    Notes
    -----
    Eq. 8 and what follows: W holds the leading eigenvectors of (K L K + mu I)^-1 K H K. K is the kernel matrix of the
    pooled rows; L[i, j] is 1/N², 1/M² or -1/(NM), so that tr(W' K L K W) is the squared distance of the means; H
    centres. New rows are k(x, pooled) W. We scale each column so that the pooled sample has variance 1 in it.
    """

    def __init__(
        self,
        components: int = 10,
        *,
        kernel: Literal["rbf", "linear"] = "rbf",
        bandwidth: float | None = None,
        mu: float = 1.0,
    ) -> None:
        self.components, self.kernel, self.bandwidth, self.mu = components, kernel, bandwidth, mu

    def fit(self, Xs: Any, ys: Any, Xt: Any, yt: Any = None) -> TCA:
        """Learn from rows (N, ...) and (M, ...); labels are not looked at."""
        from scipy.linalg import eigh  # type: ignore[import-untyped]

        x, y = both("TCA", Xs, Xt)
        self._check(len(x) + len(y))
        self.rows_: Array = np.concatenate([x, y])
        self.bandwidth_ = self.bandwidth or shift.divergences.median_distance(
            [torch.from_numpy(self.rows_)], torch.Generator().manual_seed(0)
        )
        k = self._kernel(self.rows_)  # (N + M, N + M)
        count = len(k)
        marks = np.concatenate([np.full(len(x), 1 / len(x)), np.full(len(y), -1 / len(y))])
        apart = k @ marks  # K L K is the outer product of this with itself
        centred = k - k.mean(0)
        kept = k @ centred
        values, vectors = eigh(
            (kept + kept.T) / 2,
            np.outer(apart, apart) + self.mu * np.eye(count),
            subset_by_index=[count - self.components, count - 1],
        )
        vectors = vectors[:, ::-1]
        spread = (k @ vectors).std(0)
        self.vectors_: Array = vectors / np.where(spread > 0, spread, 1)
        self.values_: Array = values[::-1]
        return self

    def transform(self, X: Any, side: Side = "target") -> Array:
        """Components (N, m); both sides are treated alike."""
        check_is_fitted(self, "vectors_")
        moved: Array = self._kernel(side_rows("TCA", X, side, self.rows_.shape[1])) @ self.vectors_
        return moved

    def _kernel(self, x: Array) -> Array:
        products: Array = x @ self.rows_.T
        if self.kernel == "linear":
            return products
        squares = (x**2).sum(1)[:, None] + (self.rows_**2).sum(1) - 2 * products
        found: Array = np.exp(-np.maximum(squares, 0) / (2 * self.bandwidth_**2))
        return found

    def _check(self, count: int) -> None:
        if type(self.components) is not int or self.components < 1:
            raise ValueError(f"TCA(components={self.components!r}): a whole number from 1 on is accepted")
        if count <= self.components:
            raise ValueError(
                f"TCA(components={self.components}): source and target have {count} rows together; at least "
                f"{self.components + 1} are needed"
            )
        if count > _MOST:
            raise ValueError(
                f"TCA: source and target have {count} rows together, and a matrix of that many rows and columns is "
                f"needed; up to {_MOST} are accepted: draw a sample"
            )
        if self.kernel not in ("rbf", "linear"):
            raise ValueError(f"TCA(kernel={self.kernel!r}): accepted are 'rbf' and 'linear'")
        for name, value in (("bandwidth", self.bandwidth), ("mu", self.mu)):
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"TCA({name}={value!r}): a number above 0 is accepted")
