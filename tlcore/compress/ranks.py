"""How a rank is chosen: given outright, or as small as an energy, a size or an error allows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

WAYS = "rank=, energy=, size= or error="


class Rule(NamedTuple):
    """One of the four ways to choose a rank, and its value."""

    by: str
    value: Any


def rule(function: str, *, rank: Any = None, energy: Any = None, size: Any = None, error: Any = None) -> Rule:
    """The one rule that was given, once its value is fit to be used.

    >>> rule("svd", energy=0.9)
    Rule(by='energy', value=0.9)

    Raises
    ------
    TypeError, ValueError
        None of them, several of them, or a value out of range; the sentence begins with `function`.
    """
    ways = {"rank": rank, "energy": energy, "size": size, "error": error}
    given = {name: value for name, value in ways.items() if value is not None}
    if len(given) != 1:
        came = ", ".join(f"{name}={value!r}" for name, value in given.items()) or "none of them"
        raise ValueError(f"{function}: exactly one of {WAYS} is accepted, given were {came}; nearest: energy=0.9")
    (by, value), *_ = given.items()
    if by == "rank":
        values = (value,) if type(value) is int else value.values() if isinstance(value, Mapping) else value
        if isinstance(values, str) or not hasattr(values, "__iter__"):
            raise TypeError(f"{function}(rank={value!r}): a whole number from 1 on is accepted")
        for one in values:
            for number in one if isinstance(one, (tuple, list)) else (one,):
                if type(number) is not int or number < 1:
                    raise ValueError(f"{function}(rank={value!r}): whole numbers from 1 on are accepted")
        return Rule(by, value)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{function}({by}={value!r}): a share between 0 and 1 is accepted, such as 0.5")
    share, text = (
        float(value),
        {"energy": "above 0 and up to 1", "size": "above 0 and below 1", "error": "from 0 on and below 1"},
    )
    fine = {"energy": 0 < share <= 1, "size": 0 < share < 1, "error": 0 <= share < 1}[by]
    if not fine:
        best = 0.1 if by == "error" else 0.9 if by == "energy" else 0.5
        raise ValueError(f"{function}({by}={value!r}): a share {text[by]} is accepted; try {best}")
    return Rule(by, share)


def smallest_rank(singular_values: torch.Tensor, tail: float) -> int:
    """The fewest singular values (r,), largest first, without which at most `tail` of the sum of squares is missing.

    >>> values = torch.tensor([3.0, 2.0, 1.0])  # squares 9, 4, 1: shares 0.643, 0.286, 0.071
    >>> [smallest_rank(values, tail) for tail in (0.0, 0.08, 0.4, 1.0)]
    [3, 2, 1, 1]
    """
    squares = singular_values.double().square()
    missing = squares.sum() - squares.cumsum(0)  # after 1, 2, ... of them
    allowed = tail * squares.sum() + 1e-12 * squares.sum()  # rounding must not cost a rank
    return max(1, min(int((missing > allowed).sum()) + 1, len(squares)))


def tail_of(chosen: Rule) -> float:
    """The share of the sum of squares that may be missing; by Eckart and Young 1936 that is the error squared.

    >>> round(tail_of(Rule("energy", 0.9)), 12), tail_of(Rule("error", 0.5))
    (0.1, 0.25)
    """
    return float(1 - chosen.value if chosen.by == "energy" else chosen.value**2)


def rank_for(chosen: Rule, singular_values: torch.Tensor, *, numbers: int, each: int, where: str) -> int:
    """The rank by a rule; 0 where the size asked for is too small even for rank 1.

    Parameters
    ----------
    singular_values
        Of the matrix (min(m, n),), largest first.
    numbers, each
        How many numbers the matrix has, and how many each rank costs.
    where
        Begins the sentence of an error.

    Raises
    ------
    ValueError
        If the rank is larger than the matrix has.
    """
    most = len(singular_values)
    if chosen.by == "rank":
        if chosen.value > most:
            raise ValueError(
                f"{where}: rank {chosen.value} is larger than the matrix, whose rank is at most {most}; "
                f"nearest: rank={most}"
            )
        return int(chosen.value)
    if chosen.by == "size":
        return min(most, int(chosen.value * numbers / each + 1e-9))
    return smallest_rank(singular_values, tail_of(chosen))
