"""Distances between samples against double loops, NumPy, SciPy and closed forms; p-values against what chance does."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, norm, wasserstein_distance

from tlcore.runtime import device
from tlcore.shift import divergences
from tlcore.shift.divergences import (
    Evidence,
    classifier_test,
    coral_distance,
    mmd,
    per_class,
    proxy_a_distance,
    sliced_wasserstein,
)
from tlcore.worlds import Dataset, Gaussian

MEASURES = [mmd, coral_distance, proxy_a_distance, sliced_wasserstein, classifier_test]
SIZES = st.integers(2, 12)


def sample(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def by_loops(x: torch.Tensor, y: torch.Tensor, bandwidth: float) -> float:
    """Gretton et al. 2012, eq. 3, as it stands there."""

    def kernel(a, b):
        return math.exp(-sum((p - q) ** 2 for p, q in zip(a, b)) / (2 * bandwidth**2))

    def mean(rows, others, same):
        values = [kernel(a, b) for i, a in enumerate(rows) for j, b in enumerate(others) if not (same and i == j)]
        return sum(values) / len(values)

    a, b = x.flatten(1).tolist(), y.flatten(1).tolist()
    return mean(a, a, True) + mean(b, b, True) - 2 * mean(a, b, False)


@settings(max_examples=30, deadline=None)
@given(SIZES, SIZES, st.integers(1, 4), st.floats(0.3, 5), st.integers(0, 99), st.sampled_from([0, 1e4]))
def test_mmd_is_the_double_loop(n, m, features, bandwidth, seed, far):
    x, y = sample(n, features, seed=seed).double() + far, sample(m, features, seed=seed + 100).double() + far + 0.3
    found = mmd(x, y, bandwidth=bandwidth, permutations=3).statistic
    assert found == pytest.approx(by_loops(x, y, bandwidth), abs=1e-7 if far else 1e-12)
    assert found == pytest.approx(mmd(y, x, bandwidth=bandwidth, permutations=0).statistic, abs=1e-9)


def test_mmd_chooses_the_median_distance():
    x, y = sample(20, 3, seed=0), sample(31, 3, seed=1)
    median = float(torch.pdist(torch.cat([x, y]).double()).median())
    assert mmd(x, y, permutations=0).statistic == pytest.approx(by_loops(x, y, median), abs=1e-9)
    same = torch.ones(5, 2)
    assert mmd(same, same).statistic == 0 and mmd(same, same).p_value == 1
    many_copies = torch.cat([torch.zeros(40, 1), torch.ones(3, 1)])
    assert mmd(many_copies, torch.zeros(30, 1), permutations=0).statistic > 0


def test_mmd_does_not_depend_on_its_blocks(monkeypatch):
    x, y = sample(30, 4, seed=0), sample(20, 4, seed=1) + 0.2
    whole = mmd(x, y)
    monkeypatch.setattr(divergences, "_BLOCK", 7 * 50)
    parts = mmd(x, y)
    assert parts.statistic == pytest.approx(whole.statistic, abs=1e-12) and parts.p_value == whole.p_value


def test_the_p_value_of_mmd_is_that_of_all_splits():
    x, y = sample(4, 2, seed=0), sample(3, 2, seed=3) + 0.8
    pooled = torch.cat([x, y])
    all_splits = [
        by_loops(pooled[list(rows)], pooled[[n for n in range(7) if n not in rows]], 1.3)
        for rows in itertools.combinations(range(7), 4)
    ]
    exact = np.mean([value >= by_loops(x, y, 1.3) - 1e-12 for value in all_splits])
    assert mmd(x, y, bandwidth=1.3, permutations=5000).p_value == pytest.approx(exact, abs=0.03)


@pytest.mark.parametrize(("n", "m", "features"), [(40, 40, 5), (15, 60, 2)])
def test_the_p_value_of_mmd_is_uniform_by_chance(n, m, features):
    found = [mmd(sample(n, features, seed=2 * s), sample(m, features, seed=2 * s + 1), seed=s) for s in range(200)]
    assert kstest([e.p_value for e in found], "uniform").pvalue > 0.01
    statistics = np.array([e.statistic for e in found])
    assert abs(statistics.mean()) < 3 * statistics.std() / np.sqrt(len(statistics))


def test_groups_see_what_is_within_classes_only():
    world = Gaussian(features=4, distance=4.0)
    source, other = world.sample(300), world.but(prior=0.8).sample(250, seed=1)
    groups = (source.targets, other.targets)
    assert mmd(source.inputs, other.inputs).p_value < 0.01
    assert mmd(source.inputs, other.inputs, groups=groups).p_value > 0.05
    assert mmd(source.inputs, other.inputs + 0.7 * (other.targets[:, None] == 1), groups=groups).p_value < 0.01
    sizes, apart = [], []
    for k in (0, 1):
        x, y = source.inputs[source.targets == k][:20], other.inputs[other.targets == k][:15]
        sizes.append(len(x) + len(y))
        apart.append((x, y, by_loops(x, y, 2.0)))
    x, y = torch.cat([a[0] for a in apart]), torch.cat([a[1] for a in apart])
    lonely = torch.cat([x, x[:1]])  # the only row of class 7 on either side is left out
    found = mmd(
        lonely,
        y,
        bandwidth=2.0,
        permutations=5,
        groups=(torch.tensor([0] * 20 + [1] * 20 + [7]), torch.tensor([0] * 15 + [1] * 15)),
    )
    wanted = sum(size * a[2] for size, a in zip(sizes, apart)) / sum(sizes)
    assert found.statistic == pytest.approx(wanted, abs=1e-9)


def test_the_grouped_p_value_is_uniform_whatever_the_prior():
    world, p_values = Gaussian(features=3, distance=3.0), []
    for s in range(150):
        a, b = world.but(prior=0.3).sample(60, seed=2 * s), world.but(prior=0.7).sample(50, seed=2 * s + 1)
        p_values.append(mmd(a.inputs, b.inputs, groups=(a.targets, b.targets), permutations=100, seed=s).p_value)
    assert kstest(p_values, "uniform").pvalue > 0.01


@settings(max_examples=30, deadline=None)
@given(SIZES, SIZES, st.integers(2, 40), st.integers(0, 99))
def test_coral_is_numpys_covariance(n, m, features, seed):
    x, y = sample(n, features, seed=seed), 2 * sample(m, features, seed=seed + 100) + 3
    apart = np.cov(x.double().numpy(), rowvar=False) - np.cov(y.double().numpy(), rowvar=False)
    assert coral_distance(x, y) == pytest.approx((apart**2).sum() / (4 * features**2), rel=1e-9)


def test_proxy_a_distance_is_the_best_linear_error():
    for gap in (1.0, 3.0):
        x, y = sample(3000, 3, seed=0), sample(1000, 3, seed=1)
        y[:, 0] += gap
        wanted = 2 * (1 - 2 * norm.cdf(-gap / 2))
        assert proxy_a_distance(x, y) == pytest.approx(wanted, abs=0.08)
        assert proxy_a_distance(y, x) == pytest.approx(wanted, abs=0.08)
    assert 0 <= proxy_a_distance(x, sample(500, 3, seed=5)) < 0.15


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 40), st.integers(2, 40), st.integers(0, 99))
def test_in_one_dimension_it_is_scipys_wasserstein(n, m, seed):
    x, y = sample(n, seed=seed).double(), 2 * sample(m, seed=seed + 100).double() + 1
    found = sliced_wasserstein(x, y, projections=3, seed=seed)
    assert found == pytest.approx(wasserstein_distance(x.numpy(), y.numpy()), rel=1e-9)
    common = math.lcm(n, m)
    repeated = [v.sort().values.repeat_interleave(common // len(v)) for v in (x, y)]
    second = float((repeated[0] - repeated[1]).square().mean().sqrt())
    assert sliced_wasserstein(x, y, order=2) == pytest.approx(second, rel=1e-9)
    assert sliced_wasserstein(y, x, order=2) == pytest.approx(second, rel=1e-9)


def test_sliced_wasserstein_of_a_shift_in_many_dimensions():
    x = sample(200, 3, 4, 4, seed=0)
    offset = sample(3, 4, 4, seed=1)
    wanted = float(offset.norm()) / math.sqrt(48)
    assert sliced_wasserstein(x, x + offset, order=2, projections=96) == pytest.approx(wanted, rel=1e-5)
    shares = np.abs(np.random.default_rng(0).normal(size=(20000, 48)))
    first = float(offset.norm()) * (shares[:, 0] / np.linalg.norm(shares, axis=1)).mean()
    assert sliced_wasserstein(x, x + offset, projections=2000) == pytest.approx(first, rel=0.03)


@pytest.mark.parametrize(("n", "m", "features"), [(60, 60, 3), (25, 120, 4)])
def test_the_classifier_test_keeps_its_level(n, m, features):
    found = [
        classifier_test(sample(n, features, seed=2 * s), sample(m, features, seed=2 * s + 1), seed=s)
        for s in range(200)
    ]
    p_values = np.array([e.p_value for e in found])
    assert (p_values <= 0.05).mean() <= 0.05 and (p_values <= 0.2).mean() <= 0.25
    assert np.mean([e.statistic for e in found]) == pytest.approx(0.5, abs=0.02)


def test_the_classifier_test_sees_means_variances_and_dependence():
    x, y = sample(400, 4, seed=0), sample(300, 4, seed=1)
    turned = torch.cat([y[:, :1], 0.8 * y[:, :1] + 0.6 * y[:, 1:2], y[:, 2:]], 1)
    for moved in (y + torch.tensor([0.8, 0, 0, 0]), 1.6 * y, turned):
        found = classifier_test(x, moved)
        assert found.p_value < 0.01 and found.statistic > 0.55, found
    apart = classifier_test(x, y + 9)
    assert apart.statistic == 1 and repr(apart) == "classifier test 1 (p < 0.0001)"


def test_the_classifier_test_takes_any_classifier():
    from sklearn.dummy import DummyClassifier
    from sklearn.tree import DecisionTreeClassifier

    x, y = sample(100, 2, seed=0), sample(150, 2, seed=1) + 2
    tree = DecisionTreeClassifier(max_depth=3, random_state=0)
    assert classifier_test(x, y, classifier=tree).p_value < 1e-6
    assert not hasattr(tree, "tree_")  # ours to copy, not to train
    lazy = classifier_test(x, y, classifier=DummyClassifier())
    assert lazy.statistic == 0.5 and lazy.p_value == pytest.approx(0.5)
    with pytest.raises(TypeError, match="fit and predict"):
        classifier_test(x, y, classifier=3)


def test_per_class_goes_by_name():
    x, y = sample(60, 2, seed=0), torch.arange(60) % 3
    source = Dataset(x, y, ("cat", "dog", "owl"))
    target = Dataset(x + 5.0 * (y[:, None] == 1), 2 - y, ("owl", "dog", "cat"))
    found = per_class(sliced_wasserstein, source, target, order=2, projections=50)
    assert list(found) == ["cat", "dog", "owl"] and found["cat"] == found["owl"] == 0
    assert found["dog"] == pytest.approx(5.0, rel=1e-5)
    few = target[target.targets != 2][:21]
    assert list(per_class(mmd, source, few, permutations=10)) == ["dog", "owl"]
    with pytest.raises(ValueError, match="target has no classes"):
        per_class(mmd, source, Dataset(x, y))
    with pytest.raises(ValueError, match="no class name in both; source has 'cat', target nearest: 'cart'"):
        per_class(mmd, source, Dataset(x, torch.zeros(60, dtype=torch.long), ("cart",)))
    with pytest.raises(ValueError, match="none of cat, dog, owl has 2 rows"):
        per_class(mmd, source, target[:2])


@pytest.mark.parametrize("measure", MEASURES)
def test_every_measure_takes_bytes_and_both_devices(measure):
    x, y = ((torch.rand(40, 1, 3, 3, generator=torch.Generator().manual_seed(s)) * 255).to(torch.uint8) for s in (0, 1))
    kinds = [
        measure(a, b) for a, b in ((x, y), (x / 255, y / 255), (x.to(device()), y.to(device())), (x.to(device()), y))
    ]
    values = [k.statistic if isinstance(k, Evidence) else k for k in kinds]
    assert values == pytest.approx([values[0]] * 4, abs=1e-6)
    assert measure(x, y) == measure(x, y)  # one seed, one answer


@pytest.mark.parametrize("measure", MEASURES)
def test_what_cannot_be_compared_gets_a_sentence(measure):
    x = sample(6, 3, 4, 4, seed=0)
    name = measure.__name__
    with pytest.raises(ValueError, match=rf"{name}: rows of source are \(3, 4, 4\), of target \(1, 4, 4\).*one shape"):
        measure(x, x[:, :1])
    with pytest.raises(ValueError, match=f"{name}: target is .*at least 2 rows"):
        measure(x, x[:1])
    broken = x.clone()
    broken[0, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match=f"{name}: source has NaN or infinity in 1 of 6 rows"):
        measure(broken, x)
    with pytest.raises(TypeError, match=f"{name}: source is a list.*turn texts into numbers"):
        measure(["a", "b"], ["c", "d"])


def test_bad_options_get_a_sentence():
    x = sample(6, 2, seed=0)
    for bandwidth in (0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="a distance above 0"):
            mmd(x, x, bandwidth=bandwidth)
    with pytest.raises(ValueError, match=r"permutations=-1\): from 0"):
        mmd(x, x, permutations=-1)
    with pytest.raises(ValueError, match="target has 6 rows, its groups are"):
        mmd(x, x, groups=(torch.zeros(6), torch.zeros(5)))
    with pytest.raises(ValueError, match="no group has 2 rows"):
        mmd(x, x, groups=(torch.zeros(6), torch.ones(6)))
    with pytest.raises(ValueError, match="from 1 on"):
        sliced_wasserstein(x, x, projections=0)
    with pytest.raises(ValueError, match="from 1 on"):
        sliced_wasserstein(x, x, order=0.5)


def test_evidence_is_short():
    assert mmd(sample(5, 2, seed=0), sample(5, 2, seed=1), permutations=0).p_value is None
    assert repr(Evidence("mmd", 0.01321, 0.00498)) == "mmd 0.0132 (p = 0.005)"


def test_the_modules_do_without_scikit_learn_until_it_is_needed():
    code = (
        "import sys; from tlcore.shift import divergences, label_shift, density_ratio, sampling\n"
        "assert 'sklearn' not in sys.modules and 'scipy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
