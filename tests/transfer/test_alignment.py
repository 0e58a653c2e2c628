from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from tlcore import transfer, worlds


def sides(seed: int = 0, n: int = 80, m: int = 60, f: int = 4) -> tuple[np.ndarray, np.ndarray]:
    draws = np.random.default_rng(seed)
    mix = [draws.normal(size=(f, f)) for _ in range(2)]
    return draws.normal(size=(n, f)) @ mix[0] + 1, draws.normal(size=(m, f)) @ mix[1] - 2


# CORAL


@given(st.integers(0, 1000), st.integers(1, 6))
@settings(max_examples=20, deadline=None)
def test_without_regularization_the_source_gets_the_targets_moments(seed, features):
    x, z = sides(seed, f=features)
    moved = transfer.CORAL(regularization=0).fit(x, None, z).transform(x, "source")
    assert np.allclose(moved.mean(0), z.mean(0))
    assert np.allclose(np.cov(moved.T), np.cov(z.T))


def test_it_is_algorithm_1():
    x, z = sides()
    coral = transfer.CORAL().fit(x, None, z)
    a, b = (np.cov(part.T) + np.eye(4) for part in (x, z))
    expected = np.linalg.inv(scipy.linalg.sqrtm(a)) @ scipy.linalg.sqrtm(b)
    assert np.allclose(coral.map_, expected)
    assert np.allclose(coral.transform(x, "source"), (x - x.mean(0)) @ expected + z.mean(0))
    assert np.array_equal(coral.transform(z), z)
    unmoved = transfer.CORAL(means=False).fit(x, None, z).transform(x, "source")
    assert np.allclose(unmoved.mean(0), x.mean(0))


def test_it_minimises_the_distance_of_covariances_when_the_source_lacks_directions():
    """Theorem 1, against random maps: no A of any kind brings A' C_S A nearer to C_T."""
    draws = np.random.default_rng(1)
    x = draws.normal(size=(50, 2)) @ draws.normal(size=(2, 4))  # rank 2 of 4
    z = draws.normal(size=(50, 4)) @ draws.normal(size=(4, 4))
    a, b = np.cov(x.T), np.cov(z.T)

    def far(m: np.ndarray) -> float:
        return float(((m.T @ a @ m - b) ** 2).sum())

    best = transfer.CORAL(regularization=0).fit(x, None, z).map_
    values = np.linalg.eigvalsh(b)
    assert far(best) == pytest.approx((values[:2] ** 2).sum())  # the best approximation of rank 2 (Eckart & Young)
    assert all(far(best + 0.1 * draws.normal(size=(4, 4))) > far(best) for _ in range(200))


def test_a_sensor_that_mixes_channels_is_undone_for_a_classifier():
    """Only symmetric maps can be undone exactly, since a covariance does not tell a rotation."""
    world = worlds.Gaussian(features=5, distance=4)
    source, target = world.sample(2000), world.sample(2000, seed=1)
    half = np.random.default_rng(0).normal(size=(5, 5))
    mix = half @ half.T + 0.1 * np.eye(5)
    z = target.inputs.numpy() @ mix + 20 * world.direction.numpy()
    y, truth = source.targets.numpy(), target.targets.numpy()
    plain = LogisticRegression().fit(source.inputs, y).score(z, truth)
    ours = transfer.Aligned(transfer.CORAL(regularization=1e-6)).fit(source.inputs, y, z)
    assert plain < 0.8
    assert ours.score(z, truth) > 0.8 > plain


# subspaces


def test_subspaces_are_principal_components_and_the_map_is_the_nearest():
    x, z = sides(f=6)
    found = transfer.SubspaceAlignment(3).fit(x, None, z)
    for axes, part in ((found.source_axes_, x), (found.target_axes_, z)):
        theirs = PCA(3).fit(part).components_.T
        assert np.allclose(np.abs(axes.T @ theirs), np.eye(3), atol=1e-8)  # up to signs
    nearest = np.linalg.lstsq(found.source_axes_, found.target_axes_, rcond=None)[0]
    assert np.allclose(found.map_, nearest)
    expected = (x - x.mean(0)) @ found.source_axes_ @ nearest
    assert np.allclose(found.transform(x, "source"), expected)
    assert np.allclose(found.transform(z), (z - z.mean(0)) @ found.target_axes_)


def test_all_components_of_one_sample_give_it_back():
    x, _ = sides()
    found = transfer.SubspaceAlignment(4).fit(x, None, x + 5)
    assert np.allclose(found.transform(x, "source"), found.transform(x + 5))


# transfer components


