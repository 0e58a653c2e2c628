"""Priors found without labels, on a world whose posterior is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from tlcore.runtime import device
from tlcore.shift.label_shift import adjust, bbse, calibrate, em
from tlcore.worlds import Gaussian

WORLD = Gaussian(features=5, distance=2.0, prior=0.4)


def both(plus: torch.Tensor) -> torch.Tensor:
    return torch.stack([1 - plus, plus], 1)


def shares(seed: int, *shape: int, sharp: float = 2.0) -> torch.Tensor:
    return torch.softmax(sharp * torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), -1)


@pytest.mark.parametrize("prior", [0.1, 0.5, 0.9])
def test_em_and_bbse_recover_the_prior_within_sampling_error(prior):
    found = {"em": [], "soft": [], "hard": []}
    for seed in range(20):
        source, target = WORLD.sample(2000, seed=seed), WORLD.but(prior=prior).sample(2000, seed=100 + seed)
        p, q = both(WORLD.posterior(source.inputs)), both(WORLD.posterior(target.inputs))
        found["em"].append(float(em(q, [0.6, 0.4])[1]))
        found["soft"].append(float(bbse(p, source.targets, q, 2)[1]))
        found["hard"].append(float(bbse(p.argmax(1), source.targets, q.argmax(1), 2)[1]))
    for name, values in found.items():
        # Classes overlap, so both are less sure than counting labels would be.
        one = 2.5 * math.sqrt(prior * (1 - prior) / 2000) + 0.01
        assert abs(np.mean(values) - prior) < 3 * np.std(values) / math.sqrt(20) + 0.003, name
        assert np.std(values) < one, name


def test_em_does_not_stop_half_way_with_a_weak_classifier():
    weak = WORLD.but(distance=0.5)
    q = both(weak.posterior(weak.but(prior=0.9).sample(50000).inputs))
    assert float(em(q, [0.6, 0.4])[1]) == pytest.approx(
        float(em(q, [0.6, 0.4], steps=20000, tolerance=1e-10)[1]), abs=1e-3
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 5), st.integers(0, 99))
def test_em_finds_the_greatest_likelihood(classes, seed):
    given_, prior = shares(seed, 60, classes).double(), shares(seed + 100, classes, sharp=0.5).double()
    found = em(given_, prior, steps=20000, tolerance=1e-12)
    ratios = (given_ / prior).numpy()

    def loss(logits):
        q = np.exp(logits - logits.max())
        return -np.log(ratios @ (q / q.sum())).mean()

    best = min(
        minimize(loss, start, method="BFGS").fun for start in (np.zeros(classes), found.clamp(min=1e-9).log().numpy())
    )
    assert -np.log(ratios @ found.numpy()).mean() <= best + 1e-6
    assert float(found.sum()) == pytest.approx(1) and float(found.min()) >= 0


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 5), st.integers(0, 99))
def test_bbse_solves_the_confusion_system_exactly_where_it_can(classes, seed):
    """Target predictions that are an exact mixture of the source's class means give back the mixture."""
    predictions = shares(seed, 12 * classes, classes, sharp=3.0).double()
    targets = torch.arange(12 * classes) % classes
    for n in range(classes):
        predictions[targets == n, n] += 2
    predictions /= predictions.sum(1, keepdim=True)
    mixture = shares(seed + 1, classes, sharp=1.0).double()
    mixture /= mixture.sum()
    means = torch.stack([predictions[targets == n].mean(0) for n in range(classes)])
    found = bbse(predictions, targets, (mixture @ means)[None], classes)
    assert found.tolist() == pytest.approx(mixture.tolist(), abs=1e-8)


def test_bbse_stays_a_prior_where_the_plain_solution_is_negative():
    said = torch.tensor([0, 0, 0, 1, 1, 1, 1, 0])
    true = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    found = bbse(said, true, torch.ones(10, dtype=torch.long), 2)  # the solution is (-1/2, 3/2)
    assert found.tolist() == [0, 1]


def test_adjust_is_the_posterior_of_the_world_with_the_other_prior():
    for prior in (0.05, 0.7):
        other = WORLD.but(prior=prior)
        x = other.sample(500).inputs.double()
        found = adjust(both(WORLD.posterior(x)), [0.6, 0.4], torch.tensor([1 - prior, prior]))
        assert torch.allclose(found, both(other.posterior(x)), atol=1e-6)
    p, back = shares(0, 20, 3), [0.2, 0.3, 0.5]
    assert torch.allclose(adjust(adjust(p, back, [0.1, 0.1, 0.8]), [0.1, 0.1, 0.8], back), p, atol=1e-5)
    assert adjust(p, back, [0.5, 0.5, 0])[:, 2].max() == 0


