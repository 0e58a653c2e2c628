"""What fine-tuning did: the groups as a table, the epochs, and which epoch's weights were kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from tlcore import plots
from tlcore.training import Epoch, History
from tlcore.transfer.plans import Phase
from tlcore.transfer.stages import Groups

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(repr=False)
class FineTuned:
    """The outcome of `fine_tune`; shown, it is the table of groups.

    Parameters
    ----------
    history
        All epochs, numbered through all phases.
    groups
        Table: modules and parameters of each group, and in each phase its rate or "frozen".
    phases
        As they were run, with their epochs and frozen groups.
    ends
        The last epoch of each phase.
    kept
        The epoch whose weights the network now has; 0 for those it started with.
    """

    history: History
    groups: plots.Table
    phases: tuple[Phase, ...]
    ends: tuple[int, ...]
    kept: int

    @property
    def best(self) -> Epoch:
        """The epoch with the least validation loss (training loss where there is no validation)."""
        return self.history.best

    def plot(self, ax: Axes | None = None, what: str = "loss") -> Axes:
        """Draw "loss" or "accuracy" over the epochs, where phases meet, and the epoch that was kept."""
        ax = self.history.plot(ax, what)
        if len(self.phases) > 1:
            for number, (start, end) in enumerate(zip((0, *self.ends), self.ends), 1):
                if number > 1:
                    ax.axvline(start + 0.5, color=plots.BLACK, linewidth=0.8, linestyle=":")
                place = ((start + end + 1) / 2, 1.01)
                ax.annotate(str(number), place, xycoords=("data", "axes fraction"), ha="center", va="bottom")
            ax.set_xlabel("epoch (above: phase)")
        kept = next((epoch for epoch in self.history.epochs if epoch.epoch == self.kept), None)
        if kept is not None:
            value = getattr(kept, f"val_{what}")
            value = getattr(kept, f"train_{what}") if value is None else value
            ax.plot([kept.epoch], [value], "o", color=plots.RED, fillstyle="none", markersize=8, label="kept")
            ax.legend()
        return ax

    def _table(self) -> plots.Table:
        kept = next((epoch for epoch in self.history.epochs if epoch.epoch == self.kept), None)
        told = f"Weights of epoch {self.kept} of {len(self.history.epochs)} kept"
        for name in ("loss", "accuracy"):
            value = None if kept is None else getattr(kept, f"val_{name}")
            told += "" if value is None else f", validation {name} {value:.4g}"
        told += f"; {self.history.stopped}." if self.history.stopped else "."
        table = self.groups
        return plots.Table(table.rows, table.header, left=table.left, rule=table.rule, caption=told)

    def __repr__(self) -> str:
        return repr(self._table())

    def _repr_html_(self) -> str:
        return self._table()._repr_html_()


def group_table(model: nn.Module, groups: Groups, phases: Sequence[Phase], lr: float) -> plots.Table:
    """Groups, input first: modules, parameters, and the rate of each in each phase."""
    names = {module: name for name, module in model.named_modules()}
    rates = [phase.rates(len(groups), lr) for phase in phases]
    rows = []
    for number, group in enumerate(groups):
        count = sum(p.numel() for p in {p for module in group for p in module.parameters()})
        paths = [names.get(module) or type(module).__name__ for module in group]
        told = ", ".join(paths) if len(paths) < 3 else f"{paths[0]} … {paths[-1]}"
        row = ["frozen" if rate[number] is None else f"{rate[number]:.3g}" for rate in rates]
        rows.append([str(number + 1), told, f"{count:,}", *row])
    header = [
        f"{'rate' if len(phases) == 1 else f'phase {n}'}, {p.epochs} epoch{'s' if p.epochs != 1 else ''}"
        for n, p in enumerate(phases, 1)
    ]
    return plots.Table(rows, ["group", "modules", "parameters", *header], left=2, rule=True)
