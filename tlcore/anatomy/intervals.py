"""Which inputs each output position sees along one axis: a periodic interval map.

For an output ``t`` with phase ``r = t mod period`` the interval is
``[low[r], high[r]] + advance * (t div period)``. Ordinary nets have period 1 and advance = jump.
Composing with a layer is a minimum and a maximum over its taps; joining two branches is the hull on their
common period. So the algebra stays exact for transposed convolutions, uneven adaptive pooling and
interpolation. Where no period exists (branches whose fields move at different rates, as behind
``align_corners=True``) the map is *finite*: it lists every position of an axis of known length.

Source: the recursion of Araujo, Norris, Sim 2019 (Distill), eq. 1-5, carried over to more than one phase.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from tlcore.anatomy.windows import Taps

_LONGEST_PERIOD = 10_000
Span = tuple[int, int] | None  # None: sees nothing


@dataclass(frozen=True)
class IntervalMap:
    """The interval of inputs seen by each output position.

    >>> from tlcore.anatomy.windows import sliding
    >>> one = IntervalMap.identity()
    >>> two = one.through(sliding(kernel=3, padding=1), 20).through(sliding(kernel=2, stride=2), 10)
    >>> two.at(0), two.at(5), two.size, two.jump
    ((-1, 2), (9, 12), 4, Fraction(2, 1))
    """

    spans: tuple[Span, ...]  # one per phase; one per position if finite
    jump: Fraction  # how far the interval moves per output step, on average
    finite: bool = False

    @classmethod
    def identity(cls) -> IntervalMap:
        """Position ``t`` sees ``t``."""
        return cls(((0, 0),), Fraction(1))

    @property
    def period(self) -> int:
        """How many phases there are (of a finite map: positions)."""
        return len(self.spans)

    @property
    def size(self) -> int:
        """The largest interval over the phases."""
        return max((self.extent(phase) for phase in range(self.period)), default=0)

    def extent(self, t: int) -> int:
        """The size of the interval of position ``t``; 0 if it sees nothing."""
        span = self.at(t)
        return 0 if span is None else span[1] - span[0] + 1

    def at(self, t: int) -> Span:
        """First and last input that output ``t`` sees; None if it sees nothing."""
        if self.finite:
            return self.spans[t] if 0 <= t < self.period else None
        turn, phase = divmod(t, self.period)
        span, shift = self.spans[phase], int(self.jump * self.period) * turn
        return None if span is None else (span[0] + shift, span[1] + shift)

    def through(self, taps: Taps, length: int) -> IntervalMap:
        """The map of an operation that reads `taps` of this one and has `length` outputs."""
        period = taps.period * (self.period // math.gcd(taps.advance, self.period))
        jump = self.jump * taps.advance / taps.period
        finite = self.finite or period > _LONGEST_PERIOD
        spans = []
        for t in range(length if finite else period):
            read = taps.read(t)
            if self.period == 1 and read:
                read = (read[0], read[-1])
            spans.append(_hull(map(self.at, read)))
        return IntervalMap(tuple(spans), jump, True) if finite else _shortest(spans, jump)

    def hull(self, other: IntervalMap, length: int) -> IntervalMap:
        """The smallest map that contains both, on an axis of `length` positions."""
        if self == other:
            return self
        period = math.lcm(self.period, other.period)
        finite = self.finite or other.finite or self.jump != other.jump or period > _LONGEST_PERIOD
        spans = [_hull((self.at(t), other.at(t))) for t in range(length if finite else period)]
        return IntervalMap(tuple(spans), self.jump, True) if finite else _shortest(spans, self.jump)


def _hull(spans: Iterable[Span]) -> Span:
    seen = [span for span in spans if span is not None]
    return (min(low for low, _ in seen), max(high for _, high in seen)) if seen else None


def _shortest(spans: list[Span], jump: Fraction) -> IntervalMap:
    """The same map with the smallest period that divides the given one."""
    period = len(spans)
    for short in range(1, period):
        if period % short or (jump * short).denominator > 1:
            continue
        shift = int(jump * short)
        pairs = zip(spans, spans[short:], strict=False)
        if all(late == (None if early is None else (early[0] + shift, early[1] + shift)) for early, late in pairs):
            return IntervalMap(tuple(spans[:short]), jump)
    return IntervalMap(tuple(spans), jump)
