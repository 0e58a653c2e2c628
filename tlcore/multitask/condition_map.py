"""Where multi-task learning wins and loses: trials over a knob, with intervals over seeds."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import mean
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from tlcore import plots
from tlcore.multitask.paired import Paired

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Against = Literal["equal cost", "same trunk"]


class Trial(NamedTuple):
    """One task at one value of a knob with one seed; accuracies are shares of the test set."""

    knob: str
    value: Any
    task: str
    seed: int
    together: float
    alone: float  # single networks that cost as much together
    alone_wide: float  # single networks with the same trunk each
    cost: float  # of the former, as a share of the cost of the network for all tasks


@dataclass(frozen=True, repr=False)
class ConditionMap:
    """One network for all tasks beside single ones.

    >>> trials = [Trial("width", 2, "shape", seed, 0.4, 0.5 + seed / 100, 0.6, 0.98) for seed in range(3)]
    >>> ConditionMap(trials).cells()[2, "shape"].verdict
    'loses'
    >>> ConditionMap(trials)
    width  task   together  alone  difference                  same trunk alone  difference
    ----------------------------------------------------------------------------------------------------------
    2      shape      40.0   51.0  -11.0 (-13.5 to -8.5) loses             60.0  -20.0 (-20.0 to -20.0) loses
    Percent and points, 95% intervals over 3 seeds. Alone: networks that cost 0.98 to 0.98 times as much together.

    Raises
    ------
    ValueError
        Without trials, or for trials of several knobs.
    """

    trials: list[Trial]

    def __post_init__(self) -> None:
        if len({one.knob for one in self.trials}) != 1:
            raise ValueError(
                f"ConditionMap: trials of one knob are needed; got {sorted({t.knob for t in self.trials})}"
            )

    @property
    def knob(self) -> str:
        return self.trials[0].knob

    def cells(self, against: Against = "equal cost") -> dict[tuple[Any, str], Paired]:
        """One network for all tasks and single ones, for each value of the knob and each task."""
        if against not in ("equal cost", "same trunk"):
            raise ValueError(f"cells(against={against!r}): accepted are 'equal cost' and 'same trunk'")
        made: dict[tuple[Any, str], Paired] = {}
        for value, task in dict.fromkeys((t.value, t.task) for t in self.trials):
            same = [t for t in self.trials if (t.value, t.task) == (value, task)]
            theirs = tuple(t.alone if against == "equal cost" else t.alone_wide for t in same)
            made[value, task] = Paired(tuple(t.together for t in same), theirs)
        return made

    def plot(self, ax: Axes | None = None, against: Against = "equal cost") -> Axes:
        """Draw the differences in points with their intervals, one line for each task."""
        ax = ax or plots.figure(width=4.6)[1][0]
        cells = self.cells(against)
        values = list(dict.fromkeys(value for value, _ in cells))
        tasks = list(dict.fromkeys(task for _, task in cells))
        for number, task in enumerate(tasks):
            found = [cells[value, task] for value in values]
            places = [n + 0.08 * (number - (len(tasks) - 1) / 2) for n in range(len(values))]
            half = [100 * (one.difference - max(one.interval[0], -1)) for one in found]
            ax.errorbar(places, [100 * one.difference for one in found], half, marker="o", capsize=3, label=task)
        ax.axhline(0, color=plots.BLACK, linewidth=0.8)
        ax.set_xticks(range(len(values)), list(map(str, values)), rotation=20 if isinstance(values[0], str) else 0)
        ax.set(xlabel=self.knob, ylabel="points together minus alone")
        ax.set_title(f"against {against}")
        ax.legend()
        return ax

    def table(self) -> plots.Table:
        """Every cell, with both differences."""
        rows, wide = [], self.cells("same trunk")
        for (value, task), cell in self.cells().items():
            other = wide[value, task]
            percent = [f"{100 * mean(a):.1f}" for a in (cell.ours, cell.theirs, other.theirs)]
            rows.append([str(value), task, *percent[:2], cell.told(), percent[2], other.told()])
        header = [self.knob, "task", "together", "alone", "difference", "same trunk alone", "difference"]
        count = max(len(cell.ours) for cell in wide.values())
        costs = [one.cost for one in self.trials]
        caption = (
            f"Percent and points, 95% intervals over {count} seeds. Alone: networks that cost {min(costs):.2f} to "
            f"{max(costs):.2f} times as much together."
        )
        return plots.Table(rows, header, left=2, rule=True, caption=caption)

    def __repr__(self) -> str:
        return repr(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()
