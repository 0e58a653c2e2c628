"""The ways to build one convolution: closed forms beside measured profiles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from tlcore import plots
from tlcore.anatomy.cost import (
    FACTORS,
    Cost,
    bottleneck_cost,
    conv_cost,
    factor_steps,
    factorised_cost,
    plain_pair_cost,
    separable_cost,
)
from tlcore.anatomy.profile import profile

Layer = tuple[int, int, tuple[int, int], int]  # channels in, channels out, window, groups


class CostRow(NamedTuple):
    """A way to build the layer: its closed form, what `profile` measures, and how many times cheaper it is."""

    name: str
    closed: Cost
    measured: Cost
    saving: float  # multiply-adds of the plain convolution over its own


@dataclass(frozen=True, repr=False)
class CostTable:
    """The rows of `compare_costs`; iterate, index, or just show it."""

    rows: tuple[CostRow, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[CostRow]:
        return iter(self.rows)

    def __getitem__(self, index: int) -> CostRow:
        return self.rows[index]

    def _laid_out(self) -> plots.Table:
        cells = []
        for row in self.rows:
            numbers = (row.closed.params, row.measured.params, row.closed.macs, row.measured.macs)
            cells.append([row.name, *(f"{n:,}" for n in numbers), f"{row.saving:.3g}x"])
        return plots.Table(cells, ["layers", "params", "measured", "MACs", "measured", "cheaper"], left=1, rule=True)

    def __repr__(self) -> str:
        return repr(self._laid_out())

    def _repr_html_(self) -> str:
        return self._laid_out()._repr_html_()


def compare_costs(
    in_channels: int,
    out_channels: int,
    kernel: int,
    *,
    height: int,
    width: int,
    reduced: int | None = None,
    bias: bool = False,
) -> CostTable:
    """Each way to build a k x k convolution (padded): its closed form beside the profile of the same layers.

    Examples
    --------
    >>> compare_costs(3, 256, 5, height=12, width=12)       # (N, 3, 12, 12) -> (N, 256, 12, 12)
    layers               params  measured        MACs    measured  cheaper
    ----------------------------------------------------------------------
    5x5                  19,200    19,200   2,764,800   2,764,800       1x
    depthwise 5x5, 1x1      843       843     121,392     121,392    22.8x
    5x1, 1x5            331,520   331,520  47,738,880  47,738,880  0.0579x
    3x3, 3x3            596,736   596,736  85,929,984  85,929,984  0.0322x

    Parameters
    ----------
    in_channels, out_channels, kernel, bias
        As for `conv_cost`; a square kernel.
    height, width : int
        Size of input and output.
    reduced : int, optional
        Also compare a bottleneck with so many channels inside and the plain pair it replaces.
    """
    if not isinstance(kernel, int):
        raise TypeError(f"compare_costs(kernel={kernel!r}): give an int, the side of a square window")
    size, c, k = {"height": height, "width": width}, (in_channels, out_channels), (kernel, kernel)
    square = f"{kernel}x{kernel}"
    plain = conv_cost(*c, kernel, **size, bias=bias)
    apart = separable_cost(*c, kernel, **size, bias=bias)
    ways: list[tuple[str, Cost, list[Layer]]] = [
        (square, plain, [(*c, k, 1)]),
        (f"depthwise {square}, 1x1", apart, [(in_channels, in_channels, k, in_channels), (*c, (1, 1), 1)]),
    ]
    for into in FACTORS if kernel >= 5 and kernel % 2 else FACTORS[:1]:
        steps = factor_steps(*c, kernel, into, None)
        cost = factorised_cost(*c, kernel, **size, into=into, bias=bias)
        ways.append((", ".join(f"{h}x{w}" for _, _, (h, w) in steps), cost, [(*step, 1) for step in steps]))
    if reduced is not None:
        ends: list[Layer] = [(in_channels, reduced, (1, 1), 1), (reduced, out_channels, (1, 1), 1)]
        narrow = bottleneck_cost(in_channels, reduced, out_channels, kernel, **size, bias=bias)
        pair = plain_pair_cost(*c, kernel, **size, bias=bias)
        ways += [
            (f"1x1 to {reduced}, {square}, 1x1", narrow, [ends[0], (reduced, reduced, k, 1), ends[1]]),
            (f"{square}, {square}", pair, [(*c, k, 1), (out_channels, out_channels, k, 1)]),
        ]
    rows = (CostRow(name, cost, _measured(layers, size, bias), plain.macs / cost.macs) for name, cost, layers in ways)
    return CostTable(tuple(rows))


def _measured(layers: list[Layer], size: dict[str, int], bias: bool) -> Cost:
    with torch.device("meta"):
        convs = (nn.Conv2d(i, o, k, groups=g, bias=bias, padding="same") for i, o, k, g in layers)
        net = nn.Sequential(*convs)
    seen = profile(net, (layers[0][0], size["height"], size["width"]))
    return Cost(seen.params, seen.macs)
