"""The layer table of a receptive field: plain text in a terminal, HTML in a notebook."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

Number = int | Fraction


class LayerRow(NamedTuple):
    """One layer between `wrt` and `of`; tuples have one entry per spatial axis; None: the whole input."""

    name: str
    kind: str
    kernel: tuple[int, ...] | None
    stride: tuple[int, ...] | None
    size: tuple[int | None, ...]
    jump: tuple[Number | None, ...]
    offset: tuple[int | None, ...]
    output_shape: tuple[int, ...] | None


@dataclass(frozen=True)
class Table:
    """Rows of `LayerRow`; iterate, index, or just show it."""

    rows: tuple[LayerRow, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[LayerRow]:
        return iter(self.rows)

    def __getitem__(self, index: int) -> LayerRow:
        return self.rows[index]

    def _cells(self) -> list[list[str]]:
        columns = list(LayerRow._fields)
        if all(row.output_shape is None for row in self.rows):
            columns.remove("output_shape")
        head = [name.replace("output_shape", "output shape") for name in columns]
        return [head] + [[cell(getattr(row, name)) for name in columns] for row in self.rows]

    def __repr__(self) -> str:
        cells = self._cells()
        widths = [max(len(row[c]) for row in cells) for c in range(len(cells[0]))]
        lines = []
        for row in cells:
            text = [v.ljust(w) if c < 2 else v.rjust(w) for c, (v, w) in enumerate(zip(row, widths, strict=True))]
            lines.append("  ".join(text).rstrip())
        return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])

    def _repr_html_(self) -> str:
        head, *body = self._cells()

        def line(values: list[str], tag: str) -> str:
            side = ["left", "left", *["right"] * (len(values) - 2)]
            cells = zip(values, side, strict=True)
            inside = (f'<{tag} style="text-align:{s}">{html.escape(v)}</{tag}>' for v, s in cells)
            return f"<tr>{''.join(inside)}</tr>"

        rows = "".join(line(row, "td") for row in body)
        return f"<table><thead>{line(head, 'th')}</thead><tbody>{rows}</tbody></table>"


def cell(value: object) -> str:
    """A value as short as it can be: equal entries of a tuple are written once.

    >>> cell((3, 3)), cell((1, 7)), cell(None), cell((None, None))
    ('3', '1x7', '', 'all')
    """
    if value is None:
        return ""
    if isinstance(value, tuple):
        words = ["all" if v is None else str(v) for v in value]
        return words[0] if words and len(set(words)) == 1 else "x".join(words)
    return str(value)
