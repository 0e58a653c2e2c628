"""A picture of a stack of layers in one dimension: who reads whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_stack(layers: Sequence[tuple[int, int, int]], position: int, *, width: int, ax: Axes | None = None) -> Axes:
    """Draw the layers as rows of dots, the input at the bottom, and mark all that one output position reads.

    >>> ax = draw_stack([(3, 1, 1), (3, 2, 1)], position=2, width=9)
    >>> ax.get_title()
    'position 2 of F2 reads 5 of 9 inputs'

    Parameters
    ----------
    layers
        (kernel, stride, padding) of each layer, first layer first.
    position
        Position in the last row.
    width
        Number of inputs.
    """
    from tlcore import plots

    widths = [width]
    for kernel, stride, padding in layers:
        widths.append((widths[-1] + 2 * padding - kernel) // stride + 1)
    if min(widths) < 1 or not 0 <= position < widths[-1]:
        raise ValueError(f"position={position}: the last row has {max(widths[-1], 0)} positions for width={width}")
    ax = ax or plots.figure(width=6.4, height=0.9 * len(widths))[1][0]
    places = _places(layers)
    marked, crossed = {position}, False
    for level in range(len(layers), -1, -1):
        start, step = places[level]
        xs = [start + step * t for t in range(widths[level])]
        ax.scatter(xs, [level] * len(xs), s=28, facecolors="white", edgecolors="0.6", zorder=2)
        inside = sorted(t for t in marked if 0 <= t < widths[level])
        outside = sorted(marked - set(inside))
        crossed = crossed or bool(outside)
        ax.scatter([start + step * t for t in inside], [level] * len(inside), s=34, color=plots.BLUE, zorder=3)
        ax.scatter([start + step * t for t in outside], [level] * len(outside), s=30, color=plots.RED, marker="x")
        if level == 0:
            break
        kernel, stride, padding = layers[level - 1]
        below_start, below_step = places[level - 1]
        below = {t: [t * stride - padding + tap for tap in range(kernel)] for t in inside}
        for t, taps in below.items():
            for p in taps:
                ax.plot(
                    [start + step * t, below_start + below_step * p],
                    [level, level - 1],
                    color=plots.BLUE,
                    lw=0.7,
                )
        marked = {p for taps in below.values() for p in taps}
    ax.set_yticks(range(len(widths)), [f"$F_{n}$" for n in range(len(widths))])
    ax.set_xlabel("position in the input" + (" (crosses: padding)" if crossed else ""))
    ax.set_title(f"position {position} of F{len(layers)} reads {len(inside)} of {width} inputs")
    return ax


def _places(layers: Sequence[tuple[int, int, int]]) -> list[tuple[float, float]]:
    """Where position 0 of each row stands in input coordinates, and how far its positions are apart."""
    places = [(0.0, 1.0)]
    for kernel, stride, padding in layers:
        start, step = places[-1]
        places.append((start + step * ((kernel - 1) / 2 - padding), step * stride))
    return places
