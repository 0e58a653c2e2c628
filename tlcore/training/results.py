"""What a run of the lab gives: a tidy table, and the trained weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from tlcore import plots

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
        if self.rows and name not in self.rows[0]:
            raise ValueError(f"column({name!r}): accepted are {', '.join(self.rows[0])}")
        return [row[name] for row in self.rows]

    def mean(self, of: str, by: Sequence[str]) -> list[dict[str, Any]]:
        """Mean, standard error and number of `of` for each combination of the settings `by`."""
        groups: dict[tuple[Any, ...], list[float]] = {}
        for row in self.rows:
            groups.setdefault(tuple(row[name] for name in by), []).append(row[of])
        made = []
        for key, values in groups.items():
            numbers = torch.tensor(values, dtype=torch.float64)
            error = float(numbers.std() / len(values) ** 0.5) if len(values) > 1 else float("nan")
            made.append(dict(zip(by, key)) | {of: float(numbers.mean()), "error": error, "count": len(values)})
        return made

    def table(self) -> plots.Table:
        """All rows, as text and as HTML."""
        header = list(self.rows[0]) if self.rows else []
        return plots.table([list(row.values()) for row in self.rows], header)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return repr(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()
