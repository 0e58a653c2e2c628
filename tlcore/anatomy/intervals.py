"""Which inputs each output position sees along one axis: a periodic interval map.

For an output ``t`` with phase ``r = t mod period`` the interval is
``[low[r], high[r]] + advance * (t div period)``. Ordinary nets have period 1 and advance = jump. Composing
with a layer is a minimum and a maximum over its taps; joining two branches is the hull on their common
period. So the algebra stays exact for transposed convolutions, uneven adaptive pooling and interpolation.

Source: the recursion of Araujo, Norris, Sim 2019 (Distill), eq. 1-5, carried over to more than one phase.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from tlcore.anatomy.windows import Taps

_LONGEST_PERIOD = 200_000


@dataclass(frozen=True)
class IntervalMap:
    """The interval of inputs seen by each output position.

    >>> from tlcore.anatomy.windows import sliding
    >>> one = IntervalMap.identity()
    >>> two = one.through(sliding(kernel=3, padding=1)).through(sliding(kernel=2, stride=2))
    >>> two.at(0), two.at(5), two.size, two.jump
    ((-1, 2), (9, 12), 4, Fraction(2, 1))
    """

    period: int
    advance: int
    low: tuple[int | None, ...]  # None: this phase sees nothing
    high: tuple[int | None, ...]

    @classmethod
    def identity(cls) -> IntervalMap:
        """Position ``t`` sees ``t``."""
        return cls(1, 1, (0,), (0,))

    @property
    def jump(self) -> Fraction:
        """How far the interval moves per output step, on average over the phases."""
        return Fraction(self.advance, self.period)

    @property
    def size(self) -> int:
        """The largest interval over the phases."""
        return max((self.extent(phase) for phase in range(self.period)), default=0)

    def extent(self, t: int) -> int:
        """The size of the interval of position ``t``; 0 if it sees nothing."""
        span = self.at(t)
        return 0 if span is None else span[1] - span[0] + 1

    def at(self, t: int) -> tuple[int, int] | None:
        """First and last input that output ``t`` sees; None if it sees nothing."""
        turn, phase = divmod(t, self.period)
        low, high = self.low[phase], self.high[phase]
        if low is None or high is None:
            return None
        return low + self.advance * turn, high + self.advance * turn

    def through(self, taps: Taps) -> IntervalMap:
        """The map of an operation that reads `taps` of this one.

        Raises
        ------
        ValueError
            If the pattern repeats only after a very long period.
        """
        turns = self.period // math.gcd(taps.advance, self.period)
        period = taps.period * turns
        _check_period(period)
        advance = self.advance * (turns * taps.advance) // self.period
        lows: list[int | None] = []
        highs: list[int | None] = []
        for t in range(period):
            read = taps.read(t)
            if self.period == 1:
                read = (read[0], read[-1]) if read else ()
            spans = [span for span in map(self.at, read) if span is not None]
            lows.append(min((low for low, _ in spans), default=None))
            highs.append(max((high for _, high in spans), default=None))
        return _shortest(period, advance, lows, highs)

    def hull(self, other: IntervalMap) -> IntervalMap:
        """The smallest map that contains both.

        Raises
        ------
        ValueError
            If the two advance at different rates: then no periodic map contains both.
        """
        if self == other:
            return self
        if self.jump != other.jump:
            raise ValueError(f"branches with different strides ({self.jump} and {other.jump}) meet")
        period = math.lcm(self.period, other.period)
        _check_period(period)
        lows: list[int | None] = []
        highs: list[int | None] = []
        for t in range(period):
            spans = [span for span in (self.at(t), other.at(t)) if span is not None]
            lows.append(min((low for low, _ in spans), default=None))
            highs.append(max((high for _, high in spans), default=None))
        return _shortest(period, self.advance * (period // self.period), lows, highs)


def _check_period(period: int) -> None:
    if period > _LONGEST_PERIOD:
        raise ValueError(
            f"the pattern of the field repeats only every {period} positions; that is too long to list"
        )


def _shortest(period: int, advance: int, low: list[int | None], high: list[int | None]) -> IntervalMap:
    """The same map with the smallest period that divides the given one."""

    def repeats(values: list[int | None], short: int, shift: int) -> bool:
        for early, late in zip(values, values[short:], strict=False):
            if (early is None) != (late is None) or (early is not None and late != early + shift):
                return False
        return True

    for short in range(1, period):
        if period % short or (advance * short) % period:
            continue
        shift = advance * short // period
        if repeats(low, short, shift) and repeats(high, short, shift):
            return IntervalMap(short, shift, tuple(low[:short]), tuple(high[:short]))
    return IntervalMap(period, advance, tuple(low), tuple(high))
