"""How bad it would be to remove a weight or a unit: H_kk a_k² / 2.

LeCun, Denker, Solla 1990, "Optimal Brain Damage", eq. 5; the lecture's slide of the same name. The paper's a_k are
weights. The lecture speaks of neurons: there a_k is a gate that multiplies the neuron's activation, 1 for as it is and
0 for removed, so the saliency is H_kk / 2. It costs one number a neuron, whatever the neuron's weights are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import parametrize

from tlcore.anatomy.untouched import untouched
from tlcore.compress.backprop import backpropagated_diagonal
from tlcore.compress.curvature import (
    Loss,
    Point,
    Problem,
    exact_diagonal,
    fisher_diagonal,
    gauss_newton_diagonal,
    hutchinson_diagonal,
    of_weights,
)
from tlcore.compress.given import Data, Rows, some_rows
from tlcore.compress.rewire import gated
from tlcore.compress.units import CONV, Units, inner_units
from tlcore.runtime import nearest

Of = Literal["weights", "units"]
Method = Literal["auto", "exact", "hutchinson", "gauss_newton", "fisher", "backprop"]
METHODS = ("auto", "exact", "hutchinson", "gauss_newton", "fisher", "backprop")
EXACT, FEW_CLASSES, PER_ROW = 500, 32, 50_000  # numbers up to which "auto" takes the slower, surer way
TREATED = (nn.Linear, *CONV, nn.modules.conv._ConvTransposeNd)


def saliency(
    model: nn.Module,
    data: Data,
    *,
    of: Of = "weights",
    method: Method = "auto",
    loss: Loss = cross_entropy,
    layers: Sequence[str] | None = None,
    rows: int | None = 1024,
    samples: int = 100,
    damping: float = 0.0,
    seed: int = 0,
) -> dict[str, torch.Tensor]:
    """By how much the mean loss is expected to rise if a weight, or a unit, is removed.

    >>> from tlcore import worlds
    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> data = worlds.Gaussian(features=4, distance=4).sample(256)
    >>> {name: tuple(s.shape) for name, s in saliency(net, data).items()}
    {'0.weight': (8, 4), '2.weight': (2, 8)}
    >>> saliency(net, data, of="units")["0"].shape
    torch.Size([8])

    Parameters
    ----------
    data
        Where the loss is taken: a dataset of tensors, or batches (x, y).
    of
        "weights" of linear layers and convolutions, without biases and normalisation; or "units", the neurons and
        channels that `inner_units` finds.
    method
        For H_kk: "exact" (second derivatives by automatic differentiation, as many backward passes as numbers),
        "hutchinson" (unbiased, `samples` Hessian-vector products), "gauss_newton" (without the terms in which the
        network bends; a backward pass for each class, gradients of single rows), "fisher" (an estimate of the same
        from `samples` backward passes, for cross-entropy), or "backprop" (the paper's own, for weights of a
        `Sequential`). "auto" takes the surest that is cheap: exact up to 500 weights, Gauss-Newton up to 32 classes
        and 50,000 weights (any number of units), else Fisher for cross-entropy and Hutchinson for other losses.
    loss
        Mean over rows, of outputs (N, K) and targets (N,).
    rows
        So many of the data are used; None for all.
    damping
        Added to every H_kk. The formula knows the curvature at the weight only; where that is almost 0 a large weight
        looks as if it cost nothing, though the loss may bend on the way to 0. With 0 the ranking of weights is the
        paper's; the larger it is, the more it is that by magnitude. That of units stays: every gate is 1.

    Returns
    -------
    dict of tensors
        By parameter name, in the parameter's shape; or by layer path (C,). In units of the loss. The formula neglects
        the gradient (0 in a minimum), interactions between removals, and all beyond second order; exact
        and Hutchinson's H_kk may be below 0, where the loss bends down.

    Raises
    ------
    ValueError
        For an unknown `of` or `method`, a negative `damping`, a layer without such weights or units, or data without
        rows.
    """
    check_kind("saliency", of)
    if not damping >= 0:
        raise ValueError(f"saliency(damping={damping}): from 0 on is accepted, such as 0.05")
    where = next(model.parameters()).device
    some = some_rows(data, rows, where, seed=seed, function="saliency")
    if of == "weights":
        names, _ = weights_of(model, layers, function="saliency")
        with untouched(model):
            model.eval()
            if method == "backprop":
                second = backpropagated_diagonal(model, some, loss=loss)  # type: ignore[arg-type]
            else:
                problem = of_weights(model, names, loss)
                second = diagonal(problem, some, method, per_row=PER_ROW, samples=samples, seed=seed)
        known = dict(model.named_parameters())
        return {name: (second[name] + damping) * known[name].detach().square() / 2 for name in names}
    found, alone = inner_units(model, layers, function="saliency")
    if layers is not None and alone:
        path, why = next(iter(alone.items()))
        raise ValueError(f"saliency(of='units'): the units of {path!r} cannot be removed ({why})")
    with untouched(model):
        model.eval()
        second = _of_units(model, found, some, method, loss, samples, seed)
    return {path: (h + damping) / 2 for path, h in second.items()}  # a gate is 1


def _of_units(
    model: nn.Module, found: dict[str, Units], rows: Rows, method: Method, loss: Loss, samples: int, seed: int
) -> dict[str, torch.Tensor]:
    like = next(model.parameters())
    gates = {path: like.new_ones(its.count) for path, its in found.items()}
    if not gates:
        return {}

    def outputs(point: Point, x: torch.Tensor) -> torch.Tensor:
        held.update(point)
        return model(x)  # type: ignore[no-any-return]

    held = dict(gates)
    with gated(model, found, held):
        return diagonal(
            Problem(gates, outputs, loss, row_wise=True), rows, method, per_row=None, samples=samples, seed=seed
        )


def diagonal(
    problem: Problem, rows: Rows, method: Method, *, per_row: int | None, samples: int = 100, seed: int = 0
) -> Point:
    """H_kk by the named method; "auto" chooses one, Gauss-Newton for up to `per_row` numbers (None: any number)."""
    if method not in METHODS:
        raise ValueError(f"saliency(method={method!r}): {nearest(str(method), METHODS)}")
    if method == "backprop":
        raise ValueError("saliency(of='units', method='backprop'): for weights only; nearest: 'gauss_newton'")
    if samples < 1:
        raise ValueError(f"saliency(samples={samples}): from 1 on is accepted")
    if method == "auto":
        count = sum(tensor.numel() for tensor in problem.point.values())
        with torch.no_grad():
            classes = problem.outputs(problem.point, rows[0][0][:1]).shape[-1]
        if count <= EXACT and per_row is not None:
            method = "exact"
        elif classes <= FEW_CLASSES and (per_row is None or count <= per_row):
            method = "gauss_newton"
        else:
            method = "fisher" if problem.loss is cross_entropy else "hutchinson"
    if method == "exact":
        return exact_diagonal(problem, rows)
    if method == "gauss_newton":
        return gauss_newton_diagonal(problem, rows)
    estimate = hutchinson_diagonal if method == "hutchinson" else fisher_diagonal
    return estimate(problem, rows, samples=samples, seed=seed)


def weights_of(
    model: nn.Module, layers: Sequence[str] | None = None, *, function: str = "weights_of"
) -> tuple[list[str], dict[str, str]]:
    """Names of the weights that can be pruned, and the layers that are left alone, with the reason.

    >>> weights_of(nn.Sequential(nn.Embedding(9, 4), nn.LSTM(4, 3), nn.Linear(3, 2)))
    (['2.weight'], {'0': 'Embedding has no weights of a linear layer or convolution', '1': 'LSTM has no weights of a
    linear layer or convolution'})
    """
    names, alone = [], {}
    seen: set[int] = set()
    for path, module in model.named_modules():
        own = [p for p in module.parameters(recurse=False) if p.ndim > 1 and id(p) not in seen]
        if isinstance(module, TREATED) and not parametrize.is_parametrized(module):
            if id(module.weight) not in seen:
                names.append(f"{path}.weight" if path else "weight")
        elif isinstance(module, TREATED):
            alone[path] = f"{type(module).__name__} is parametrised"
        elif own and not isinstance(module, parametrize.ParametrizationList):
            alone[path] = f"{type(module).__name__} has no weights of a linear layer or convolution"
        seen.update(id(p) for p in module.parameters(recurse=False))
    if layers is None:
        return names, alone
    wanted = [layers] if isinstance(layers, str) else list(layers)
    for path in wanted:
        if path in alone:
            raise ValueError(f"{function}(layers=…): {path!r} cannot be treated: {alone[path]}")
        if f"{path}.weight" not in names:
            known = [name.removesuffix(".weight") for name in names]
            raise ValueError(
                f"{function}(layers=…): no linear layer or convolution at {path!r}; {nearest(str(path), known)}"
            )
    return [f"{path}.weight" for path in wanted], {}


def check_kind(function: str, of: str) -> None:
    """Raise unless `of` is one of the two."""
    if of not in ("weights", "units"):
        raise ValueError(f"{function}(of={of!r}): {nearest(str(of), ['weights', 'units'])}")