def test_calibration_finds_the_temperature_and_bias_that_were_put_in():
    draws = torch.Generator().manual_seed(0)
    honest = 2 * torch.randn(20000, 3, generator=draws)
    targets = torch.softmax(honest, 1).multinomial(1, generator=draws)[:, 0]
    bias = torch.tensor([0.5, -1.0, 0.5])
    found = calibrate(2.5 * (honest - bias), targets)
    assert found.temperature == pytest.approx(2.5, rel=0.05)
    assert torch.allclose(found.bias, bias, atol=0.08)
    assert (found(2.5 * (honest - bias)) - torch.softmax(honest, 1)).abs().max() < 0.05


def test_calibration_is_the_minimum_that_scipy_finds():
    logits, targets = torch.randn(80, 3, generator=torch.Generator().manual_seed(0)).double(), torch.arange(80) % 3
    logits[torch.arange(80), targets] += 1

    def loss(p):
        z = logits.numpy() * np.exp(p[0]) + np.append(p[1:], 0)
        return (np.log(np.exp(z).sum(1)) - z[np.arange(80), targets.numpy()]).mean()

    wanted = minimize(loss, np.zeros(3), method="BFGS").fun
    chances = calibrate(logits, targets)(logits)
    assert float(-chances[torch.arange(80), targets].log().mean()) == pytest.approx(wanted, abs=1e-8)


def test_calibrated_em_beats_em_on_boasting_probabilities():
    target_prior, errors = 0.85, {"boasting": [], "calibrated": []}
    for seed in range(8):
        source, target = WORLD.sample(3000, seed=seed), WORLD.but(prior=target_prior).sample(3000, seed=50 + seed)
        boasting = [4 * both(WORLD.posterior(d.inputs)).log() for d in (source, target)]
        calibration = calibrate(boasting[0], source.targets)
        assert calibration.temperature == pytest.approx(4, rel=0.2)
        for name, p in (("boasting", torch.softmax(boasting[1], 1)), ("calibrated", calibration(boasting[1]))):
            errors[name].append(abs(float(em(p, [0.6, 0.4])[1]) - target_prior))
    assert np.mean(errors["calibrated"]) < 0.5 * np.mean(errors["boasting"])
    assert np.mean(errors["calibrated"]) < 0.02


def test_calibrate_works_where_gradients_are_off_and_for_separable_logits():
    logits, targets = torch.tensor([[3.0, 0.0], [0.0, 3.0], [4.0, 1.0]]), torch.tensor([0, 1, 0])
    with torch.inference_mode():
        inside = calibrate(logits * 1, targets)
    assert 0 < inside.temperature < 1 and inside(logits).isfinite().all()


def test_everything_follows_dtype_and_device():
    p, y = shares(0, 30, 3), torch.arange(30) % 3
    p[torch.arange(30), y] += 1
    p = (p / p.sum(1, keepdim=True)).to(device())
    prior = torch.tensor([0.3, 0.3, 0.4], device=device())
    for found in (
        em(p, prior),
        bbse(p, y.to(device()), p, 3),
        adjust(p, prior, prior),
        calibrate(p.log(), y.to(device()))(p),
    ):
        assert found.device.type == device().type and found.dtype == torch.float32
    assert em(p.double(), prior).dtype == torch.float64


def test_bad_input_gets_a_sentence():
    p, y = shares(0, 30, 3), torch.arange(30) % 3
    hard = torch.zeros(30, dtype=torch.long)
    for call, text in (
        (lambda: bbse(hard, y, hard, 3), "confusion matrix is singular"),
        (lambda: bbse(p, y, hard, 3), "for both"),
        (lambda: bbse(p, y.clamp(max=1), p, 3), r"no row of classes \[2\]"),
        (lambda: bbse(p, y, p, 4), r"\(N, 4\) is accepted"),
        (lambda: bbse(hard + 5, y, hard, 3), "from 5 to 5; class numbers from 0 to 2"),
        (lambda: bbse(p, y[:9], p, 3), r"class numbers \(30,\)"),
        (lambda: em(p.log(), [1 / 3] * 3), "are these logits"),
        (lambda: em(p, [0.5, 0.5]), "one share a class"),
        (lambda: em(p, [0.5, 0.5, 0.5]), "sum 1"),
        (lambda: em(p, [0.5, 0.5, 0]), r"0 for classes \[2\]"),
        (lambda: em(p, [1 / 3] * 3, steps=0), "from 1 on"),
        (lambda: em(y, [1 / 3] * 3), r"probabilities \(N, K\)"),
        (lambda: adjust(p, [0.5, 0.5, 0], [0.2, 0.2, 0.6]), "nothing to adjust from"),
        (lambda: adjust(torch.tensor([[1.0, 0.0]]), [0.5, 0.5], [0, 1]), "row 0 has probability only"),
        (lambda: calibrate(p[:, 0], y), r"\(N, K\) with 2 classes"),
        (lambda: calibrate(p * torch.nan, y), "NaN"),
        (lambda: calibrate(p, y.clamp(max=1)), r"no row of classes \[2\]"),
        (lambda: calibrate(p, y)(p[:, :2]), r"\(N, 3\) is accepted"),
    ):
        with pytest.raises(ValueError, match=text):
            call()
