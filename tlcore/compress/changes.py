"""Layer by layer: what stood there before, what stands there now, its rank, and how far its weights have moved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from tlcore import plots
from tlcore.anatomy.layers import check_model, kind_of, parts
from tlcore.compress.half import Half
from tlcore.compress.measure import parameters


class Change(NamedTuple):
    """One layer; `rank` and `error` are None where there is none, or where the weight has another shape now."""

    name: str
    was: str
    now: str
    parameters_before: int
    parameters_after: int
    rank: int | None
    error: float | None  # ||after - before|| / ||before|| of the weight


@dataclass(frozen=True, repr=False)
class Changes:
    """The layers that had parameters, in their order; iterate, index, or just show it."""

    rows: tuple[Change, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Change]:
        return iter(self.rows)

    def __getitem__(self, index: int) -> Change:
        return self.rows[index]

    def _table(self) -> plots.Table:
        return plots.table([list(row) for row in self.rows], ["layer", "was", "is", "before", "after", "rank", "error"])

    def __repr__(self) -> str:
        return repr(self._table())

    def _repr_html_(self) -> str:
        return self._table()._repr_html_()


def changes(before: nn.Module, after: nn.Module) -> Changes:
    """Each layer of `before` beside what stands at its path in `after`.

    Examples
    --------
    >>> from tlcore.compress.svd import svd
    >>> net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    >>> [row[:6] for row in changes(net, svd(net, rank={"0": 4}))]
    [('0', 'Linear', 'LowRankLinear', 4160, 576, 4), ('2', 'Linear', 'Linear', 130, 130, None)]

    Parameters
    ----------
    before, after
        A network and what a function of this room made of it.

    Raises
    ------
    TypeError
        If one of them is no network.
    """
    for model in (before, after):
        check_model(model, "changes")
    after = after.model if isinstance(after, Half) else after
    now = dict(after.named_modules(remove_duplicate=False))
    rows = []
    for path, layer, is_layer in parts(before):
        if not is_layer or not parameters(layer):
            continue
        new = now.get(path)
        kind, count = ("gone", 0) if new is None else (kind_of(new), parameters(new))
        rows.append(
            Change(
                path, kind_of(layer), kind, parameters(layer), count, getattr(new, "rank", None), _error(layer, new)
            )
        )  # fmt: skip
    return Changes(tuple(rows))


@torch.no_grad()
def _error(old: Any, new: Any) -> float | None:
    one, other = _weight(old), _weight(new)
    if one is None or other is None or one.shape != other.shape:
        return None
    return float((other - one).norm() / one.norm().clamp_min(1e-30))


def _weight(layer: Any) -> torch.Tensor | None:
    weight = getattr(layer, "weight", None)
    weight = weight() if callable(weight) and not isinstance(weight, nn.Module) else weight
    if not isinstance(weight, torch.Tensor):
        return None
    return (weight.dequantize() if weight.is_quantized else weight).detach().double().cpu()
