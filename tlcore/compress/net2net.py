"""Net2Net: start small, extend, fine-tune.

Chen, Goodfellow, Shlens 2016, "Net2Net: Accelerating Learning via Knowledge Transfer" (arXiv:1511.05641); the lecture's
last slide on size: "same, but expanding".
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from tlcore import plots
from tlcore.compress.deeper import deeper as deepen
from tlcore.compress.given import Data
from tlcore.compress.pruned import said
from tlcore.compress.units import inner_units
from tlcore.compress.wider import check_noise, widen


@dataclass(repr=False)
class Grown:
    """A network that has grown, and how.

    Attributes
    ----------
    model
        Computes what the old one computed.
    widths
        By layer path, units before and after.
    deepened
        Layers with a new one behind them.
    left_alone
        Layers that could not be made wider, with the reason.
    """

    model: nn.Module
    widths: dict[str, tuple[int, int]] = field(default_factory=dict)
    deepened: tuple[str, ...] = ()
    left_alone: dict[str, str] = field(default_factory=dict)

    def _table(self) -> plots.Table:
        rows = [[path, f"{was:,}", f"{now:,}"] for path, (was, now) in self.widths.items()]
        told = [f"A new layer behind {path}." for path in self.deepened]
        told += said(self.left_alone)
        return plots.Table(rows, ["layer", "units", "now"], left=1, rule=True, caption="\n".join(told))

    def __repr__(self) -> str:
        return repr(self._table())

    def _repr_html_(self) -> str:
        return self._table()._repr_html_()


def net2net(
    model: nn.Module,
    *,
    wider: float | Mapping[str, int] | None = None,
    deeper: Sequence[str] = (),
    data: Data | torch.Tensor | None = None,
    noise: float = 0.0,
    seed: int = 0,
) -> Grown:
    """A larger network that computes what `model` computes: wider layers, then further layers that pass everything on.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 5))
    >>> x = torch.rand(6, 3, 8, 8)
    >>> done = net2net(net.eval(), wider=1.5, deeper=["0"], data=x)
    >>> done
    layer  units  now
    -----------------
    0          8   12
    A new layer behind 0.
    Left alone (Linear: its units are the network's output): 4.
    >>> torch.allclose(done.model(x), net(x), atol=1e-5)
    True

    Parameters
    ----------
    wider
        A factor for all layers whose units can be doubled, from 1 on, or new widths by layer path. See `wider`.
    deeper
        Paths of layers behind which one more comes. See `deeper`.
    data
        For the batch normalisation of new layers.
    noise
        Breaks the symmetry between copies, see `wider`; 0 preserves the function to rounding.

    Raises
    ------
    ValueError
        For a factor below 1, or as `wider` and `deeper`. What a factor cannot treat is in `left_alone`.
    """
    check_noise("net2net", noise)
    if isinstance(deeper, str):
        deeper = [deeper]
    new = copy.deepcopy(model)
    alone: dict[str, str] = {}
    widths: dict[str, tuple[int, int]] = {}
    draws = torch.Generator().manual_seed(seed)
    if wider is not None:
        named = isinstance(wider, Mapping)
        found, alone = inner_units(model, list(wider) if isinstance(wider, Mapping) else None, function="net2net")
        if named and alone:
            path, why = next(iter(alone.items()))
            raise ValueError(f"net2net(wider=…): {path!r} cannot be made wider ({why})")
        if not isinstance(wider, Mapping) and not 1 <= wider < float("inf"):
            raise ValueError(f"net2net(wider={wider!r}): a factor from 1 on is accepted, or widths by layer path")
        for path, its in found.items():
            width = wider[path] if isinstance(wider, Mapping) else round(its.count * wider)
            if isinstance(width, bool) or not isinstance(width, int) or width < its.count:
                raise ValueError(
                    f"net2net(wider=…): {path!r} has {its.count} units; {width!r} is given, more are accepted"
                )
            widen(new, its, width, noise, draws)
            widths[path] = (its.count, width)
    for number, path in enumerate(deeper):
        new = deepen(new, path, data=data, noise=noise, seed=seed + number)
    return Grown(new, widths, tuple(deeper), alone)
