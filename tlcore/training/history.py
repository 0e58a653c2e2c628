"""What happened during a training run, epoch by epoch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from tlcore import plots

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Epoch(NamedTuple):
    """One epoch; accuracies are shares, None where there are no classes or no validation data."""

    epoch: int
    lr: float
    train_loss: float
    train_accuracy: float | None
    val_loss: float | None
    val_accuracy: float | None
    seconds: float


@dataclass(repr=False)
class History:
    """The epochs of a run, and the choices that were made for it.

    >>> history = History([Epoch(1, 0.1, 2.0, 0.3, 1.9, 0.4, 1.0), Epoch(2, 0.1, 1.0, 0.6, 1.2, 0.5, 1.0)])
    >>> history.best.epoch, history.last.train_loss
    (2, 1.0)
    """

    epochs: list[Epoch] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    stopped: str = ""

    @property
    def last(self) -> Epoch:
        return self.epochs[-1]

    @property
    def best(self) -> Epoch:
        """The epoch with the least validation loss (training loss where there is no validation)."""
        return min(self.epochs, key=lambda e: e.train_loss if e.val_loss is None else e.val_loss)

    def column(self, name: str) -> list[Any]:
        """One figure over all epochs, such as ``column("val_accuracy")``."""
        if name not in Epoch._fields:
            raise ValueError(f"column({name!r}): accepted are {', '.join(Epoch._fields)}")
        return [getattr(epoch, name) for epoch in self.epochs]

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain data, for a log."""
        return asdict(self) | {"epochs": [epoch._asdict() for epoch in self.epochs]}

    def plot(self, ax: Axes | None = None, what: str = "loss") -> Axes:
        """Draw "loss" or "accuracy" of training and validation over the epochs."""
        if what not in ("loss", "accuracy"):
            raise ValueError(f"plot(what={what!r}): accepted are 'loss' and 'accuracy'")
        ax = ax or plots.figure()[1][0]
        for kind, style in (("train", "-"), ("val", "--")):
            values = self.column(f"{kind}_{what}")
            if any(value is not None for value in values):
                ax.plot(self.column("epoch"), values, style, marker=".", label=kind)
        ax.set(xlabel="epoch", ylabel=what)
        ax.legend()
        return ax

    def _table(self) -> plots.Table:
        return plots.table([list(epoch) for epoch in self.epochs], [name.replace("_", " ") for name in Epoch._fields])

    def __repr__(self) -> str:
        return repr(self._table())

    def _repr_html_(self) -> str:
        return self._table()._repr_html_()
