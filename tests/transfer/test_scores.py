"""LEEP and LogME against loops, a multivariate normal, and what they are for: telling better sources from worse."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from tlcore import transfer
from tlcore.transfer.scores import _evidence


def leep_in_loops(theta, y):
    classes, count = range(max(y) + 1), len(y)
    joint = [
        [sum(theta[i][z] for i in range(count) if y[i] == k) / count for z in range(len(theta[0]))] for k in classes
    ]
    marginal = [sum(joint[k][z] for k in classes) for z in range(len(theta[0]))]
    total = 0.0
    for i in range(count):
        total += math.log(sum(joint[y[i]][z] / marginal[z] * theta[i][z] for z in range(len(theta[0]))))
    return total / count


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 30), st.integers(2, 6), st.integers(2, 4), st.integers(0, 10_000))
def test_leep_is_what_the_paper_defines(count, sources, classes, seed):
    draws = np.random.default_rng(seed)
    theta, y = draws.dirichlet(np.ones(sources), count), draws.integers(classes, size=count)
    assert transfer.leep(theta, y) == pytest.approx(leep_in_loops(theta.tolist(), y.tolist()), abs=1e-9)
    shuffled = draws.permutation(sources)
    assert transfer.leep(torch.tensor(theta[:, shuffled]), torch.tensor(y)) == pytest.approx(
        transfer.leep(theta, y), abs=1e-5
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(5, 40), st.integers(1, 60), st.integers(0, 10_000))
def test_the_evidence_is_a_normal_density_at_its_top(count, width, seed):
    draws = np.random.default_rng(seed)
    features = draws.normal(size=(count, width))
    y = (features[:, 0] + 0.5 * draws.normal(size=count) > 0).astype(float)
    u, s, _ = np.linalg.svd(features, full_matrices=False)
    found = _evidence(u, s, y, width)

    def density(alpha, beta):
        return multivariate_normal.logpdf(y, np.zeros(count), np.eye(count) / beta + features @ features.T / alpha)

    if found.alpha < 1e6 and found.beta < 1e6:  # else y is explained by nothing, or by everything
        assert found.value == pytest.approx(density(found.alpha, found.beta), rel=1e-6, abs=1e-6)
        for a, b in ((1.3, 1), (0.77, 1), (1, 1.3), (1, 0.77)):
            assert density(found.alpha * a, found.beta * b) <= found.value + 1e-4 * abs(found.value) + 1e-3


def test_better_features_score_higher():
    draws = torch.Generator().manual_seed(0)
    y = torch.arange(300) % 3
    centres = torch.eye(3)[y]
    noisy = [centres + spread * torch.randn(300, 3, generator=draws) for spread in (0.2, 0.5, 1.0, 3.0)]
    for score in (transfer.logme, lambda x, t: transfer.leep((4 * x).softmax(1), t)):
        scores = [score(x, y) for x in noisy]
        assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: transfer.leep([[2.0, 1.0]], [0]), "softmax of the logits"),
        (lambda: transfer.leep([[0.5, 0.5]], [0, 1]), "1 rows and 2 labels"),
        (lambda: transfer.logme([[1.0], [2.0]], [1, 1]), "one class"),
        (lambda: transfer.logme([[1.0], [math.nan]], [0, 1]), "row 1 holds"),
        (lambda: transfer.logme([[1.0], [2.0]], [0.5, 1.0]), "class numbers"),
        (lambda: transfer.logme([1.0, 2.0], [0, 1]), "rows"),
    ],
)
def test_bad_input_gets_a_sentence(call, text):
    with pytest.raises(ValueError, match=text):
        call()
