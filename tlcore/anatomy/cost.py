"""What a convolution costs in closed form, and the ways to make it cheaper.

``height`` and ``width`` are those of the *output*, so the padding is told by them alone. A multiply-add counts one;
biases cost parameters and no multiply-adds. `tlcore.anatomy.compare` sets each form beside what `profile` measures.

Sources: the lectures; Szegedy et al. 2015 (arXiv 1409.4842) and 2016 (1512.00567), Howard et al. 2017 (1704.04861,
section 3.1), He et al. 2016 (1512.03385, figure 5).
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

Factors = Literal["nx1", "3x3"]
FACTORS: tuple[Factors, ...] = ("nx1", "3x3")


class Cost(NamedTuple):
    """Parameters, and multiply-adds for one input.

    >>> Cost(10, 200).plus(Cost(1, 2))
    Cost(params=11, macs=202)
    """

    params: int
    macs: int

    def plus(self, *others: Cost) -> Cost:
        """The cost of one after the other."""
        return Cost(self.params + sum(o.params for o in others), self.macs + sum(o.macs for o in others))


def conv_cost(
    in_channels: int,
    out_channels: int,
    kernel: int | tuple[int, int],
    *,
    height: int,
    width: int,
    groups: int = 1,
    bias: bool = False,
) -> Cost:
    """A convolution: ``k_h k_w (C_in / g) C_out`` weights, each used ``height * width`` times.

    Examples
    --------
    >>> conv_cost(3, 256, 5, height=12, width=12)           # (N, 3, 12, 12) -> (N, 256, 12, 12), padded
    Cost(params=19200, macs=2764800)
    >>> conv_cost(3, 256, 5, height=8, width=8).macs        # the same layer without padding
    1228800

    Parameters
    ----------
    in_channels, out_channels : int
    kernel : int or (int, int)
        Height and width of the window.
    height, width : int
        Size of the output.
    groups : int
        As in `torch.nn.Conv2d`; each output channel reads ``in_channels / groups``.
    bias : bool
        One more parameter per output channel.

    Raises
    ------
    TypeError, ValueError
        If a number is no positive int, or `groups` does not divide both channel counts.
    """
    tall, wide = kernel if isinstance(kernel, tuple) and len(kernel) == 2 else (kernel, kernel)
    numbers = {"in_channels": in_channels, "out_channels": out_channels, "height": height, "width": width}
    for name, value in {**numbers, "groups": groups, "kernel": tall, "kernel ": wide}.items():
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"conv_cost({name.strip()}={value!r}): give an int")
        if value < 1:
            raise ValueError(f"conv_cost({name.strip()}={value!r}): must be at least 1")
    common = math.gcd(in_channels, out_channels)
    if common % groups:
        valid = min((d for d in range(1, common + 1) if common % d == 0), key=lambda d: abs(d - groups))
        raise ValueError(
            f"conv_cost(groups={groups}): must divide {in_channels} and {out_channels} channels; nearest: {valid}"
        )
    weights = tall * wide * (in_channels // groups) * out_channels
    return Cost(weights + (out_channels if bias else 0), weights * height * width)


def separable_cost(
    in_channels: int, out_channels: int, kernel: int, *, height: int, width: int, bias: bool = False
) -> Cost:
    """Depthwise k x k, then 1 x 1: ``k² C_in + C_in C_out`` weights, each used ``height * width`` times.

    The share of the plain convolution is ``1 / C_out + 1 / k²`` (Howard et al. 2017, section 3.1).

    Examples
    --------
    >>> separable_cost(3, 256, 5, height=12, width=12)      # (N, 3, 12, 12) -> (N, 3, …) -> (N, 256, 12, 12)
    Cost(params=843, macs=121392)
    >>> separable_cost(3, 256, 5, height=8, width=8).macs
    53952

    Parameters, Raises: as for `conv_cost`.
    """
    depthwise = conv_cost(in_channels, in_channels, kernel, height=height, width=width, groups=in_channels, bias=bias)
    return depthwise.plus(conv_cost(in_channels, out_channels, 1, height=height, width=width, bias=bias))


def bottleneck_cost(
    in_channels: int,
    reduced: int,
    out_channels: int,
    kernel: int = 3,
    *,
    height: int,
    width: int,
    bias: bool = False,
) -> Cost:
    """1 x 1 to `reduced` channels, k x k, 1 x 1 back: ``r (C_in + k² r + C_out)`` weights.

    Examples
    --------
    >>> narrow = bottleneck_cost(256, 64, 256, height=56, width=56)   # ResNet-50's: (N, 256, 56, 56) in and out
    >>> plain = plain_pair_cost(256, 256, height=56, width=56)
    >>> narrow.params, plain.params, round(plain.macs / narrow.macs, 1)
    (69632, 1179648, 16.9)

    Parameters
    ----------
    reduced : int
        Channels inside; the others as for `conv_cost`.
    """
    size = {"height": height, "width": width}
    reduce = conv_cost(in_channels, reduced, 1, **size, bias=bias)
    middle = conv_cost(reduced, reduced, kernel, **size, bias=bias)
    return reduce.plus(middle, conv_cost(reduced, out_channels, 1, **size, bias=bias))


def plain_pair_cost(
    in_channels: int, out_channels: int, kernel: int = 3, *, height: int, width: int, bias: bool = False
) -> Cost:
    """Two k x k convolutions, what a bottleneck replaces: ``k² C_out (C_in + C_out)`` weights.

    >>> plain_pair_cost(64, 64, height=56, width=56)        # ResNet-18's block: (N, 64, 56, 56) in and out
    Cost(params=73728, macs=231211008)
    """
    first = conv_cost(in_channels, out_channels, kernel, height=height, width=width, bias=bias)
    return first.plus(conv_cost(out_channels, out_channels, kernel, height=height, width=width, bias=bias))


def factorised_cost(
    in_channels: int,
    out_channels: int,
    kernel: int,
    *,
    height: int,
    width: int,
    into: Factors = "nx1",
    hidden: int | None = None,
    bias: bool = False,
) -> Cost:
    """An n x n convolution taken apart, the receptive field kept, every step with the output's size (padded).

    Into n x 1 and 1 x n: ``n h (C_in + C_out)`` weights for `hidden` channels h in between. Into ``(n - 1) / 2``
    times 3 x 3: ``9 (C_in h + ((n - 1) / 2 - 2) h² + h C_out)`` weights. With equal channels C the shares of
    ``n² C²`` are ``2 / n`` and ``9 (n - 1) / 2 n²``: 5 x 5 as two 3 x 3 costs 18 / 25 (Szegedy et al. 2016, section 3).

    Examples
    --------
    >>> conv_cost(64, 64, 5, height=28, width=28).params    # (N, 64, 28, 28) in and out
    102400
    >>> factorised_cost(64, 64, 5, height=28, width=28, into="3x3").params
    73728
    >>> factorised_cost(64, 64, 5, height=28, width=28).params
    40960

    Parameters
    ----------
    into : {"nx1", "3x3"}
        ``"3x3"`` needs an odd kernel.
    hidden : int, optional
        Channels between the steps, default `out_channels`; the others as for `conv_cost`.
    """
    total = Cost(0, 0)
    for channels_in, channels_out, window in factor_steps(in_channels, out_channels, kernel, into, hidden):
        total = total.plus(conv_cost(channels_in, channels_out, window, height=height, width=width, bias=bias))
    return total


def factor_steps(
    in_channels: int, out_channels: int, kernel: int, into: str, hidden: int | None
) -> list[tuple[int, int, tuple[int, int]]]:
    """Channels in, channels out and window of each step of a factorised convolution."""
    if into not in FACTORS:
        raise ValueError(f"factorised_cost(into={into!r}): accepted are 'nx1' and '3x3'")
    if not isinstance(kernel, int):
        raise TypeError(f"factorised_cost(kernel={kernel!r}): give an int, the side of a square window")
    if into == "3x3" and (kernel < 3 or kernel % 2 == 0):
        nearest = max(kernel + 1, 3)
        raise ValueError(
            f"factorised_cost(kernel={kernel}, into='3x3'): must be odd and at least 3; nearest: {nearest}"
        )
    windows = [(kernel, 1), (1, kernel)] if into == "nx1" else [(3, 3)] * ((kernel - 1) // 2)
    between = [out_channels if hidden is None else hidden] * (len(windows) - 1)
    channels = [in_channels, *between, out_channels]
    return list(zip(channels, channels[1:], windows))
