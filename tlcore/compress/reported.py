"""What compression cost and what it brought: every network in one table, in sentences, and in a picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from tlcore import plots
from tlcore.anatomy.layers import brief
from tlcore.compress.measure import Ratio


class Row(NamedTuple):
    """One network. Accuracies are shares, seconds medians; what could not be measured is None."""

    name: str
    parameters: int | None
    bytes: int  # of its file
    macs: int | None  # for one input
    seconds: tuple[float, ...]  # for a batch of each size
    ratios: tuple[Ratio, ...]  # of those to the first network's
    accuracy: float | None
    recovered: float | None  # after recovery training


@dataclass(repr=False)
class Report:
    """The first row is the network before; show it, iterate, take one by name, or draw it.

    Attributes
    ----------
    rows : list of Row
    sentences : list of str
        One or two on every network after the first, such as "svd: smaller but slower: ...".
    batches : tuple of int
        Batch sizes at which time was taken.
    origin : str
        Of the data.
    """

    rows: list[Row]
    sentences: list[str]
    batches: tuple[int, ...]
    origin: str = ""

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, name: str) -> Row:
        for row in self.rows:
            if row.name == name:
                return row
        raise ValueError(f"report[{name!r}]: there are {', '.join(row.name for row in self.rows)}")

    def figures(self) -> dict[str, dict[str, float | None]]:
        """By name: accuracy (after recovery training where there was some), bytes, and the latency ratio at each batch.

        ``latency_ratio`` is that of the first batch size.
        """
        return {
            row.name: {
                "accuracy": row.accuracy if row.recovered is None else row.recovered,
                "bytes": row.bytes,
                "latency_ratio": round(row.ratios[0].median, 4),
                **{f"latency_ratio_{batch}": round(r.median, 4) for batch, r in zip(self.batches, row.ratios)},
            }
            for row in self.rows
        }

    def plot(self, axes: Any = None) -> Any:
        """Draw accuracy against bytes, and against latency: up and to the left is better."""
        axes = plots.figure(2)[1] if axes is None else axes
        for index, row in enumerate(self.rows):
            reached = row.accuracy if row.recovered is None else row.recovered
            if reached is None:
                raise ValueError("report.plot: no accuracies; give data with labels")
            again, colour = divmod(index, len(plots.COLOURS))
            style = {"color": plots.COLOURS[colour], "marker": "oDs^v"[again % 5], "label": row.name}
            for ax, x in ((axes[0], row.bytes / 1000), (axes[1], row.seconds[0] * 1000)):
                ax.scatter(x, reached, **style)
        axes[0].set(xlabel="kilobytes in a file", ylabel="accuracy", xscale="log")
        axes[1].set(xlabel=f"milliseconds for a batch of {self.batches[0]}", xscale="log")
        axes[1].legend(loc="center left", bbox_to_anchor=(1, 0.5))  # beside, so that names never lie over each other
        return axes

    def _table(self) -> plots.Table:
        recovered = any(row.recovered is not None for row in self.rows)
        judged = any(row.accuracy is not None for row in self.rows)
        head = ["network", "parameters", "bytes", "MACs", *(f"ms, batch {batch}" for batch in self.batches)]
        head += ["accuracy"] if judged else []
        head += ["recovered"] if recovered else []
        cells = []
        for row in self.rows:
            cells.append(
                [
                    row.name, _count(row.parameters), f"{row.bytes:,}", "–" if row.macs is None else brief(row.macs),
                    *(f"{seconds * 1000:.3g}" for seconds in row.seconds),
                    *([_percent(row.accuracy)] if judged else []), *([_percent(row.recovered)] if recovered else []),
                ]
            )  # fmt: skip
        return plots.Table(cells, head, left=1, rule=True, caption="\n".join(self.sentences))

    def __repr__(self) -> str:
        return repr(self._table())

    def _repr_html_(self) -> str:
        return self._table()._repr_html_()


def _count(number: int | None) -> str:
    return "–" if number is None else f"{number:,}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"
