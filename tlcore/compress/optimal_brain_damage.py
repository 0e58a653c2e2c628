"""Optimal Brain Damage: remove what the loss's curvature says is missed least, train the rest, again.

LeCun, Denker, Solla 1990, "Optimal Brain Damage" (NIPS 2). The lecture's slide says "neurons"; the paper's saliency is
of single weights. Both are here.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from tlcore.compress.given import Data
from tlcore.compress.pruned import Pruned
from tlcore.compress.pruning import prune
from tlcore.compress.saliency import Method, Of


def optimal_brain_damage(
    model: nn.Module,
    train: Data,
    val: Data | None = None,
    *,
    sparsity: float,
    of: Of = "weights",
    method: Method = "auto",
    samples: int = 100,
    damping: float = 0.0,
    **options: Any,
) -> Pruned:
    """A copy of `model` without the weights or units of least saliency H_kk a_k² / 2.

    >>> from tlcore import training, worlds
    >>> train, val = worlds.Gaussian(features=4, distance=4).sample(512).split(0.5)
    >>> net = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
    >>> _ = training.fit(net, train, epochs=5, progress=False)
    >>> done = optimal_brain_damage(net, train, val, sparsity=0.9, rounds=3, epochs=2)
    >>> [round(r.sparsity, 2) for r in done.rounds], sum(int(mask.sum()) for mask in done.masks.values())
    ([0.0, 0.54, 0.79, 0.9], 19)

    Parameters
    ----------
    sparsity
        Share to remove, from 0 to 1.
    of
        "weights" are set to 0 and held there; "units" (neurons, channels) are taken out: the network becomes smaller
        and faster.
    method, samples, damping
        How H_kk is found, and what is added to it, see `saliency`.
    options
        Of `prune`: rounds, epochs, lr, scope, layers, rows, loss, device, seed, and those of `training.fit`.

    Notes
    -----
    The formula holds for one small removal at a minimum. Where much goes at once, the weights that are left no longer
    have the curvature that was measured: take several `rounds`, with `epochs` of training between them.

    Raises
    ------
    ValueError
        As `prune` and `saliency`.
    """
    how = {"method": method, "samples": samples, "damping": damping}
    return prune(model, train, val, sparsity=sparsity, criterion="obd", of=of, curvature=how, **options)
