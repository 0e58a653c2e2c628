"""Learning rates over a training run, as functions of the step: a factor on the largest rate.

>>> [round(cosine(10)(t), 3) for t in (0, 5, 10)]
[1.0, 0.5, 0.0]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Schedule = Callable[[int], float]


def constant(steps: int) -> Schedule:
    """The largest rate throughout."""
    return lambda t: 1.0


def cosine(steps: int, *, warmup: int = 0) -> Schedule:
    """Up in a straight line for `warmup` steps, then down along half a cosine (Loshchilov, Hutter 2017, eq. 5)."""
    _checked(steps, warmup=warmup)

    def factor(t: int) -> float:
        if t < warmup:
            return (t + 1) / (warmup + 1)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (t - warmup) / max(1, steps - warmup))))

    return factor


def one_cycle(steps: int, *, peak: float = 0.3, start: float = 0.04, end: float = 0.0) -> Schedule:
    """Up in a straight line until the share `peak` of the steps, then down in a straight line."""
    if not 0 < peak < 1:
        raise ValueError(f"one_cycle(peak={peak}): a share between 0 and 1 is accepted")
    top = peak * steps

    def factor(t: int) -> float:
        if t <= top:
            return start + (1 - start) * t / top
        return 1 + (end - 1) * min(1.0, (t - top) / (steps - top))

    return factor


def stlr(steps: int, *, cut_frac: float = 0.1, ratio: float = 32.0) -> Schedule:
    """Slanted triangular rates: a short increase, a long decay (Howard, Ruder 2018, arXiv:1801.06146, eq. 3).

    With cut = floor(T cut_frac) and p = t / cut for t < cut, else 1 - (t - cut) / (cut (1 / cut_frac - 1)), the factor
    on the largest rate is (1 + p (ratio - 1)) / ratio. As printed p falls below 0, and the rate with it, where the
    floor shortens the rise (T = 19: p = -0.89 in the last step); here p ends at 0. Without a whole step there is no
    rise.

    >>> schedule = stlr(100)
    >>> [round(schedule(t), 4) for t in (0, 5, 10, 55, 100)]
    [0.0312, 0.5156, 1.0, 0.5156, 0.0312]
    """
    if not 0 < cut_frac < 1 or ratio < 1:
        raise ValueError(f"stlr(cut_frac={cut_frac}, ratio={ratio}): a share between 0 and 1, and a ratio from 1 on")
    cut = math.floor(steps * cut_frac)

    def factor(t: int) -> float:
        p = t / cut if t < cut else 1 - (t - cut) / max(1e-12, cut * (1 / cut_frac - 1)) if cut else 1 - t / steps
        return (1 + max(0.0, p) * (ratio - 1)) / ratio

    return factor


def step_down(steps: int, *, at: Sequence[float] = (0.5, 0.75), by: float = 0.1) -> Schedule:
    """Multiply by `by` at these shares of the steps (He et al. 2015 on CIFAR-10: at one half and three quarters)."""
    return lambda t: by ** sum(t >= share * steps for share in at)


def _checked(steps: int, **more: int) -> None:
    for name, value in (("steps", steps), *more.items()):
        if value < 0:
            raise ValueError(f"a schedule of {name}={value}: from 0 on is accepted")


SCHEDULES: dict[str, Callable[[int], Schedule]] = {
    "constant": constant,
    "cosine": cosine,
    "one_cycle": one_cycle,
    "stlr": stlr,
    "step_down": step_down,
}
