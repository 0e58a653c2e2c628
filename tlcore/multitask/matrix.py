"""A number for each ordered pair of tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from tlcore import plots
from tlcore.runtime import nearest

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, repr=False)
class TaskMatrix:
    """Values (T, T), from the task of the row to the task of the column.

    >>> TaskMatrix(("a", "b"), torch.eye(2), "cosine")["a", "b"]
    0.0
    """

    tasks: tuple[str, ...]
    values: torch.Tensor
    what: str

    def __getitem__(self, pair: tuple[str, str]) -> float:
        for task in pair:
            if task not in self.tasks:
                raise ValueError(f"matrix[{pair!r}]: no task {task!r}; {nearest(str(task), self.tasks)}")
        row, column = (self.tasks.index(task) for task in pair)
        return float(self.values[row, column])

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the matrix, with its numbers."""
        ax = ax or plots.figure()[1][0]
        most = float(self.values.abs().nan_to_num().max()) or 1.0
        ax.imshow(self.values.numpy(), cmap="PuOr_r", vmin=-most, vmax=most)
        for i, row in enumerate(self.values.tolist()):
            for j, value in enumerate(row):
                shade = "white" if abs(value) > 0.7 * most else "black"
                ax.text(j, i, f"{value:.2g}" if value == value else "", ha="center", va="center", color=shade)
        ax.set_xticks(range(len(self.tasks)), self.tasks)
        ax.set_yticks(range(len(self.tasks)), self.tasks)
        ax.set_title(self.what)
        return ax

    def _table(self) -> plots.Table:
        rows = [
            [task, *("–" if v != v else f"{v:+.3f}" for v in row)]
            for task, row in zip(self.tasks, self.values.tolist())
        ]
        return plots.Table(rows, ["from / to", *self.tasks], left=1, rule=True, caption=self.what)

    def __repr__(self) -> str:
        return repr(self._table())

    def _repr_html_(self) -> str:
        return self._table()._repr_html_()
