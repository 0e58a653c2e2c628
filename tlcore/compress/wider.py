"""Net2WiderNet: more units in a layer, the same function.

Chen, Goodfellow, Shlens 2016, "Net2Net" (arXiv:1511.05641), section 2.2 and algorithm 1.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from tlcore.compress.rewire import take
from tlcore.compress.units import Units, inner_units


def wider(model: nn.Module, layer: str, width: int, *, noise: float = 0.0, seed: int = 0) -> nn.Module:
    """A copy of `model` whose layer has `width` units and that computes the same.

    >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> new, x = wider(net, "0", 7), torch.rand(5, 3)
    >>> new[0].weight.shape, torch.allclose(new(x), net(x), atol=1e-6)
    (torch.Size([7, 3]), True)

    Parameters
    ----------
    layer
        Path of a linear layer or convolution whose units only the next layers read (see `inner_units`).
    width
        Units afterwards, from the present number on. The old ones come first; each new one is a copy of one drawn at
        random, and readers divide its weight among the copies. Batch normalisation is copied with it.
    noise
        Standard deviation of noise on the new units' weights, as a share of that of the layer's weights, such as 0.01.
        Copies without noise get the same gradients, so they only part by dropout or noise; with noise the function is
        preserved approximately.

    Raises
    ------
    ValueError
        If the layer cannot be treated (the reason is said), or for a smaller width or a negative noise.
    """
    check_noise("wider", noise)
    found, alone = inner_units(model, [layer], function="wider")
    if alone:
        known = ", ".join(map(repr, inner_units(model)[0])) or "none in this network"
        raise ValueError(f"wider: {layer!r} cannot be made wider ({alone[layer]}); accepted are {known}")
    now = found[layer].count
    if isinstance(width, bool) or not isinstance(width, int) or width < now:
        raise ValueError(f"wider({layer!r}, width={width!r}): a whole number from {now} on is accepted, its width now")
    new = copy.deepcopy(model)
    widen(new, found[layer], width, noise, torch.Generator().manual_seed(seed))
    return new


@torch.no_grad()
def widen(model: nn.Module, units: Units, width: int, noise: float, draws: torch.Generator) -> None:
    """The same in place."""
    extra = torch.randint(units.count, (width - units.count,), generator=draws)
    index = torch.cat([torch.arange(units.count), extra])  # g of algorithm 1
    share = 1 / torch.bincount(index)[index].double()  # 1 / |{x: g(x) = g(j)}|
    weight: torch.Tensor = model.get_submodule(units.layer).weight  # type: ignore[assignment]
    spread = noise * float(weight.std(correction=0)) if noise else 0.0
    take(model, units, index, share)
    if spread:
        grown: torch.Tensor = model.get_submodule(units.layer).weight  # type: ignore[assignment]
        drawn = torch.randn(grown[units.count :].shape, generator=draws)
        grown[units.count :] += spread * drawn.to(grown)


def check_noise(function: str, noise: float) -> None:
    """Raise unless `noise` is a share from 0 on."""
    if not 0 <= noise < float("inf"):
        raise ValueError(f"{function}(noise={noise!r}): from 0 on is accepted, such as 0.01")
