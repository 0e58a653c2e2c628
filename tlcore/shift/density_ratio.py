"""How much more often the target has such a row than the source: w(x) = p_T(x) / p_S(x) for the source's rows.

Losses weighted by w are, in the mean, the target's losses (Shimodaira 2000): the remedy for a covariate shift.

Sources: Bickel et al. 2009, "Discriminative Learning Under Covariate Shift"; Sugiyama et al. 2008, "Direct importance
estimation for covariate shift adaptation"; Kish 1965, "Survey Sampling".
"""

from __future__ import annotations

import math

import torch

from tlcore.shift.divergences import as_rows, median_distance, squared_distances
from tlcore.shift.threads import one_blas_thread

_STRENGTHS = tuple(10.0**n for n in range(-2, 6))
_WIDTHS = (0.15, 0.25, 0.4, 0.65, 1.0, 1.6, 2.5)  # in median distances
_FOLDS = 5
_STEPS = 1000


@one_blas_thread
def logistic_ratio(
    source: torch.Tensor,
    target: torch.Tensor,
    *,
    strength: float | None = None,
    degree: int = 1,
    seed: int = 0,
) -> torch.Tensor:
    """Importance weights from a logistic regression that tells the target's rows from the source's.

    >>> draws = torch.Generator().manual_seed(0)
    >>> x = torch.randn(1000, 2, generator=draws)  # (N, F)
    >>> y = torch.randn(800, 2, generator=draws) + torch.tensor([1.0, 0.0])  # (M, F)
    >>> w = logistic_ratio(x, y)  # (N,); the true logarithm is x[:, 0] - 1/2
    >>> w.shape, bool(abs((w[:, None] * x).mean(0) - y.mean(0)).max() < 0.2)
    (torch.Size([1000]), True)

    Parameters
    ----------
    source, target
        (N, ...) and (M, ...), rows of one shape.
    strength
        Of the L2 penalty (one over scikit-learn's C) on standardised features. By default that of the best held-out
        likelihood among 0.01 to 100 000, in five folds.
    degree
        1: the logarithm of w is linear in x, as for Gaussians of equal covariance. 2: with all squares and products,
        as for any two Gaussians; F (F + 3) / 2 features.
    seed
        Of the folds.

    Returns
    -------
    Tensor
        w (N,), of mean 1, on the source's device.

    Raises
    ------
    ValueError
        Rows of different shapes, fewer than 2 rows, numbers that are not finite, a negative strength, or a degree
        other than 1 and 2.

    Notes
    -----
    Bickel et al. 2009, section 4: by Bayes' rule p_T(x) / p_S(x) is P(target|x) / P(source|x) times N / M.
    """
    if strength is not None and not 0 < strength < math.inf:
        raise ValueError(
            f"logistic_ratio(strength={strength!r}): above 0 is accepted, or None to choose by held-out data"
        )
    if degree not in (1, 2):
        raise ValueError(
            f"logistic_ratio(degree={degree!r}): accepted are 1 (linear) and 2 (with squares and products)"
        )
    x, y = as_rows("logistic_ratio", source, target)
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold

    rows, domains = torch.cat([x, y]), [0] * len(x) + [1] * len(y)
    if degree == 2:
        rows = _standard(rows)
        pairs = torch.triu_indices(rows.shape[1], rows.shape[1], device=rows.device)
        rows = torch.cat([rows, rows[:, pairs[0]] * rows[:, pairs[1]]], 1)
    features = _standard(rows).cpu().numpy()
    if strength is None:
        folds = StratifiedKFold(min(_FOLDS, len(x), len(y)), shuffle=True, random_state=seed)
        grid = {"C": [1 / s for s in _STRENGTHS]}
        search = GridSearchCV(LogisticRegression(max_iter=1000), grid, scoring="neg_log_loss", cv=folds, refit=False)
        strength = 1 / search.fit(features, domains).best_params_["C"]
    fitted = LogisticRegression(C=1 / strength, max_iter=1000).fit(features, domains)
    # N / M is a constant factor of every weight, and so is gone once their mean is 1.
    logs = torch.from_numpy(fitted.decision_function(features[: len(x)]))
    return _returned(torch.softmax(logs, 0) * len(x), source)


