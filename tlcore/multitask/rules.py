"""Balancing rules by name."""

from __future__ import annotations

from collections.abc import Callable

from tlcore.multitask.balance import Balance, Sum
from tlcore.multitask.dwa import DynamicAverage
from tlcore.multitask.gradnorm import GradNorm
from tlcore.multitask.pcgrad import PCGrad
from tlcore.multitask.uncertainty import Uncertainty
from tlcore.runtime import nearest

RULES: dict[str, Callable[[], Balance]] = {
    "sum": Sum,
    "uncertainty": Uncertainty,
    "gradnorm": GradNorm,
    "pcgrad": PCGrad,
    "dwa": DynamicAverage,
}


def as_rule(rule: str | Balance) -> Balance:
    """A rule, by name or as it is.

    >>> type(as_rule("pcgrad")).__name__
    'PCGrad'

    Raises
    ------
    ValueError, TypeError
        For an unknown name, with the nearest, or something else.
    """
    if isinstance(rule, Balance):
        return rule
    if not isinstance(rule, str):
        raise TypeError(f"rule={rule!r}: accepted are a multitask.Balance and {', '.join(map(repr, RULES))}")
    if rule not in RULES:
        raise ValueError(f"rule={rule!r}: {nearest(rule, RULES)}")
    return RULES[rule]()
