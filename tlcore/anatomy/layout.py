"""Which dimension of a tensor holds which spatial axis, through view, permute and broadcasting.

A layout has one entry per dimension: the tuple of its factors, outermost first. A factor is ``(axis,
length)``; axis -1 (`OTHER`) is anything that is not space: batch, channels, groups. Flattening ``(N, C, H,
W)`` from dimension 1 gives the layout ``((N,), (C, H, W))``, so a later view can unfold it again:

>>> image = conventional((2, 48, 28, 36))
>>> groups = reshaped(image, (2, 2, 24, 28, 36))               # as ShuffleNet does
>>> groups
(((-1, 2),), ((-1, 2),), ((-1, 24),), ((0, 28),), ((1, 36),))
>>> axes_in(reshaped(groups, (2, 48, 1008))[2])
(0, 1)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

OTHER = -1
Factor = tuple[int, int]
Dim = tuple[Factor, ...]
Layout = tuple[Dim, ...]


class LayoutError(ValueError):
    """A spatial axis was split, mixed or moved in a way that has no position any more."""


def conventional(shape: Sequence[int], *, channels: bool = True) -> Layout:
    """The layout of ``(N, C, *space)``, or ``(N, *space)`` without channels."""
    first = 2 if channels else 1
    return tuple(((d - first if d >= first else OTHER, n),) for d, n in enumerate(shape))


def plain(shape: Sequence[int]) -> Layout:
    """The layout of a tensor that has no spatial axes."""
    return tuple(((OTHER, n),) for n in shape)


def axes_in(dim: Dim) -> tuple[int, ...]:
    """The spatial axes inside one dimension."""
    return tuple(axis for axis, _ in dim if axis != OTHER)


def axes_of(layout: Layout) -> tuple[int, ...]:
    """All spatial axes of a tensor, in order of dimension."""
    return tuple(axis for dim in layout for axis in axes_in(dim))


def only_axis(dim: Dim) -> int | None:
    """The axis of a dimension that is one spatial axis and nothing else, or None.

    Raises
    ------
    LayoutError
        If space is folded together with something else in this dimension.
    """
    axes = axes_in(dim)
    if not axes:
        return None
    if len(axes) > 1 or any(axis == OTHER and n > 1 for axis, n in dim):
        raise LayoutError("the spatial axes are folded together here")
    return axes[0]


def reshaped(layout: Layout, shape: Sequence[int]) -> Layout:
    """Group the factors of `layout` into the dimensions of `shape`, splitting what is not space if needed.

    Raises
    ------
    LayoutError
        If a spatial axis would have to be split.
    """
    todo = [factor for dim in layout for factor in dim]
    todo.reverse()
    result: list[list[Factor]] = []
    for length in shape:
        dim: list[Factor] = []
        missing = length
        if length == 1 and todo and todo[-1][1] == 1:
            dim.append(todo.pop())
        while missing > 1:
            axis, n = todo.pop()
            if missing % n == 0:
                dim.append((axis, n))
                missing //= n
            elif axis == OTHER and n % missing == 0:
                dim.append((OTHER, missing))
                todo.append((OTHER, n // missing))
                missing = 1
            else:
                raise LayoutError("a spatial axis is split or mixed with channels")
        result.append(dim)
    if todo and result:
        result[-1].extend(reversed(todo))
    for dim, length in zip(result, shape, strict=True):
        if math.prod(n for _, n in dim) != length:
            raise LayoutError("a spatial axis is split or mixed with channels")
    return tuple(tuple(dim) or ((OTHER, 1),) for dim in result)


def broadcast(layouts: Iterable[Layout], shape: Sequence[int]) -> Layout:
    """The layout of an element-wise result of the given `shape`.

    Raises
    ------
    LayoutError
        If one operand has space where another has a different axis.
    """
    result: list[Dim] = [((OTHER, n),) for n in shape]
    for layout in layouts:
        shift = len(shape) - len(layout)
        for d, dim in enumerate(layout):
            if not axes_in(dim):
                continue
            mine = result[d + shift]
            if axes_in(mine) and axes_in(mine) != axes_in(dim):
                raise LayoutError("one operand has a different spatial axis where another has this one")
            if math.prod(n for _, n in dim) == shape[d + shift]:
                result[d + shift] = dim
            elif not axes_in(mine):
                raise LayoutError("a spatial axis of length 1 is repeated over a larger one")
    return tuple(result)
