"""The tensor-train format by hand: Oseledets 2011, Tensor-Train Decomposition (SIAM J. Sci. Comput. 33, 2295).

A tensor A(i_1, ..., i_d) is a product of one small matrix for each index, G_1(i_1) G_2(i_2) ... G_d(i_d), of sizes
1 x r_1, r_1 x r_2, ..., r_{d-1} x 1. The cores G_k have shapes (r_{k-1}, n_k, r_k).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch

from tlcore.compress.ranks import Rule, rule, smallest_rank, tail_of

Rank = int | Sequence[int]


def tt_svd(
    tensor: torch.Tensor,
    *,
    rank: Rank | None = None,
    energy: float | None = None,
    size: float | None = None,
    error: float | None = None,
) -> list[torch.Tensor]:
    """The cores of a tensor train, by one SVD after another (Oseledets 2011, algorithm 1).

    Examples
    --------
    >>> i, j, k = torch.meshgrid(*[torch.arange(8.0)] * 3, indexing="ij")
    >>> cores = tt_svd(i + 2 * j + 3 * k, error=1e-5)                 # (8, 8, 8): a sum has ranks of 2
    >>> [tuple(core.shape) for core in cores]
    [(1, 8, 2), (2, 8, 2), (2, 8, 1)]
    >>> torch.allclose(tt_tensor(cores), i + 2 * j + 3 * k, atol=1e-3)
    True

    Parameters
    ----------
    tensor : Tensor (n_1, ..., n_d)
    rank, energy, size, error
        Exactly one. `rank`: all ranks r_1 ... r_{d-1}, or one number that none exceeds. `error`: at most so far from
        the tensor, relative to its norm. `energy`: the same as an error of sqrt(1 - energy). `size`: the largest single
        rank for which the cores hold at most this share of the tensor's numbers.

    Returns
    -------
    list of Tensor (r_{k-1}, n_k, r_k)
        All but the last are orthogonal: unfolded to (r_{k-1} n_k, r_k), their columns are orthonormal.

    Raises
    ------
    ValueError
        For a tensor without axes, a rule out of range, a rank larger than the unfolding allows, or a size that not even
        rank 1 fits.
    """
    chosen = rule("tt_svd", rank=rank, energy=energy, size=size, error=error)
    return cores_of(tensor, chosen, "tt_svd")


def cores_of(tensor: torch.Tensor, chosen: Rule, where: str) -> list[torch.Tensor]:
    """The cores by a rule already checked; `where` begins the sentence of an error."""
    modes = tuple(tensor.shape)
    if not modes or not all(modes):
        raise ValueError(
            f"{where}: a tensor of shape {modes} was given; one with at least one axis and no empty one is accepted"
        )
    bounds = _bounds(modes, chosen, where)
    # The squared errors of the d - 1 cuts add up (Oseledets 2011, theorem 2.2), so each may take its share.
    tail = tail_of(chosen) / max(1, len(modes) - 1) if bounds is None else 0.0
    allowed = tail * float(tensor.double().square().sum())
    cores, rest, before = [], tensor, 1
    for k, n in enumerate(modes[:-1]):
        left, values, right = torch.linalg.svd(rest.reshape(before * n, -1), full_matrices=False)
        if bounds is None:
            total = float(values.double().square().sum())
            r = smallest_rank(values, min(1.0, allowed / total) if total else 0.0)
        else:
            r = min(bounds[k], len(values))
        cores.append(left[:, :r].reshape(before, n, r))
        rest, before = values[:r, None] * right[:r], r
    return [*cores, rest.reshape(before, modes[-1], 1)]


def tt_tensor(cores: Sequence[torch.Tensor]) -> torch.Tensor:
    """The tensor (n_1, ..., n_d) of a train: all its cores multiplied out.

    >>> tt_tensor([torch.ones(1, 2, 3), torch.ones(3, 5, 1)]).shape
    torch.Size([2, 5])

    Raises
    ------
    ValueError
        If the cores do not fit each other.
    """
    shapes = [tuple(core.shape) for core in cores]
    ends = [1, *(shape[-1] for shape in shapes)]
    if not shapes or any(len(s) != 3 or s[0] != end for s, end in zip(shapes, ends)) or ends[-1] != 1:
        raise ValueError(
            f"tt_tensor: cores of shapes {shapes}; (1, n_1, r_1), (r_1, n_2, r_2), …, (r, n_d, 1) are accepted"
        )
    whole = cores[0]
    for core in cores[1:]:
        whole = torch.tensordot(whole, core, dims=1)  # (1, n_1, ..., n_k, r_k)
    return whole.reshape(tuple(n for _, n, _ in shapes))


def full_ranks(modes: Sequence[int]) -> tuple[int, ...]:
    """The ranks that are always enough: the smaller side of each unfolding.

    >>> full_ranks((4, 4, 4, 4))
    (4, 16, 4)
    """
    return tuple(min(math.prod(modes[:k]), math.prod(modes[k:])) for k in range(1, len(modes)))


def capped(modes: Sequence[int], rank: int) -> tuple[int, ...]:
    """Ranks of at most `rank`, none above what its neighbours and its mode allow.

    >>> capped((4, 4, 4, 4), 8), capped((256, 3, 3, 512), 1000)
    ((4, 8, 4), (256, 768, 512))
    """
    return tuple(min(rank, most) for most in full_ranks(modes))


def train_size(modes: Sequence[int], ranks: Sequence[int]) -> int:
    """How many numbers the cores hold: the sum of r_{k-1} n_k r_k.

    >>> train_size((64, 64, 64, 64), (8, 8, 8))
    9216
    """
    return sum(a * n * b for n, (a, b) in zip(modes, pairwise((1, *ranks, 1))))


def rank_of_size(modes: Sequence[int], share: float) -> int:
    """The largest single rank whose cores hold at most a share of the tensor's numbers; 0 if not even 1 does."""
    most, allowed = max(full_ranks(modes), default=1), share * math.prod(modes) + 1e-9
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if train_size(modes, capped(modes, middle)) <= allowed else (low, middle - 1)
    return low


def _bounds(modes: tuple[int, ...], chosen: Rule, where: str) -> tuple[int, ...] | None:
    """The rank of each cut where the rule fixes it beforehand."""
    if chosen.by == "size":
        best = rank_of_size(modes, chosen.value)
        if not best:
            least = train_size(modes, capped(modes, 1)) / math.prod(modes)
            raise ValueError(f"{where}: size={chosen.value} is less than rank 1 needs; nearest: size={least:.2g}")
        return capped(modes, best)
    if chosen.by != "rank":
        return None
    full, value = full_ranks(modes), chosen.value
    if isinstance(value, int):
        if full and value > max(full):
            raise ValueError(
                f"{where}: rank {value} is larger than every unfolding of {'x'.join(map(str, modes))}, whose ranks "
                f"are at most {full}; nearest: rank={max(full)}"
            )
        return capped(modes, value)
    given = tuple(value)
    if len(given) != len(full):
        raise ValueError(
            f"{where}: rank={given} has {len(given)} numbers; {len(full)} are needed for {len(modes)} axes"
        )
    ranks: Any = (1, *given, 1)
    for k, (r, most) in enumerate(zip(given, full)):
        most = min(most, ranks[k] * modes[k])
        if r > most:
            raise ValueError(
                f"{where}: rank={given}: number {k + 1} is larger than its unfolding allows, at most {most}; "
                f"nearest: {(*given[:k], most, *given[k + 1 :])}"
            )
    return given
