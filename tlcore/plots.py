"""One style for every figure: colours that survive colour-blindness and a greyscale printer.

The colours are Okabe and Ito's (2008), ordered so that neighbours also differ in lightness.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
BLUE, ORANGE, GREEN, PINK, SKY, RED, BLACK = COLOURS

STYLE: dict[str, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "font.size": 10,
    "legend.frameon": False,
    "image.cmap": "cividis",
    "figure.dpi": 100,
    "savefig.bbox": "tight",
}


def use_style() -> None:
    """Draw everything from here on in the course's style (it sets matplotlib's ``rcParams``)."""
    import matplotlib.pyplot as plt
    from cycler import cycler

    lines = ["-", "--", "-.", ":", "-", "--", "-."]
    plt.rcParams.update(STYLE | {"axes.prop_cycle": cycler(color=COLOURS) + cycler(linestyle=lines)})


def figure(columns: int = 1, rows: int = 1, *, width: float = 3.6, height: float = 2.8) -> tuple[Figure, list[Axes]]:
    """New figure with its axes in one list, row by row; sizes in inches per panel.

    >>> fig, (left, right) = figure(2)
    >>> len(fig.axes)
    2
    """
    import matplotlib.pyplot as plt

    size = (width * columns, height * rows)
    fig, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    return fig, list(axes.flat)


def table(rows: Sequence[Sequence[object]], header: Sequence[str]) -> Table:
    """Small table that reads well as text and as HTML.

    >>> table([["3x3", 9]], ["kernel", "weights"])
    kernel  weights
    3x3           9
    """
    return Table([[_text(v) for v in row] for row in rows], list(header))


class Table:
    """Rows of text under a header: how every table of the package is laid out, as text and as HTML.

    >>> Table([["0", "conv", "3"]], ["name", "kind", "kernel"], left=2, rule=True, caption="One layer.")
    name  kind  kernel
    ------------------
    0     conv       3
    One layer.

    Parameters
    ----------
    rows, header : list of str
        The cells.
    left : int, optional
        So many columns are aligned to the left and all others to the right; by default columns of numbers
        are aligned to the right.
    rule : bool
        A line of dashes between header and rows, in text.
    caption : str
        Stands below the table.
    """

    def __init__(
        self,
        rows: list[list[str]],
        header: list[str],
        *,
        left: int | None = None,
        rule: bool = False,
        caption: str = "",
    ) -> None:
        self.rows, self.header, self.left, self.rule, self.caption = rows, header, left, rule, caption

    def __repr__(self) -> str:
        lines = [self.header, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.header))]
        right = [self._is_right(i) for i in range(len(self.header))]
        cells = ["  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right)) for line in lines]
        head, *body = [line.rstrip() for line in cells]
        below = [self.caption] if self.caption else []
        return "\n".join([head, *(["-" * len(head)] if self.rule else []), *body, *below])

    def _repr_html_(self) -> str:
        from html import escape

        def cells(line: list[str], tag: str) -> str:
            sides = ["right" if self._is_right(i) else "left" for i in range(len(line))]
            return "".join(
                f'<{tag} style="text-align:{side}">{escape(text)}</{tag}>' for text, side in zip(line, sides)
            )

        style = "caption-side:bottom;text-align:left"
        caption = f'<caption style="{style}">{escape(self.caption)}</caption>' if self.caption else ""
        body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in self.rows)
        return f"<table>{caption}<thead><tr>{cells(self.header, 'th')}</tr></thead><tbody>{body}</tbody></table>"

    def _is_right(self, column: int) -> bool:
        if self.left is not None:
            return column >= self.left
        return all(row[column].replace(",", "").replace(".", "").lstrip("-").isdigit() for row in self.rows)


def _text(value: Any) -> str:
    if getattr(value, "ndim", None) == 0:  # a number in a tensor or an array
        value = value.item()
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
