from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.semi_supervised import LabelPropagation

from tlcore import transfer
from tlcore.transfer.relations import UNKNOWN, _harmonic, propagate


def graph(seed: int, n: int = 9) -> np.ndarray:
    draws = np.random.default_rng(seed)
    w = draws.random((n, n)) * (draws.random((n, n)) < 0.6)
    w = np.triu(w, 1) + np.diag(np.full(n - 1, 0.1), 1)  # a chain keeps it in one piece
    return w + w.T


@given(st.integers(0, 500), st.floats(0, 1))
@settings(max_examples=20, deadline=None)
def test_beliefs_are_the_fixed_point_of_averaging(seed, leak):
    w, y = graph(seed), np.array([0, 1, 2] + [UNKNOWN] * 6)
    found = propagate(w, y, 3, leak=leak)
    assert np.allclose(found.sum(1), 1) and np.allclose(found[:3], np.eye(3))
    for node in range(3, 9):
        mean = (w[node] @ found + leak / 3) / (w[node].sum() + leak)
        assert np.allclose(found[node], mean)


def test_beliefs_are_where_a_random_walk_ends():
    w, y = graph(1, 6), np.array([0, 1, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN])
    draws = np.random.default_rng(0)
    ends = []
    for _ in range(4000):
        node = 4
        while y[node] < 0:
            node = draws.choice(6, p=w[node] / w[node].sum())
        ends.append(y[node])
    assert propagate(w, y, 2, leak=0)[4, 1] == pytest.approx(np.mean(ends), abs=0.03)


def test_scikit_learn_arrives_at_the_same():
    w, y = graph(2), np.array([0, 1, 1, 0] + [UNKNOWN] * 5)
    model = LabelPropagation(kernel=lambda a, b: w.copy(), max_iter=20_000, tol=1e-12).fit(np.zeros((9, 1)), y)
    assert np.allclose(model.label_distributions_, propagate(w, y, 2, leak=0), atol=1e-5)


def test_a_part_without_known_nodes_gets_equal_beliefs_or_is_told():
    w = np.zeros((4, 4))
    w[0, 1] = w[1, 0] = w[2, 3] = w[3, 2] = 1
    y = [0, UNKNOWN, UNKNOWN, UNKNOWN]
    assert np.allclose(propagate(w, y, 2)[2:], 0.5)
    with pytest.raises(ValueError, match="2 nodes cannot be reached"):
        propagate(w, y, 2, leak=0)


def test_gradients_of_the_solution():
    import torch

    w = torch.from_numpy(graph(3)).requires_grad_()
    y = torch.tensor([0, 1, 2] + [UNKNOWN] * 6)
    assert torch.autograd.gradcheck(lambda a: _harmonic(a, y, 3, 0.1), w)


def test_networks_have_the_homophily_they_are_asked_for():
    source, target = transfer.networks((900, 600), homophily=(0.9, 0.5, 0.1), degree=10)
    for net in (source, target):
        same = net.targets[:, None] == net.targets
        shares = (net.relations * same).sum((1, 2)) / net.relations.sum((1, 2))
        assert np.allclose(shares, [0.9, 0.5, 0.1], atol=0.03)
        assert np.allclose(net.relations.sum(2).mean(1), 10, atol=0.6)
        assert (
            np.array_equal(net.relations, net.relations.transpose(0, 2, 1))
            and not np.einsum("rii->ri", net.relations).any()
        )


def test_weights_of_relations_are_worth_carrying_over():
    """Against equal weights, and the best relation is found whichever it is."""
    gains = []
    for seed, order in enumerate(itertools.permutations((0.8, 0.4, 1 / 3))):
        source, target = transfer.networks((150, 150), homophily=order, seed=seed)
        known = np.where(np.random.default_rng(seed).random(150) < 0.08, target.targets, UNKNOWN)
        known[[np.flatnonzero(target.targets == k)[0] for k in range(3)]] = [0, 1, 2]
        model = transfer.RelationalTransfer().fit(source.relations, source.targets, target.relations, known)
        asked = known < 0
        equal = propagate(target.relations.mean(0), known, 3, leak=0.05).argmax(1)
        gains.append((model.predict() == target.targets)[asked].mean() - (equal == target.targets)[asked].mean())
        assert model.weights_.argmax() == np.argmax(order)
        assert model.weights_.sum() == pytest.approx(1)
    assert np.mean(gains) > 0.1 and min(gains) > 0


def test_seeds_repeat():
    source, target = transfer.networks((40, 30))
    known = np.where(np.arange(30) < 9, target.targets, UNKNOWN)
    fits = [
        transfer.RelationalTransfer(steps=5).fit(source.relations, source.targets, target.relations, known)
        for _ in range(2)
    ]
    assert np.array_equal(fits[0].beliefs_, fits[1].beliefs_)


def test_what_cannot_be_is_told():
    source, target = transfer.networks((30, 24))
    known = np.where(np.arange(24) < 12, target.targets, UNKNOWN)
    fit = transfer.RelationalTransfer().fit
    for data, wanted in (
        ((source.relations, source.targets, target.relations[:2], known), "source has 3 relations, the target 2"),
        ((source.relations, source.targets, target.relations, None), "yt is None"),
        ((source.relations, source.targets, target.relations, np.full(24, -1)), "no known label"),
        (
            (source.relations, source.targets, target.relations, np.where(known == 2, -1, known)),
            "class 2 is in ys, and no known",
        ),
        ((source.relations, source.targets, target.relations, np.where(known == 2, 5, known)), "class numbers below 3"),
        (
            (source.relations, np.where(source.targets == 1, -1, source.targets), target.relations, known),
            "have no label",
        ),
        ((source.relations[0], source.targets, target.relations, known), r"\(30, 30\); relations \(R, N, N\)"),
        ((-source.relations, source.targets, target.relations, known), "negative"),
    ):
        with pytest.raises(ValueError, match=wanted):
            fit(*data)
    with pytest.raises(ValueError, match="hidden=1"):
        transfer.RelationalTransfer(hidden=1).fit(source.relations, source.targets, target.relations, known)
    with pytest.raises(ValueError, match="from 2 classes and 6 nodes"):
        transfer.networks((5,))
    with pytest.raises(ValueError, match="not symmetric"):
        propagate(np.array([[0, 1.0], [0, 0]]), [0, -1], 2)
