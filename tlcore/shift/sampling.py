"""Another P(Y) from the same rows: repeat those of rare classes, or leave out those of frequent ones.

Source: Japkowicz & Stephen 2002, "The class imbalance problem: A systematic study" (section 4, the two resamplings).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tlcore.shift.label_shift import checked_prior
from tlcore.worlds.dataset import Dataset

Prior = torch.Tensor | Sequence[float]


def oversample(data: Dataset, *, prior: Prior | None = None, size: int | None = None, seed: int = 0) -> Dataset:
    """Classes as frequent as asked, by repeating rows of those that are too rare.

    >>> data = Dataset(torch.arange(6.0)[:, None], torch.tensor([0, 0, 0, 0, 1, 1]), ("cat", "dog"))  # (N, 1), (N,)
    >>> oversample(data).counts().tolist(), oversample(data, prior=[0.25, 0.75]).counts().tolist()
    ([4, 4], [4, 12])

    Parameters
    ----------
    data
        With class numbers (N,) as targets.
    prior
        Shares of the classes (K,); all equal by default. A share of 0 leaves the class out.
    size
        Rows in all; by default as few as keep every row of the classes that stay.
    seed
        Of the choice of rows.

    Returns
    -------
    Dataset
        In the old order. Within a class, no row comes twice more often than another.

    Raises
    ------
    ValueError
        No classes, a prior that is none, a class that has a share and no rows, or a size below 1.

    Notes
    -----
    Split off validation rows first: copies of one row on both sides would judge the training by itself.
    """
    counts, shares = _checked("oversample", data, prior)
    if size is None:
        wanted = (shares * max(n / s for n, s in zip(counts.tolist(), shares.tolist()) if s > 0)).round().long()
    elif size < 1:
        raise ValueError(f"oversample(size={size}): from 1 on is accepted, such as {len(data)}")
    else:
        wanted = _apportion(shares, size)
    return _drawn(data, wanted, seed)


def undersample(data: Dataset, *, prior: Prior | None = None, seed: int = 0) -> Dataset:
    """Classes as frequent as asked, by leaving out rows of those that are too frequent.

    >>> data = Dataset(torch.arange(6.0)[:, None], torch.tensor([0, 0, 0, 0, 1, 1]), ("cat", "dog"))  # (N, 1), (N,)
    >>> undersample(data).counts().tolist(), undersample(data, prior=[0.25, 0.75]).counts().tolist()
    ([2, 2], [1, 2])

    Parameters
    ----------
    data
        With class numbers (N,) as targets.
    prior
        Shares of the classes (K,); all equal by default. A share of 0 leaves the class out.
    seed
        Of the choice of rows.

    Returns
    -------
    Dataset
        As many rows as the prior allows, in the old order, none twice.

    Raises
    ------
    ValueError
        No classes, a prior that is none, or a class that has a share and no rows.
    """
    counts, shares = _checked("undersample", data, prior)
    total = min(n / s for n, s in zip(counts.tolist(), shares.tolist()) if s > 0)
    return _drawn(data, (shares * total).round().long(), seed)


def _checked(what: str, data: Dataset, prior: Prior | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Counts and wanted shares of the classes, on the CPU."""
    if not data.classes or data.targets.ndim != 1:
        raise ValueError(f"{what}: this dataset has no classes; one with class numbers (N,) and names is accepted")
    counts, number = data.counts().cpu(), len(data.classes)
    even = torch.full((number,), 1 / number)
    shares = checked_prior(what, "prior", even if prior is None else prior, number).cpu()
    empty = [name for name, n, s in zip(data.classes, counts.tolist(), shares.tolist()) if s > 0 and not n]
    if empty:
        more = "give it a prior of 0, or drop it by data.subset(classes=…)"
        raise ValueError(f"{what}: there is no row of {', '.join(empty[:6])} to draw from; {more}")
    return counts, shares


def _apportion(shares: torch.Tensor, size: int) -> torch.Tensor:
    """Whole numbers of sum `size` nearest to the shares: largest remainders first."""
    exact = shares * size
    wanted = (exact + 1e-9).floor().long()
    extra = (exact - wanted).argsort(descending=True, stable=True)[: size - int(wanted.sum())]
    wanted[extra] += 1
    return wanted


def _drawn(data: Dataset, wanted: torch.Tensor, seed: int) -> Dataset:
    draws = torch.Generator().manual_seed(seed)
    targets, kept = data.targets.cpu(), []
    for number, count in enumerate(wanted.tolist()):
        rows = (targets == number).nonzero()[:, 0]
        if count:
            order = rows[torch.randperm(len(rows), generator=draws)]
            kept.append(order.repeat(-(-count // len(rows)))[:count])
    return data[torch.cat(kept).sort().values]
