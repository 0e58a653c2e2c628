"""How far apart the features of two domains are, as losses to be made small: multi-kernel MMD and Deep CORAL.

Sources: Long, Cao, Wang & Jordan 2015, "Learning Transferable Features with Deep Adaptation Networks"
(arXiv:1502.02791); Sun & Saenko 2016, "Deep CORAL" (arXiv:1607.01719).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)


def mk_mmd(
    source: torch.Tensor,
    target: torch.Tensor,
    *,
    factors: Sequence[float] = FACTORS,
    bandwidth: float | None = None,
) -> torch.Tensor:
    """Squared maximum mean discrepancy under a mean of Gaussian kernels, unbiased, with gradients.

    >>> draws = torch.Generator().manual_seed(0)
    >>> x, y = torch.randn(60, 5, generator=draws), torch.randn(50, 5, generator=draws)  # (N, F), (M, F)
    >>> bool(mk_mmd(x, y) < 0.02 < 0.1 < mk_mmd(x, y + 1))
    True

    Parameters
    ----------
    source, target
        (N, F) and (M, F).
    factors
        Of the kernels' squared bandwidths.
    bandwidth
        Of the kernel with factor 1, exp(-|a - b|² / (2 bandwidth²)); by default that whose square is the mean squared
        distance between two rows of both, as a constant without gradient.

    Returns
    -------
    Tensor
        One number; unbiased, so it may be a little below 0.

    Raises
    ------
    ValueError
        Features of different sizes, fewer than 2 rows a side, or factors that are not above 0.

    Notes
    -----
    Long et al. 2015, eq. 2 and 3. The paper takes 33 factors, learns the kernels' shares by a quadratic program and
    estimates in linear time, from a few of the pairs; we take five in equal shares, and all pairs.
    """
    _check("mk_mmd", source, target)
    if not factors or min(factors) <= 0:
        raise ValueError(f"mk_mmd(factors={tuple(factors)}): numbers above 0 are accepted, such as {FACTORS}")
    with torch.autocast(source.device.type, enabled=False):
        both = torch.cat([_precise(source), _precise(target)])
        n, m = len(source), len(target)
        both = both - both.detach().mean(0)  # distances from products lose digits far from the origin
        lengths = both.square().sum(1)
        apart = (lengths[:, None] + lengths - 2 * both @ both.T).clamp(min=0)
        if bandwidth is None:
            square = apart.detach().sum() / ((n + m) * (n + m - 1))
            square = torch.where(square > 0, square, torch.ones_like(square))
        else:
            square = apart.new_tensor(bandwidth**2)
        kernel = torch.stack([torch.exp(apart / (-2 * factor * square)) for factor in factors]).mean(0)
        mine, theirs, across = kernel[:n, :n], kernel[n:, n:], kernel[:n, n:]
        within = (mine.sum() - mine.diagonal().sum()) / (n * (n - 1))
        return within + (theirs.sum() - theirs.diagonal().sum()) / (m * (m - 1)) - 2 * across.mean()


def coral_loss(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Squared Frobenius distance of the covariances over 4 F², with gradients.

    >>> x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])  # (4, 2)
    >>> coral_loss(x, 2 * x)  # covariances 2/3 and 8/3 times the identity
    tensor(0.5000)

    Parameters
    ----------
    source, target
        (N, F) and (M, F).

    Raises
    ------
    ValueError
        Features of different sizes, or fewer than 2 rows a side.

    Notes
    -----
    Sun & Saenko 2016, eq. 1 to 3. Means do not count. `shift.coral_distance` measures the same, without gradients.
    """
    _check("coral_loss", source, target)
    with torch.autocast(source.device.type, enabled=False):
        covariances = []
        for rows in (_precise(source), _precise(target)):
            centred = rows - rows.mean(0)
            covariances.append(centred.T @ centred / (len(rows) - 1))
        return (covariances[0] - covariances[1]).square().sum() / (4 * source.shape[1] ** 2)


def _precise(rows: torch.Tensor) -> torch.Tensor:
    return rows if rows.dtype == torch.float64 else rows.float()


def _check(what: str, source: torch.Tensor, target: torch.Tensor) -> None:
    if source.ndim != 2 or target.ndim != 2 or source.shape[1] != target.shape[1]:
        shapes = f"{tuple(source.shape)} and {tuple(target.shape)}"
        raise ValueError(f"{what}: source and target are {shapes}; (N, F) and (M, F) are accepted")
    if min(len(source), len(target)) < 2:
        raise ValueError(f"{what}: {len(source)} source and {len(target)} target rows; at least 2 of each are needed")
