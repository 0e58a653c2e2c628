"""What a run of the lab gives: a tidy table, and the trained weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from tlcore import plots
from tlcore.runtime import nearest

State = dict[str, torch.Tensor]


@dataclass(repr=False)
class Results:
    """One row per experiment, in the order they were given: its settings, losses and accuracies.

    `states` holds the trained weights, `backend` what was used.
    """

    rows: list[dict[str, Any]]
    states: list[State] = field(default_factory=list)
    backend: str = ""

    def column(self, name: str) -> list[Any]:
        """One figure over all experiments."""
        self._known("column", name)
        return [row.get(name) for row in self.rows]

    def mean(self, of: str, by: Sequence[str]) -> list[dict[str, Any]]:
        """Mean, standard error and number of `of` for each combination of the settings `by`."""
        for name in (of, *by):
            self._known("mean", name)
        groups: dict[tuple[Any, ...], list[float]] = {}
        for row in self.rows:
            if row.get(of) is not None:
                groups.setdefault(tuple(row.get(name) for name in by), []).append(row[of])
        made = []
        for key, values in groups.items():
            numbers = torch.tensor(values, dtype=torch.float64)
            error = float(numbers.std() / len(values) ** 0.5) if len(values) > 1 else float("nan")
            made.append(dict(zip(by, key)) | {of: float(numbers.mean()), "error": error, "count": len(values)})
        return made

    def table(self) -> plots.Table:
        """All rows, as text and as HTML; a setting that an experiment was not given is left empty."""
        return plots.table([[row.get(name, "") for name in self.names] for row in self.rows], self.names)

    @property
    def names(self) -> list[str]:
        """Of all columns, in the order in which they first appear."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def _known(self, call: str, name: str) -> None:
        if self.rows and name not in self.names:
            raise ValueError(f"{call}({name!r}): {nearest(name, self.names)}; there are {', '.join(self.names)}")

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return repr(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()
