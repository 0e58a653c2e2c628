"""Feature-representation transfer between subspaces: rotate the source's main directions onto the target's.

Source: Fernando, Habrard, Sebban & Tuytelaars 2013, "Unsupervised Visual Domain Adaptation Using Subspace Alignment".
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from tlcore.transfer.alignment import Side, side_rows
from tlcore.transfer.given import Array, both


class SubspaceAlignment(BaseEstimator):
    """Describe each side by its own principal components, and turn the source's towards the target's.

    >>> draws = np.random.default_rng(0)
    >>> Xs, Xt = draws.normal(size=(50, 6)), draws.normal(size=(40, 6))  # (N, F), (M, F)
    >>> both = SubspaceAlignment(2).fit(Xs, None, Xt)
    >>> both.transform(Xs, "source").shape, both.transform(Xt).shape, both.map_.shape
    ((50, 2), (40, 2), (2, 2))

    Setting: transductive (P(X) differs). Knowledge: feature representation. Labels: none for the alignment.

    Parameters
    ----------
    components
        d, the size of both subspaces.

    Attributes
    ----------
    source_axes_, target_axes_
        P_S and P_T (F, d), orthonormal columns, the leading first.
    map_
        M = P_S' P_T (d, d).

    Raises
    ------
    ValueError, TypeError
        Rows of different shapes, too few rows for so many components (the number needed is said), numbers that are not
        finite.

    Notes
    -----
    Equations 1 to 3: M is the minimiser of |P_S M - P_T|_F; source rows become X P_S M, target rows X P_T. Each side is
    centred first, as the paper's standardised data are; bring features to one scale before.
    """

    def __init__(self, components: int = 10) -> None:
        self.components = components

    def fit(self, Xs: Any, ys: Any, Xt: Any, yt: Any = None) -> SubspaceAlignment:
        """Learn from rows (N, ...) and (M, ...); labels are not looked at."""
        what, count = "SubspaceAlignment", self.components
        if type(count) is not int or count < 1:
            raise ValueError(f"{what}(components={count!r}): a whole number from 1 on is accepted")
        x, y = both(what, Xs, Xt, least=count + 1)  # a sample of n rows spans n - 1 directions around its mean
        if count > x.shape[1]:
            raise ValueError(
                f"{what}(components={count}): rows have {x.shape[1]} numbers; as many at most are accepted"
            )
        self.source_mean_, self.target_mean_ = x.mean(0), y.mean(0)
        self.source_axes_, self.target_axes_ = _axes(x, count), _axes(y, count)
        self.map_: Array = self.source_axes_.T @ self.target_axes_
        return self

    def transform(self, X: Any, side: Side = "target") -> Array:
        """Coordinates (N, d) in the target's subspace."""
        check_is_fitted(self, "map_")
        x = side_rows("SubspaceAlignment", X, side, len(self.source_axes_))
        if side == "source":
            turned: Array = (x - self.source_mean_) @ self.source_axes_ @ self.map_
            return turned
        own: Array = (x - self.target_mean_) @ self.target_axes_
        return own


def _axes(x: Array, count: int) -> Array:
    """Leading principal directions as columns (F, count)."""
    axes: Array = np.linalg.svd(x - x.mean(0), full_matrices=False)[2][:count].T
    return axes
