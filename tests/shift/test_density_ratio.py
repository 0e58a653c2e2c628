"""Importance weights against the closed form of two Gaussians."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from tlcore.runtime import device
from tlcore.shift.density_ratio import effective_size, kliep, logistic_ratio


def pair(n: int, m: int, features: int, shift: float, spread: float, seed: int = 0):
    """Source N(0, 1), target N(shift e_1, spread²), and the true logarithm of the ratio at the source's rows."""
    draws = torch.Generator().manual_seed(seed)
    x, y = torch.randn(n, features, generator=draws), spread * torch.randn(m, features, generator=draws)
    mean = torch.zeros(features)
    mean[0] = shift
    true = (x.square().sum(1) - (x - mean).square().sum(1) / spread**2) / 2 - features * math.log(spread)
    return x, y + mean, true


def agree(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.double(), b.double()]))[0, 1])


@pytest.mark.parametrize(
    ("ratio", "options", "shift", "spread", "wanted"),
    [
        (logistic_ratio, {}, 1.0, 1.0, 0.97),
        (logistic_ratio, {"degree": 2}, 0.7, 0.6, 0.97),
        (kliep, {}, 0.7, 0.6, 0.95),
    ],
)
def test_the_ratio_of_two_gaussians(ratio, options, shift, spread, wanted):
    x, y, true = pair(1500, 1000, 2, shift, spread)
    w = ratio(x, y, **options)
    assert w.shape == (1500,) and w.dtype == torch.float32 and float(w.min()) >= 0
    assert float(w.mean()) == pytest.approx(1, abs=1e-5)
    assert agree(w.clamp(min=1e-6).log(), true) > wanted and agree(w, true.exp()) > wanted
    assert ((w[:, None] * x).mean(0) - y.mean(0)).abs().max() < 0.12
    assert ((w[:, None] * x**2).mean(0) - (y**2).mean(0)).abs().max() < 0.4
    assert effective_size(w) == pytest.approx(effective_size(true.exp()), rel=0.3)
    assert torch.equal(w, ratio(x, y, **options))


def test_a_linear_ratio_does_not_see_a_variance():
    x, y, true = pair(1500, 1000, 2, 0.0, 0.5)
    assert agree(logistic_ratio(x, y), true.exp()) < 0.5 < 0.9 < agree(logistic_ratio(x, y, degree=2), true.exp())


@pytest.mark.parametrize("ratio", [logistic_ratio, kliep])
def test_without_a_shift_rows_count_about_the_same(ratio):
    x, y, _ = pair(800, 300, 3, 0.0, 1.0)
    assert effective_size(ratio(x, y)) > 0.8 * 800


def test_strength_flattens_the_weights():
    x, y, _ = pair(500, 500, 2, 1.0, 1.0)
    sizes = [effective_size(logistic_ratio(x, y, strength=s)) for s in (0.1, 100, 1e6)]
    assert sizes == sorted(sizes) and sizes[-1] == pytest.approx(500, rel=1e-3)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 99), st.floats(0.5, 2))
def test_kliep_finds_the_maximum_under_its_constraints(seed, bandwidth):
    x, y, _ = (part.double() for part in pair(30, 20, 2, 0.5, 0.8, seed))
    w = kliep(x, y, bandwidth=bandwidth, centres=20).numpy()
    near, far = (np.exp(-(torch.cdist(a, y) ** 2).numpy() / (2 * bandwidth**2)) for a in (y, x))
    expected = far.mean(0)
    start = np.full(20, 0.05)
    found = minimize(
        lambda s: -np.log(near @ (s / expected)).mean(),
        start,
        jac=lambda s: -((1 / (near @ (s / expected)))[:, None] * near / expected).mean(0),
        bounds=[(0, 1)] * 20,
        constraints={"type": "eq", "fun": lambda s: s.sum() - 1, "jac": lambda s: np.ones(20)},
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-10},
    )
    assert w == pytest.approx(far @ (found.x / expected), abs=0.05 * w.max())


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20).filter(lambda v: max(v) > 1e-3), st.floats(1e-3, 1e3))
def test_effective_size_is_between_one_and_all(weights, scale):
    w = torch.tensor(weights, dtype=torch.float64)
    found = effective_size(w)
    assert 1 - 1e-9 <= found <= len(weights) + 1e-9
    assert effective_size(scale * w) == pytest.approx(found)
    assert found == pytest.approx(sum(weights) ** 2 / sum(v * v for v in weights), rel=1e-9)


@pytest.mark.parametrize("ratio", [logistic_ratio, kliep])
def test_pictures_bytes_and_devices(ratio):
    draws = torch.Generator().manual_seed(0)
    x, y = ((torch.rand(40, 1, 3, 3, generator=draws) * 255).to(torch.uint8) for _ in range(2))
    w, same = ratio(x, y), ratio((x / 255).to(device()), (y / 255).to(device()))
    assert w.dtype == torch.float32 and same.device.type == device().type
    assert torch.allclose(w, same.cpu(), atol=1e-4)


def test_kliep_is_unmoved_by_the_origin():
    x, y, _ = pair(100, 80, 2, 0.5, 0.8)
    assert torch.allclose(kliep(x.double() + 1e5, y.double() + 1e5), kliep(x.double(), y.double()), atol=1e-4)


def test_bad_input_gets_a_sentence():
    x = torch.zeros(5, 2)
    for ratio in (logistic_ratio, kliep):
        with pytest.raises(ValueError, match=f"{ratio.__name__}: rows of source are"):
            ratio(x, torch.zeros(5, 3))
        with pytest.raises(ValueError, match="at least 2 rows"):
            ratio(x[:1], x)
    for call, text in (
        (lambda: logistic_ratio(x, x, strength=0), "above 0"),
        (lambda: logistic_ratio(x, x, degree=3), "accepted are 1"),
        (lambda: kliep(x, x, bandwidth=0), "a distance above 0"),
        (lambda: kliep(x, x, centres=0), "from 1 on"),
        (lambda: kliep(x, x + 1e4, bandwidth=1.0), "do not overlap"),
        (lambda: effective_size(torch.zeros(3)), "not all 0"),
        (lambda: effective_size(torch.tensor([1.0, -1.0])), "from -1 to 1"),
        (lambda: effective_size(x), r"one a row, \(N,\)"),
    ):
        with pytest.raises(ValueError, match=text):
            call()