def kliep(
    source: torch.Tensor,
    target: torch.Tensor,
    *,
    bandwidth: float | None = None,
    centres: int = 100,
    seed: int = 0,
) -> torch.Tensor:
    """Importance weights by the Kullback-Leibler importance estimation procedure: no model of either density.

    >>> draws = torch.Generator().manual_seed(0)
    >>> x = torch.randn(500, 2, generator=draws)  # (N, F)
    >>> y = 0.7 * torch.randn(400, 2, generator=draws) + torch.tensor([0.7, 0.0])  # (M, F)
    >>> w = kliep(x, y)  # (N,)
    >>> w.shape, bool(abs((w[:, None] * x).mean(0) - y.mean(0)).max() < 0.2)
    (torch.Size([500]), True)

    Parameters
    ----------
    source, target
        (N, ...) and (M, ...), rows of one shape. One bandwidth serves all features: bring them to one scale first.
    bandwidth
        Of the kernels exp(-|x - centre|² / (2 bandwidth²)), in units of the inputs. By default that of the best
        held-out likelihood in five folds among 0.15 to 2.5 times the median distance of two rows of the pooled sample.
    centres
        How many kernels; they stand on target rows, drawn without repeating.
    seed
        Of the centres and the folds.

    Returns
    -------
    Tensor
        w (N,), of mean 1, on the source's device.

    Raises
    ------
    ValueError
        Rows of different shapes, fewer than 2 rows, numbers that are not finite, a bandwidth not above 0, no centres,
        or no source row near any target row.

    Notes
    -----
    Sugiyama et al. 2008, eq. 9 and figure 1: w(x) = sum_l a_l k_l(x) such that the mean of log w over the target is
    greatest, under a >= 0 and a mean of w over the source of 1. With b_l the mean of k_l over the source, this is the
    likelihood of a mixture of the k_l / b_l with shares a_l b_l. So we climb by that mixture's EM step in place of
    their projected gradient: multiplicative, without a step size, never outside the constraints. The problem is convex,
    the maximum the same.
    """
    x, y = as_rows("kliep", source, target)
    if bandwidth is not None and not 0 < bandwidth < math.inf:
        raise ValueError(
            f"kliep(bandwidth={bandwidth!r}): a distance above 0 is accepted, or None to choose by likelihood"
        )
    if centres < 1:
        raise ValueError(f"kliep(centres={centres}): from 1 on is accepted, such as 100")
    draws = torch.Generator().manual_seed(seed)
    pooled = torch.cat([x, y])
    middle = pooled.mean(0)
    x, y = x - middle, y - middle  # distances from products lose digits far from the origin
    order = torch.randperm(len(y), generator=draws).to(y.device)
    chosen = y[order[:centres]]
    near, far = squared_distances(y, chosen), squared_distances(x, chosen)  # (M, L), (N, L)
    if bandwidth is None:
        fold = (torch.randperm(len(y), generator=draws) % min(_FOLDS, len(y))).to(y.device)
        median = median_distance([pooled], draws)
        widths = [factor * median for factor in _WIDTHS]
        bandwidth = max(widths, key=lambda width: _held_out(near, far, width, fold))
    table, expected = _table(near, far, bandwidth)
    share = _climb(table, table.new_ones(1, len(y)))[0]
    weights = torch.exp(far * (-0.5 / bandwidth**2)) @ (share / expected)
    if not float(weights.sum()) > 0:
        raise ValueError(
            f"kliep: no source row is near a target row at bandwidth {bandwidth:.3g}: the samples do not overlap"
        )
    return _returned(weights / weights.mean(), source)


def effective_size(weights: torch.Tensor) -> float:
    """How many rows of equal weight would give a mean as sure as these weighted rows do.

    >>> effective_size(torch.ones(50))
    50.0
    >>> effective_size(torch.tensor([1.0, 1.0, 0.0, 0.0]))
    2.0

    Parameters
    ----------
    weights
        (N,), non-negative, not all 0; their scale does not matter.

    Returns
    -------
    float
        From 1 to N: (sum of w)² / sum of w² (Kish 1965, section 11.7).

    Raises
    ------
    ValueError
        Another shape, negative weights, weights that are not finite, or none above 0.
    """
    given = weights.detach().cpu().double()
    if given.ndim != 1 or len(given) == 0:
        raise ValueError(f"effective_size: weights are {tuple(weights.shape)}; one a row, (N,), is accepted")
    if not bool(given.isfinite().all()) or float(given.min()) < 0 or float(given.max()) == 0:
        low, high = float(given.min()), float(given.max())
        raise ValueError(f"effective_size: weights go from {low:.3g} to {high:.3g}; from 0 on, not all 0, is accepted")
    given = given / given.max()
    return float(given.sum() ** 2 / given.square().sum())


def _standard(rows: torch.Tensor) -> torch.Tensor:
    return (rows - rows.mean(0)) / rows.std(0).clamp(min=1e-12)


def _returned(weights: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    kind = source.dtype if source.is_floating_point() else torch.get_default_dtype()
    return weights.to(kind).to(source.device)


def _table(near: torch.Tensor, far: torch.Tensor, width: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Kernels at the target's rows over their means over the source's (M, L), and those means (L,)."""
    scale = -0.5 / width**2
    expected = torch.exp(far * scale).mean(0).clamp(min=1e-100)
    return torch.exp(near * scale) / expected, expected


def _climb(table: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Shares (B, L) of the mixture under which the rows of the table (M, L) that are marked (B, M) are likeliest."""
    share = table.new_full((len(rows), table.shape[1]), 1 / table.shape[1])
    rows = rows / rows.sum(1, keepdim=True)
    for _ in range(_STEPS):
        following = share * ((rows / (share @ table.T).clamp(min=1e-300)) @ table)
        change = float((following - share).abs().max())
        share = following
        if change < 1e-6:
            break
    return share / share.sum(1, keepdim=True)


def _held_out(near: torch.Tensor, far: torch.Tensor, width: float, fold: torch.Tensor) -> float:
    """Mean of log w over target rows whose fold did not choose the shares; all folds at once."""
    test = (fold == fold.unique()[:, None]).to(near)  # (B, M)
    table, _ = _table(near, far, width)
    likelihood = (_climb(table, 1 - test) @ table.T).clamp(min=1e-300)
    return float((test * likelihood.log()).sum() / len(fold))