def test_tca_is_the_paper_s_eigenproblem():
    x, z = sides(n=25, m=15)
    tca = transfer.TCA(3, mu=0.7, bandwidth=2.0).fit(x, None, z)
    pooled = np.concatenate([x, z])
    k = np.exp(-((pooled[:, None] - pooled) ** 2).sum(2) / 8)
    n, m = 25, 15
    ell = np.block(
        [
            [np.full((n, n), 1 / n**2), np.full((n, m), -1 / n / m)],
            [np.full((m, n), -1 / n / m), np.full((m, m), 1 / m**2)],
        ]
    )
    h = np.eye(40) - 1 / 40
    values, vectors = np.linalg.eig(np.linalg.inv(k @ ell @ k + 0.7 * np.eye(40)) @ k @ h @ k)
    order = values.real.argsort()[::-1][:3]
    assert np.allclose(tca.values_, values.real[order])
    for mine, theirs in zip(tca.vectors_.T, vectors.real[:, order].T):
        assert abs(mine @ theirs) / np.linalg.norm(mine) / np.linalg.norm(theirs) == pytest.approx(1)
    moved = np.concatenate([tca.transform(x, "source"), tca.transform(z)])
    assert np.allclose(moved, k @ tca.vectors_) and np.allclose(moved.std(0), 1)


def test_components_bring_the_domains_together_and_keep_the_classes():
    world = worlds.Gaussian(features=5, distance=4)
    source, target = world.sample(300), world.sample(300, seed=1)
    z = target.inputs + 3 * world._across  # away along a direction that says nothing of the class
    x, y, truth = source.inputs.numpy(), source.targets.numpy(), target.targets.numpy()
    far = np.abs(x.mean(0) - z.numpy().mean(0)).max()
    tca = transfer.TCA(2, kernel="linear", mu=1.0)
    fitted = tca.fit(x, None, z)
    assert np.abs(fitted.transform(x, "source").mean(0) - fitted.transform(z).mean(0)).max() < 0.05 * far
    assert transfer.Aligned(tca, KNeighborsClassifier(15)).fit(x, y, z).score(z, truth) > 0.93


@pytest.mark.parametrize("alignment", [transfer.CORAL(), transfer.SubspaceAlignment(2), transfer.TCA(2)])
def test_every_alignment_is_an_estimator_and_refuses_alike(alignment):
    x, z = sides()
    y = (x[:, 0] > 1).astype(int)
    assert clone(alignment).get_params() == alignment.get_params()
    before = x.copy(), z.copy()
    fitted = transfer.Aligned(alignment).fit(x, y, z)
    assert np.array_equal(before[0], x) and np.array_equal(before[1], z)
    assert fitted.predict(z).shape == (60,) and np.allclose(fitted.predict_proba(z).sum(1), 1)
    with pytest.raises(ValueError, match="side='both'"):
        clone(alignment).fit(x, None, z).transform(x, "both")
    with pytest.raises(ValueError, match="rows of X have 3 numbers; it was fitted to rows of 4"):
        clone(alignment).fit(x, None, z).transform(x[:, :3])
    with pytest.raises(ValueError, match=r"rows of Xs are \(3,\), of Xt \(4,\)"):
        clone(alignment).fit(x[:, :3], None, z)
    with pytest.raises(ValueError, match="finite"):
        clone(alignment).fit(np.where(x > 2, np.nan, x), None, z)
    with pytest.raises(ValueError, match="ys is None"):
        transfer.Aligned(alignment).fit(x, None, z)


def test_numbers_out_of_range_are_told():
    x, z = sides()
    for model, wanted in (
        (transfer.CORAL(regularization=-1), "regularization=-1"),
        (transfer.SubspaceAlignment(0), "components=0"),
        (transfer.SubspaceAlignment(9), "Xt has 6 rows; at least 10 are needed"),
        (transfer.TCA(2, kernel="cosine"), "'rbf' and 'linear'"),
        (transfer.TCA(2, mu=0), "mu=0"),
        (transfer.TCA(2, bandwidth=-1.0), "bandwidth=-1.0"),
        (transfer.TCA(99), "at least 100 are needed"),
    ):
        with pytest.raises(ValueError, match=wanted):
            model.fit(x, None, z[:6])
    with pytest.raises(ValueError, match="rows have 4 numbers; as many at most"):
        transfer.SubspaceAlignment(5).fit(x, None, z)
    with pytest.raises(ValueError, match="up to 6000 are accepted: draw a sample"):
        transfer.TCA().fit(np.zeros((4000, 1)), None, np.ones((4000, 1)))
