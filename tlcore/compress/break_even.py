"""At which rank it pays: the largest rank at which a layer in two or more pieces is smaller, or multiplies less.

Everything is counted in closed form, biases aside, for a convolution that keeps the size of its map (divided by its
stride). `anatomy.profile` of the layers themselves gives the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from tlcore.anatomy.cost import Cost
from tlcore.compress.svd import FLATTEN, Flatten
from tlcore.compress.tensor_train import factors
from tlcore.compress.tt import capped, full_ranks, train_size

Method = Literal["svd", "tensor_train"]
METHODS: tuple[Method, ...] = ("svd", "tensor_train")


class BreakEven(NamedTuple):
    """The largest rank with fewer parameters, the largest with fewer multiply-adds (0: none), and the full rank."""

    params: int
    macs: int
    full: int


def break_even(
    shape: Sequence[int], *, method: Method = "svd", flatten: Flatten = "channel", stride: int = 1, order: int = 4
) -> BreakEven:
    """The largest ranks at which a low-rank layer costs less than the layer it replaces.

    Examples
    --------
    >>> break_even((4096, 4096))                            # the lecture's dense layer
    BreakEven(params=2047, macs=2047, full=4096)
    >>> break_even((512, 256, 3, 3)), break_even((512, 256, 3, 3), flatten="spatial")  # the lecture's kernel
    (BreakEven(params=418, macs=418, full=512), BreakEven(params=511, macs=511, full=768))
    >>> break_even((4096, 4096), method="tensor_train")     # smaller up to rank 2046, slower from 16 on
    BreakEven(params=2046, macs=15, full=4096)

    Parameters
    ----------
    shape
        Of the weight: (out, in) or (out, in, *k), as torch holds it.
    method, flatten, order
        As in `compress.svd` and `compress.tensor_train`; the ranks of a train are all the same, up to what fits.
    stride
        Of the convolution, on every axis.

    Raises
    ------
    ValueError
        For a shape without two axes, or an option that is not accepted.
    """
    ranks = full_ranks(_modes(shape, order)) if method == "tensor_train" else ()
    cost_of(shape, 1, method=method, flatten=flatten, stride=stride, order=order)  # raises for what is not accepted
    full = max(ranks) if ranks else min(_sides(shape, flatten))
    plain = math.prod(shape)  # of both: numbers, and multiply-adds for each place of the output

    def largest(what: int) -> int:
        low, high = 0, full  # costs grow with the rank
        while low < high:
            middle = (low + high + 1) // 2
            cost = cost_of(shape, middle, method=method, flatten=flatten, stride=stride, order=order)
            low, high = (middle, high) if cost[what] < plain else (low, middle - 1)
        return low

    return BreakEven(largest(0), largest(1), full)


def cost_of(
    shape: Sequence[int],
    rank: int,
    *,
    method: Method = "svd",
    flatten: Flatten = "channel",
    stride: int = 1,
    order: int = 4,
) -> Cost:
    """Weights, and multiply-adds for each place of the output, of a layer of that rank; biases aside.

    >>> cost_of((4096, 4096), 100)
    Cost(params=819200, macs=819200)
    >>> cost_of((4096, 4096), 100, method="tensor_train")   # 20 times smaller, 25 times as much to compute
    Cost(params=827392, macs=423624704)

    Raises
    ------
    ValueError
        As `break_even`.
    """
    _check(shape, method, flatten, stride)
    out, into, *kernel = shape
    if method == "tensor_train" and not kernel:
        n, m = factors(out, order), factors(into, order)[::-1]
        ends = list(pairwise((1, *capped([a * b for a, b in zip(n, m)], rank), 1)))
        # core k is applied at n_1 ... n_{k-1} m_{k+1} ... m_d places
        macs = sum(math.prod(n[:k]) * math.prod(m[k + 1 :]) * n[k] * m[k] * a * b for k, (a, b) in enumerate(ends))
        return Cost(sum(a * n[k] * m[k] * b for k, (a, b) in enumerate(ends)), macs)
    if method == "tensor_train":
        modes = _modes(shape, order)
        widths = list(pairwise((into, *capped(modes, rank), out)))
        sizes = [1, *(k for k in kernel if k > 1), 1]
        strides = [stride ** kernel.count(1), *(stride for k in kernel if k > 1), 1]
        steps = [a * size * b for size, (a, b) in zip(sizes, widths)]
        assert sum(steps) == train_size(modes, capped(modes, rank))
    else:
        wide = kernel if flatten == "channel" or not kernel else kernel[:1]
        steps = [into * math.prod(wide) * rank, rank * math.prod(kernel[len(wide) :]) * out]
        strides = [stride ** len(wide), stride ** (len(kernel) - len(wide))]
    # A step is computed at the places of its own output; later strides thin them out.
    later = [math.prod(strides[k + 1 :]) for k in range(len(steps))]
    return Cost(sum(steps), sum(step * more for step, more in zip(steps, later)))


def _modes(shape: Sequence[int], order: int) -> tuple[int, ...]:
    out, into, *kernel = shape
    if kernel:
        return (into, *(k for k in kernel if k > 1), out)
    return tuple(a * b for a, b in zip(factors(out, order), factors(into, order)[::-1]))


def _sides(shape: Sequence[int], flatten: Flatten) -> tuple[int, int]:
    out, into, *kernel = shape
    if flatten == "spatial" and kernel:
        return into * kernel[0], kernel[1] * out
    return out, into * math.prod(kernel)


def _check(shape: Sequence[int], method: Method, flatten: Flatten, stride: int) -> None:
    if len(shape) < 2 or any(type(n) is not int or n < 1 for n in shape):
        raise ValueError(f"break_even({tuple(shape)}): the shape of a weight is accepted, (out, in) or (out, in, k, k)")
    if method not in METHODS:
        raise ValueError(f"break_even(method={method!r}): accepted are {', '.join(METHODS)}")
    if flatten not in FLATTEN or (flatten == "spatial" and len(shape) not in (2, 4)):
        raise ValueError(f"break_even(flatten={flatten!r}): 'channel', or 'spatial' for a kernel with two axes")
    if type(stride) is not int or stride < 1:
        raise ValueError(f"break_even(stride={stride!r}): a whole number from 1 on is accepted")
