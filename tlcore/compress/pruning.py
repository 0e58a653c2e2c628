"""Pruning: rank all weights or units, remove the least, train the rest, again.

The loop is the one of LeCun, Denker, Solla 1990 ("Optimal Brain Damage", section 2.3); how to rank is a choice.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tlcore import runtime, training
from tlcore.compress.cuts import CutUnits, CutWeights, Scores
from tlcore.compress.given import Data, Rows, check_share, some_rows
from tlcore.compress.pruned import Pruned, Round
from tlcore.compress.saliency import Of, check_kind, saliency, weights_of
from tlcore.compress.units import inner_units
from tlcore.runtime import nearest

Criterion = Callable[[nn.Module, Rows], Scores]
Scope = Literal["network", "layer"]
CRITERIA = ("obd", "magnitude", "random")


def prune(
    model: nn.Module,
    train: Data,
    val: Data | None = None,
    *,
    sparsity: float,
    criterion: str | Criterion = "obd",
    of: Of = "weights",
    scope: Scope = "network",
    layers: Sequence[str] | None = None,
    rounds: int = 1,
    epochs: int = 0,
    lr: float = 0.01,
    rows: int | None = 1024,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = cross_entropy,
    device: torch.device | str | None = None,
    seed: int = 0,
    progress: bool = False,
    curvature: Mapping[str, Any] | None = None,
    **options: Any,
) -> Pruned:
    """A copy of `model` with the least important weights set to 0, or the least important units taken out.

    >>> from tlcore import worlds
    >>> data = worlds.Gaussian(features=4, distance=4).sample(256)
    >>> net = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
    >>> done = prune(net, data, sparsity=0.75, of="units", epochs=1)
    >>> done.model[0], done.sparsity
    (Linear(in_features=4, out_features=8, bias=True), 0.75)
    >>> {name: int(mask.sum()) for name, mask in prune(net, data, sparsity=0.5).masks.items()}.keys()
    dict_keys(['0.weight', '2.weight'])

    Parameters
    ----------
    train
        A dataset of tensors or a re-iterable of batches (x, y): for the curvature and for recovery training.
    val
        Judges each round; never used to choose.
    sparsity
        Share of the weights of linear layers and convolutions, or of the inner units, to remove. At 1 a layer keeps
        its best unit.
    criterion
        "obd" (`saliency`), "magnitude" (|w|; for a unit the mean |w| of its row), "random", or a function of the model
        and of batches [(x, y)] that gives scores as `saliency` does, the least important lowest.
    of
        "weights" are masked: the arrays keep their size. "units" are taken out of them.
    scope
        Rank over the whole network, or give each layer the same sparsity.
    layers
        Paths of the layers to prune; None for all that can be.
    rounds
        Steps in which the sparsity is reached, each removing the same share of what is left.
    epochs
        Of recovery training after each round, with masks kept; 0 for none.
    rows
        Of `train`, for the curvature.
    curvature
        Further options of `saliency`: method, samples, damping.
    lr, loss, options
        Of `training.fit`.

    Raises
    ------
    ValueError
        For a sparsity outside [0, 1], unknown names, a named layer that cannot be treated, or scores that do not fit.
        Where `layers` is not given, what cannot be treated is in `left_alone`.
    """
    _check(sparsity, criterion, scope, rounds, epochs)
    check_kind("prune", of)
    where = runtime.device() if device is None else torch.device(device)
    new = copy.deepcopy(model).to(where)
    some = some_rows(train, rows, where, seed=seed, function="prune")
    rank = _criterion(criterion, of, layers, loss, seed, dict(curvature or {}))
    state = (CutWeights if of == "weights" else CutUnits)(new, layers)
    if not state.total:
        why = "; ".join(f"{path}: {told}" for path, told in state.alone.items()) or "it has no layers"
        raise ValueError(f"prune(of={of!r}): this network has none that could go ({why})")
    done = Pruned(new, left_alone=state.alone)

    def judged() -> tuple[float | None, float | None]:
        return (None, None) if val is None else training.evaluate(new, val, loss=loss, device=where)

    first = judged()
    done.rounds.append(Round(0, 0.0, state.parameters(), *first, *first))
    for number in range(1, rounds + 1):
        share = 1 - (1 - sparsity) ** (number / rounds)
        state.cut(state.checked(rank(new, some)), share, scope == "layer")
        cut = after = judged()
        if epochs:
            with state.held():
                training.fit(
                    new, train, epochs=epochs, lr=lr, loss=loss, device=where, seed=seed, progress=progress, **options
                )
            after = judged()
        done.rounds.append(Round(number, state.gone() / state.total, state.parameters(), *cut, *after))
    new.train(model.training)
    done.masks, done.kept = state.masks, state.kept
    return done


def magnitude_pruning(model: nn.Module, train: Data, val: Data | None = None, **options: Any) -> Pruned:
    """`prune` by size: the least |w| goes first (Han et al. 2015); of units the least mean |w| (Li et al. 2017).

    >>> net = nn.Sequential(nn.Linear(2, 2, bias=False))
    >>> _ = net[0].weight.data.copy_(torch.tensor([[3.0, -1.0], [0.5, 2.0]]))
    >>> magnitude_pruning(net, [(torch.ones(1, 2), torch.tensor([0]))], sparsity=0.5).model[0].weight.tolist()
    [[3.0, 0.0], [0.0, 2.0]]
    """
    return prune(model, train, val, criterion="magnitude", **options)


def random_pruning(model: nn.Module, train: Data, val: Data | None = None, **options: Any) -> Pruned:
    """`prune` by lot: what any other criterion has to beat at the same sparsity.

    >>> net = nn.Sequential(nn.Linear(10, 10))
    >>> done = random_pruning(net, [(torch.ones(1, 10), torch.tensor([0]))], sparsity=0.3)
    >>> int(done.masks["0.weight"].sum())
    70
    """
    return prune(model, train, val, criterion="random", **options)


def _criterion(
    criterion: str | Criterion, of: Of, layers: Sequence[str] | None, loss: Any, seed: int, options: dict[str, Any]
) -> Criterion:
    if not isinstance(criterion, str):
        return criterion
    draws = torch.Generator().manual_seed(seed)

    def obd(model: nn.Module, rows: Rows) -> Scores:
        return saliency(model, rows, of=of, loss=loss, layers=layers, rows=None, seed=seed, **options)

    def magnitude(model: nn.Module, rows: Rows) -> Scores:
        if of == "weights":
            known = dict(model.named_parameters())
            return {name: known[name].detach().abs() for name in weights_of(model, layers)[0]}
        found, _ = inner_units(model, layers)
        return {p: model.get_submodule(p).weight.detach().flatten(1).abs().mean(1) for p in found}  # type: ignore[operator, union-attr]

    def random(model: nn.Module, rows: Rows) -> Scores:
        return {name: torch.rand(s.shape, generator=draws).to(s.device) for name, s in magnitude(model, rows).items()}

    return {"obd": obd, "magnitude": magnitude, "random": random}[criterion]


def _check(sparsity: float, criterion: Any, scope: str, rounds: int, epochs: int) -> None:
    check_share("prune", "sparsity", sparsity)
    if isinstance(criterion, str) and criterion not in CRITERIA:
        raise ValueError(f"prune(criterion={criterion!r}): {nearest(criterion, CRITERIA)}, or a function")
    if scope not in ("network", "layer"):
        raise ValueError(f"prune(scope={scope!r}): {nearest(str(scope), ('network', 'layer'))}")
    if rounds < 1 or epochs < 0:
        raise ValueError(f"prune(rounds={rounds}, epochs={epochs}): rounds from 1 on and epochs from 0 on are accepted")
