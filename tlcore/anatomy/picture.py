"""Pictures of receptive fields. Matplotlib is imported when something is drawn, not before."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from tlcore.anatomy.effective import EffectiveField
    from tlcore.anatomy.receptive_field import ReceptiveField

_THEORY, _EFFECT = "#0072B2", "#D55E00"  # told apart by every kind of eye, and by lightness in print


def draw_effective(effective: EffectiveField, ax: Axes | None = None, *, share: float = 0.95) -> Axes:
    """The gradient map, the theoretical field (solid) and the centred box that holds `share` of it (dashed).

    Shades are the square root of the gradient, so that the fading edge can be seen. A 3-D map is summed over
    its first axis; a 1-D map becomes a curve.

    Parameters
    ----------
    effective : EffectiveField
    ax : Axes, optional
        Drawn into; default a new figure.
    share : float
        How much of the gradient the dashed box holds.
    """
    ax = _axes(ax)
    field, side = effective.theoretical, effective.extent(share)
    theory = field.interval(effective.position)
    effect = effective.box(side)
    names = (f"theoretical {'x'.join(map(str, field.size))}", f"{share:.0%} of the gradient: {side}")
    image = effective.map
    if image.dim() == 1:
        ax.plot(image.numpy(), color="black", linewidth=1)
        for (low, high), colour, style, name in zip(
            (theory[0], effect[0]), (_THEORY, _EFFECT), ("-", "--"), names, strict=True
        ):
            ax.axvline(low - 0.5, color=colour, linestyle=style, label=name)
            ax.axvline(high + 0.5, color=colour, linestyle=style)
        ax.set_xlabel(f"position in {field.wrt}")
        ax.set_ylabel("share of the gradient")
    else:
        while image.dim() > 2:
            image = image.sum(0)
        ax.imshow((image / image.max()).sqrt().numpy(), cmap="gray_r", interpolation="nearest")
        _box(ax, theory[-2:], _THEORY, "-", names[0])
        _box(ax, effect[-2:], _EFFECT, "--", names[1])
        height, width = image.shape
        (top, bottom), (left, right) = theory[-2:]
        ax.set_xlim(min(left, 0) - 1.5, max(right, width - 1) + 1.5)
        ax.set_ylim(max(bottom, height - 1) + 1.5, min(top, 0) - 1.5)
        _box(ax, ((0, height - 1), (0, width - 1)), "0.6", ":", "edge of the input")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=1, fontsize=8, frameon=False)
    ax.set_title(f"what {field.of!r} sees at {', '.join(map(str, effective.position))}", fontsize=10)
    return ax


def draw_growth(field: ReceptiveField, ax: Axes | None = None) -> Axes:
    """How the field grows from layer to layer, one curve per axis (one for all where they agree).

    Parameters
    ----------
    field : ReceptiveField
    ax : Axes, optional
        Drawn into; default a new figure.
    """
    ax = _axes(ax)
    rows = [row for row in field.table() if None not in row.size]
    curves = [[row.size[axis] or 0 for row in rows] for axis in range(len(field.size))]
    same = all(curve == curves[0] for curve in curves)
    for axis, curve in enumerate(curves[:1] if same else curves):
        label = None if same else f"axis {axis}"
        ax.step(range(1, len(rows) + 1), curve, where="mid", color=(_THEORY, _EFFECT, "black")[axis], label=label)
    ax.set_xlabel("layer, in the order of the graph")
    ax.set_ylabel(f"receptive field in {field.wrt}")
    ax.set_title(f"{field.of!r}: {'x'.join(map(str, field.size))}", fontsize=10)
    if not same:
        ax.legend(frameon=False)
    return ax


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    from matplotlib import pyplot

    _, ax = pyplot.subplots(figsize=(4.2, 4.6), layout="constrained")
    return ax


def _box(ax: Axes, spans: tuple[tuple[int, int], ...], colour: str, style: str, label: str) -> None:
    from matplotlib.patches import Rectangle

    (top, bottom), (left, right) = spans
    ax.add_patch(
        Rectangle(
            (left - 0.5, top - 0.5), right - left + 1, bottom - top + 1,
            fill=False, edgecolor=colour, linestyle=style, linewidth=1.6, label=label,
        )
    )  # fmt: skip
