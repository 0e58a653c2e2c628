"""What happened in the training of several tasks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tlcore import plots
from tlcore.runtime import nearest
from tlcore.training import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(repr=False)
class Histories:
    """One `training.History` for each task, and the weights that its loss had.

    >>> Histories({"a": History()}, []).tasks
    ('a',)
    """

    by_task: dict[str, History]
    weights: list[dict[str, float]] = field(default_factory=list)  # mean over each epoch's steps
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(self.by_task)

    def __getitem__(self, task: str) -> History:
        if task not in self.by_task:
            raise ValueError(f"history[{task!r}]: {nearest(str(task), self.by_task)}")
        return self.by_task[task]

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the weight of each task's loss over the epochs."""
        ax = ax or plots.figure()[1][0]
        for task in self.tasks:
            ax.plot(range(1, len(self.weights) + 1), [w[task] for w in self.weights], marker=".", label=task)
        ax.set(xlabel="epoch", ylabel="weight of the loss")
        ax.legend()
        return ax

    def _table(self) -> plots.Table:
        names = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
        rows = [
            [epoch.epoch, task, weights[task], *(getattr(epoch, name) for name in names)]
            for number, weights in enumerate(self.weights)
            for task, history in self.by_task.items()
            for epoch in [history.epochs[number]]
        ]
        return plots.table(rows, ["epoch", "task", "weight", *(name.replace("_", " ") for name in names)])

    def __repr__(self) -> str:
        return repr(self._table())

    def _repr_html_(self) -> str:
        return self._table()._repr_html_()
