"""The layer table of a receptive field: plain text in a terminal, HTML in a notebook."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from tlcore import plots

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

    def _laid_out(self) -> plots.Table:
        columns = list(LayerRow._fields)
        if all(row.output_shape is None for row in self.rows):
            columns.remove("output_shape")
        head = [name.replace("output_shape", "output shape") for name in columns]
        cells = [[cell(getattr(row, name)) for name in columns] for row in self.rows]
        return plots.Table(cells, head, left=2, rule=True)

    def __repr__(self) -> str:
        return repr(self._laid_out())

    def _repr_html_(self) -> str:
        return self._laid_out()._repr_html_()


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
