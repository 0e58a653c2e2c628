"""What pruning gives back: the network, what was taken from it, and how it did round by round."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import nn

from tlcore import plots


class Round(NamedTuple):
    """One round of pruning; accuracies are shares, None without validation data."""

    round: int
    sparsity: float
    parameters: int  # that are not masked
    loss_cut: float | None
    accuracy_cut: float | None
    loss: float | None  # after recovery training
    accuracy: float | None


@dataclass(repr=False)
class Pruned:
    """A pruned network, and what was done to it.

    Attributes
    ----------
    model
        The network. Pruned weights are 0; pruned units are gone, and its arrays are smaller.
    masks
        By parameter name, True where a weight is kept; empty after pruning of units.
    kept
        By layer path, the units that are left, in their numbers of before; empty after pruning of weights.
    rounds
        The first row is the network as it came.
    left_alone
        Layers that were not treated, with the reason.
    """

    model: nn.Module
    masks: dict[str, torch.Tensor] = field(default_factory=dict)
    kept: dict[str, torch.Tensor] = field(default_factory=dict)
    rounds: list[Round] = field(default_factory=list)
    left_alone: dict[str, str] = field(default_factory=dict)

    @property
    def sparsity(self) -> float:
        """Share of the weights, or units, that are gone."""
        return self.rounds[-1].sparsity if self.rounds else 0.0

    def _table(self) -> plots.Table:
        told = said(self.left_alone)
        rows = [
            [str(r.round), f"{r.sparsity:.1%}", f"{r.parameters:,}", _percent(r.accuracy_cut), _percent(r.accuracy)]
            for r in self.rounds
        ]
        header = ["round", "sparsity", "parameters", "accuracy when cut", "after recovery"]
        return plots.Table(rows, header, left=0, rule=True, caption="\n".join(told))

    def __repr__(self) -> str:
        return repr(self._table())

    def _repr_html_(self) -> str:
        return self._table()._repr_html_()


def said(left_alone: dict[str, str]) -> list[str]:
    """Which layers were not treated, one line for each reason.

    >>> said({"fc": "Linear: no", "conv1": "Conv2d: no", "conv2": "Conv2d: no"})
    ['Left alone (Linear: no): fc.', 'Left alone (Conv2d: no): conv1, conv2.']
    """
    by_reason: dict[str, list[str]] = {}
    for path, why in left_alone.items():
        by_reason.setdefault(why, []).append(path)
    return [f"Left alone ({why}): {', '.join(paths)}." for why, paths in by_reason.items()]


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"
