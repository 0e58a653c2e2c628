"""Second derivatives by backpropagation, as LeCun, Denker, Solla 1990 computed them: one pass, like a gradient.

Each layer turns the second derivatives of what it gives into those of what it takes, and interactions between units are
left out on the way (section 2.2 of the paper): an approximation, but the cheapest of all, and never below 0.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.func import jacrev, vmap
from torch.nn.functional import cross_entropy

from tlcore.compress.curvature import Loss, Point
from tlcore.compress.given import Rows
from tlcore.compress.units import CONV, ELEMENTWISE

BY_ELEMENT = (*ELEMENTWISE, nn.modules.batchnorm._BatchNorm)  # in evaluation mode also normalisation is one
ROUTED = (nn.modules.pooling._MaxPoolNd, nn.Flatten)  # these only pass on, unchanged


def backpropagated_diagonal(model: nn.Sequential, rows: Rows, *, loss: Loss = cross_entropy) -> Point:
    """An approximation of H_kk for the weights of linear layers and convolutions, by parameter name.

    >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> found = backpropagated_diagonal(net, [(torch.rand(5, 3), torch.tensor([0, 1, 0, 1, 1]))])
    >>> {name: tuple(h.shape) for name, h in found.items()}
    {'0.weight': (4, 3), '2.weight': (2, 4)}

    Parameters
    ----------
    model
        A `Sequential` in evaluation mode, nested or not, of linear layers, convolutions, activations, normalisation,
        max-pooling and `Flatten`.

    Raises
    ------
    ValueError
        For another network, or a layer that is none of these.

    Notes
    -----
    For a layer b = W a: the second derivative of w_ij is h_i a_j², that of a_j the sum of w_ij² h_i (eqs. 7, 8 and 10).
    An activation multiplies with f'²; the term with f'' is dropped (Levenberg-Marquardt, below eq. 10).
    """
    layers = list(_layers(model))
    total = {f"{path}.weight": torch.zeros_like(m.weight) for path, m in layers if isinstance(m, (nn.Linear, *CONV))}
    many = sum(len(y) for _, y in rows)
    diagonals = vmap(lambda out, y: jacrev(jacrev(lambda o: loss(o[None], y[None])))(out).diagonal())
    for x, y in rows:
        taken = []
        with torch.no_grad():
            for _, module in layers:
                taken.append(x)
                x = module(x.clone())  # the next may work in place
        h = diagonals(x, y) / many  # (N, K), of the outputs
        for (path, module), a in zip(reversed(layers), reversed(taken)):
            if isinstance(module, (nn.Linear, *CONV)):
                total[f"{path}.weight"] += _through(module, a.square(), module.weight, h, 1)
                h = _through(module, a, module.weight.square(), h, 0)
            elif isinstance(module, ROUTED):
                given = a.clone().requires_grad_()
                h = torch.autograd.grad(module(given), given, h)[0]
            else:
                given = a.clone().requires_grad_()
                h = torch.autograd.grad(module(given.clone()).sum(), given)[0].square() * h
    return total


def _through(layer: Any, a: torch.Tensor, weight: torch.Tensor, h: torch.Tensor, which: int) -> torch.Tensor:
    """The transposed of a linear map, of its input (0) or of its weight (1), applied to `h`."""
    a, weight = a.detach().requires_grad_(), weight.detach().requires_grad_()
    linear = isinstance(layer, nn.Linear)
    out = nn.functional.linear(a, weight) if linear else layer._conv_forward(a, weight, None)
    return torch.autograd.grad(out, (a, weight)[which], h)[0]


def _layers(model: nn.Module, prefix: str = "") -> Any:
    if not isinstance(model, nn.Sequential):
        raise ValueError(
            f"saliency(method='backprop'): a Sequential is accepted, not {type(model).__name__}; for other networks "
            "method='gauss_newton' or 'fisher'"
        )
    for name, module in model.named_children():
        if isinstance(module, nn.Sequential):
            yield from _layers(module, f"{prefix}{name}.")
        elif isinstance(module, (nn.Linear, *CONV, *BY_ELEMENT, *ROUTED)):
            yield f"{prefix}{name}", module
        else:
            raise ValueError(
                f"saliency(method='backprop'): {prefix + name!r} ({type(module).__name__}) cannot be treated; for such "
                "networks method='gauss_newton' or 'fisher'"
            )
