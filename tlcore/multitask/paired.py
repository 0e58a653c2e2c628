"""Two ways of training compared seed by seed: the difference, its interval, and whether it is a tie."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev


@dataclass(frozen=True)
class Paired:
    """Accuracies of one thing and another, from the same seeds.

    >>> found = Paired((0.80, 0.82, 0.81), (0.75, 0.76, 0.77))
    >>> round(found.difference, 4), [round(end, 3) for end in found.interval], found.verdict
    (0.05, [0.025, 0.075], 'gains')
    >>> Paired((0.80, 0.82, 0.81), (0.80, 0.83, 0.80)).verdict
    'tie'

    Raises
    ------
    ValueError
        If there are not as many of one as of the other, or none.
    """

    ours: tuple[float, ...]
    theirs: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.ours) != len(self.theirs) or not self.ours:
            raise ValueError(f"Paired: {len(self.ours)} and {len(self.theirs)} results; one of each for every seed")

    @property
    def difference(self) -> float:
        """Mean of ours minus theirs."""
        return mean(self._each())

    @property
    def interval(self) -> tuple[float, float]:
        """95% interval of the mean difference by Student's t over the seeds; without end for a single seed."""
        each = self._each()
        if len(each) < 2:
            return -math.inf, math.inf
        from scipy.special import stdtrit  # type: ignore[import-untyped]

        half = float(stdtrit(len(each) - 1, 0.975)) * stdev(each) / math.sqrt(len(each))
        return self.difference - half, self.difference + half

    @property
    def verdict(self) -> str:
        """gains or loses, where 0 lies outside of the interval; else tie."""
        low, high = self.interval
        return "gains" if low > 0 else "loses" if high < 0 else "tie"

    def told(self) -> str:
        """In points: difference, interval and verdict."""
        low, high = self.interval
        ends = f" ({100 * low:+.1f} to {100 * high:+.1f})" if math.isfinite(low) else ""
        return f"{100 * self.difference:+.1f}{ends} {self.verdict}"

    def _each(self) -> Sequence[float]:
        return [a - b for a, b in zip(self.ours, self.theirs, strict=True)]
