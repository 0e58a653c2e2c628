"""What one operation reads of its input along one spatial axis: its taps.

Every operation here is periodic: `period` neighbouring outputs read a fixed pattern, and the next `period`
outputs read the same pattern `advance` inputs further on. A convolution has period 1 and advance = stride; a
transposed convolution has period = stride and advance 1; pooling 10 inputs into 4 outputs has period 2 and
advance 5. So one representation is exact for all of them, without rounding.

Source: Araujo, Norris, Sim 2019, "Computing Receptive Fields of Convolutional Neural Networks" (Distill),
which treats the case period = 1; Dumoulin & Visin 2016, "A guide to convolution arithmetic", for transposed
ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Taps:
    """Output ``t`` reads the inputs ``taps[t % period][:] + advance * (t // period)``.

    >>> pool = Taps(period=1, advance=2, taps=((0, 1),))   # kernel 2, stride 2
    >>> pool.read(5)
    (10, 11)
    """

    period: int
    advance: int
    taps: tuple[tuple[int, ...], ...]

    def read(self, t: int) -> tuple[int, ...]:
        """The input positions that output ``t`` reads, in increasing order."""
        turn, phase = divmod(t, self.period)
        return tuple(tap + self.advance * turn for tap in self.taps[phase])

    def middle(self) -> Taps:
        """The same steps with one tap each: how a layer counts that does not contribute."""
        return Taps(self.period, self.advance, tuple(row[(len(row) - 1) // 2 :][:1] for row in self.taps))


@dataclass(frozen=True)
class Window:
    """The sliding window of a layer that torch.fx cannot look into; for ``leaf_rules``.

    Each number is one int for all axes or one int per axis.

    Examples
    --------
    >>> Window(kernel=3, stride=2, padding=1).along(0)
    Taps(period=1, advance=2, taps=((-1, 0, 1),))
    >>> Window(kernel=2, stride=2, transposed=True).along(0)
    Taps(period=2, advance=1, taps=((0,), (0,)))

    Parameters
    ----------
    kernel, stride, padding, dilation : int or tuple of int
        As in `torch.nn.Conv2d`.
    transposed : bool
        Read as a transposed convolution: `stride` then is the up-sampling factor.
    """

    kernel: int | tuple[int, ...]
    stride: int | tuple[int, ...] = 1
    padding: int | tuple[int, ...] = 0
    dilation: int | tuple[int, ...] = 1
    transposed: bool = False

    def __post_init__(self) -> None:
        for name, least in (("kernel", 1), ("stride", 1), ("padding", 0), ("dilation", 1)):
            value = getattr(self, name)
            numbers = value if isinstance(value, tuple) else (value,)
            if not all(isinstance(n, int) and not isinstance(n, bool) for n in numbers):
                raise TypeError(f"Window({name}={value!r}): give an int or a tuple of ints")
            if any(n < least for n in numbers):
                raise ValueError(f"Window({name}={value!r}): must be at least {least}")

    def along(self, axis: int) -> Taps:
        """The taps along one spatial axis (0 is the first after the channels)."""
        k, s, p, d = (_pick(v, axis) for v in (self.kernel, self.stride, self.padding, self.dilation))
        return transposed(k, s, p, d) if self.transposed else sliding(k, s, p, d)


def _pick(value: int | tuple[int, ...], axis: int) -> int:
    return value if isinstance(value, int) else value[axis]


def sliding(kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> Taps:
    """Convolution and pooling: output ``t`` reads ``t * stride - padding + dilation * (0 … kernel-1)``."""
    return Taps(1, stride, (tuple(dilation * i - padding for i in range(kernel)),))


def transposed(kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> Taps:
    """Transposed convolution: output ``t`` reads every ``i`` with ``i * stride - padding + dilation * j = "
    "t``.

    With ``kernel < stride`` some outputs read nothing: their row is empty.
    """
    rows = []
    for phase in range(stride):
        reach = (phase + padding - dilation * j for j in range(kernel))
        rows.append(tuple(sorted({r // stride for r in reach if r % stride == 0})))
    return Taps(stride, 1, tuple(rows))


def crop(start: int, step: int = 1) -> Taps:
    """Slicing ``x[start::step]``; a negative start is padding in front."""
    return Taps(1, step, ((start,),))


def pick(position: int) -> Taps:
    """Indexing ``x[position]``: every output reads that one place."""
    return Taps(1, 0, ((position,),))


def shuffle(factor: int) -> Taps:
    """Pixel shuffle: `factor` neighbouring outputs are channels of one input position."""
    return Taps(factor, 1, ((0,),) * factor)


def adaptive(length: int, outputs: int) -> Taps:
    """Adaptive pooling: output ``t`` reads ``floor(t * length / outputs) … ceil((t+1) * length / outputs) - "
    "1``.

    >>> adaptive(10, 4).taps    # windows of 3, 3 inputs that overlap, then the same 5 further on
    ((0, 1, 2), (2, 3, 4))
    """
    common = math.gcd(length, outputs)
    period, advance = outputs // common, length // common
    rows = (range(t * length // outputs, -(-(t + 1) * length // outputs)) for t in range(period))
    return Taps(period, advance, tuple(tuple(row) for row in rows))


def resample(mode: str, scale: Fraction, *, corner_scale: Fraction | None = None) -> Taps:
    """Interpolation in which one output step is `scale` input steps (2x up-sampling: 1/2).

    Parameters
    ----------
    mode : {"nearest", "nearest-exact", "linear", "bilinear", "trilinear", "bicubic"}
    scale : Fraction
        Input length / output length (or 1 / scale factor).
    corner_scale : Fraction, optional
        ``(input - 1) / (output - 1)`` when ``align_corners=True``; then `scale` is not used.

    Raises
    ------
    ValueError
        For any other mode.
    """
    step = scale if corner_scale is None else corner_scale
    period, advance = step.denominator, step.numerator
    half = Fraction(1, 2)
    rows: list[tuple[int, ...]] = []
    for t in range(period):
        if mode == "nearest":
            rows.append((math.floor(t * step),))
        elif mode == "nearest-exact":
            rows.append((math.floor((t + half) * step),))
        elif mode in ("linear", "bilinear", "trilinear", "bicubic"):
            source = t * step if corner_scale is not None else (t + half) * step - half
            low = math.floor(source)
            around: Sequence[int] = (low - 1, low, low + 1, low + 2) if mode == "bicubic" else (low, low + 1)
            rows.append((low,) if source == low else tuple(around))  # a weight of exactly 0 reads nothing
        else:
            raise ValueError(f"interpolation mode {mode!r} is not known")
    return Taps(period, advance, tuple(rows))
