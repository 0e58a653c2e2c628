from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier

from tlcore import shift, transfer, worlds
from tlcore.transfer.given import both, classes, labels, rows, same_names


def sides(seed: int = 0, n: int = 200, m: int = 150) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    draws = np.random.default_rng(seed)
    x, z = draws.normal(size=(n, 3)), draws.normal(size=(m, 3)) + np.array([1, 0, 0])
    return x, (x[:, 1] + x[:, 0] ** 2 > 1).astype(int), z, (z[:, 1] + z[:, 0] ** 2 > 1).astype(int)


# importance weights


def test_weights_are_those_of_the_ratio_and_reach_the_classifier():
    x, y, z, _ = sides()
    model = transfer.ImportanceWeighting().fit(x, y, z)
    ratio = shift.logistic_ratio(torch.from_numpy(x), torch.from_numpy(z)).numpy()
    assert np.allclose(model.weights_, ratio / ratio.mean())
    own = LogisticRegression(max_iter=1000).fit(x, y, sample_weight=model.weights_)
    assert np.array_equal(own.coef_, model.estimator_.coef_)
    assert np.array_equal(own.predict_proba(z), model.predict_proba(z))
    assert model.effective_size_ == pytest.approx(model.weights_.sum() ** 2 / (model.weights_**2).sum())


def test_a_line_fitted_where_the_target_is_answers_better_there():
    """Sugiyama's example: the model is too simple for the whole, so where it fits matters."""
    gains = []
    for seed in range(4):
        x, y, z, truth = sides(seed, 500, 400)
        plain = LogisticRegression().fit(x, y)
        weighted = transfer.ImportanceWeighting(LogisticRegression(), weights="kliep").fit(x, y, z)
        gains.append(weighted.score(z, truth) - plain.score(z, truth))
    assert np.mean(gains) > 0.01 and min(gains) > -0.01


def test_no_flattened_weights_are_no_weights():
    x, y, z, _ = sides()
    model = transfer.ImportanceWeighting(flatten=0).fit(x, y, z)
    assert np.array_equal(model.weights_, np.ones(len(x)))
    assert np.allclose(model.estimator_.coef_, LogisticRegression(max_iter=1000).fit(x, y).coef_)


def test_weights_may_be_given_and_their_scale_does_not_matter():
    x, y, z, _ = sides()
    w = np.random.default_rng(0).random(len(x))
    one, two = (transfer.ImportanceWeighting(weights=c * w).fit(x, y, z).estimator_.coef_ for c in (1, 7))
    assert np.allclose(one, two)


def test_it_warns_of_weights_that_are_worth_few_rows():
    x, y, z, _ = sides()
    w = np.full(len(x), 1e-9)
    w[:4] = 1
    y[:4] = 0, 1, 0, 1
    with pytest.warns(UserWarning, match=r"worth 4\.0; at least 10 \(5 a class\)"):
        transfer.ImportanceWeighting(weights=w).fit(x, y, z)


@pytest.mark.parametrize(
    ("options", "wanted", "error"),
    [
        ({"weights": "klieb"}, "'kliep'", ValueError),
        ({"weights": np.ones(3)}, r"\(3,\); one a source row, \(200,\)", ValueError),
        ({"weights": -np.ones(200)}, "from 0 on", ValueError),
        ({"flatten": 1.5}, "flatten=1.5", ValueError),
        ({"estimator": KNeighborsClassifier()}, "KNeighborsClassifier.fit takes no sample_weight", TypeError),
    ],
)
def test_importance_weighting_refuses(options, wanted, error):
    x, y, z, _ = sides()
    with pytest.raises(error, match=wanted):
        transfer.ImportanceWeighting(**options).fit(x, y, z)


# TrAdaBoost


class Oracle(ClassifierMixin, BaseEstimator):
    """Says what it was told to, by the number of the row (the only feature), and notes the weights it was given."""

    seen: list[np.ndarray] = []  # noqa: RUF012
    says: list[list[int]] = []  # noqa: RUF012

    def fit(self, X, y, sample_weight=None):
        self.answer_ = np.array(Oracle.says[len(Oracle.seen)])
        Oracle.seen.append(sample_weight)
        return self

    def predict(self, X):
        return self.answer_[X[:, 0].astype(int)]


def test_two_rounds_by_hand():
    """Three source rows, four target rows, all of class 0 or 1."""
    xs, ys = np.array([[0.0], [1], [2]]), np.array([0, 1, 0])
    xt, yt = np.array([[3.0], [4], [5], [6]]), np.array([0, 1, 1, 0])
    Oracle.seen = []
    #               source      target
    Oracle.says = [[1, 1, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 1, 0]]
    model = transfer.TrAdaBoost(Oracle(), rounds=2).fit(xs, ys, xt, yt)
    beta = 1 / (1 + math.sqrt(2 * math.log(3) / 2))
    assert model.beta_ == pytest.approx(beta)
    # round 1: all weights 1; of the target the last is wrong: e = 1/4, beta_1 = 1/3; of the source the first is wrong
    # round 2: of the target the second is wrong: e = 1 / (1 + 1 + 1 + 3); of the source the second is wrong
    assert model.errors_ == pytest.approx([1 / 4, 1 / 6])
    assert np.allclose(model.source_weights_, [[1, 1, 1], [beta, 1, 1], [beta, beta, 1]])
    assert np.allclose(model.target_weights_, [[1, 1, 1, 1], [1, 1, 1, 3], [1, 5, 1, 3]])
    assert np.allclose(Oracle.seen[0], 1)
    assert np.allclose(Oracle.seen[1] / Oracle.seen[1].sum(), np.array([beta, 1, 1, 1, 1, 1, 3]) / (beta + 8))
    # of two rounds, those from ceil(2/2) = 1 on vote: log 3 and log 5
    votes = model.decision_function(xt)
    assert np.allclose(votes[1], [math.log(5), math.log(3)]) and np.allclose(votes[3], [math.log(5), math.log(3)])
    assert model.predict(xt).tolist() == [0, 0, 1, 0]


def plain_tradaboost(xs, ys, xt, yt, x, rounds, learner):
    """Dai et al.'s algorithm 1 to the letter, for classes 0 and 1."""
    n, m = len(xs), len(xt)
    w = [1.0] * (n + m)
    xx, yy = np.concatenate([xs, xt]), np.concatenate([ys, yt])
    beta = 1 / (1 + math.sqrt(2 * math.log(n) / rounds))
    hypotheses = []
    for _ in range(rounds):
        p = np.array(w) / sum(w)
        h = clone(learner).fit(xx, yy, sample_weight=p * (n + m))
        wrong = abs(h.predict(xx) - yy)
        e = sum(w[i] * wrong[i] for i in range(n, n + m)) / sum(w[n:])
        assert 0 < e < 0.5
        beta_t = e / (1 - e)
        hypotheses.append((h, beta_t))
        w = [w[i] * (beta ** wrong[i] if i < n else beta_t ** -wrong[i]) for i in range(n + m)]
    late = hypotheses[math.ceil(rounds / 2) - 1 :]
    found = []
    for row in x:
        left = math.prod(b ** -h.predict(row[None])[0] for h, b in late)
        found.append(int(left >= math.prod(b**-0.5 for _, b in late)))
    return found, w


@pytest.mark.parametrize("rounds", [1, 2, 5, 8])
def test_it_is_algorithm_1(rounds):
    draws = np.random.default_rng(3)
    xs, xt, x = draws.normal(size=(60, 2)), draws.normal(size=(40, 2)), draws.normal(size=(30, 2))
    ys = (xs[:, 0] > 0).astype(int)
    yt = ((xt[:, 0] + 0.7 * xt[:, 1] > 0) ^ (draws.random(40) < 0.1)).astype(int)
    learner = DecisionTreeClassifier(max_depth=1, random_state=0)
    said, weights = plain_tradaboost(xs, ys, xt, yt, x, rounds, learner)
    model = transfer.TrAdaBoost(learner, rounds=rounds).fit(xs, ys, xt, yt)
    assert model.predict(x).tolist() == said
    assert np.allclose(np.concatenate([model.source_weights_[-1], model.target_weights_[-1]]), weights)


def test_source_rows_that_contradict_the_target_lose_weight():
    world = worlds.Gaussian(features=6, distance=3)
    source, few, test = world.sample(300), world.sample(20, seed=1), world.sample(2000, seed=2)
    y = source.targets.clone()
    y[:180] = 1 - y[:180]  # three fifths say the contrary
    model = transfer.TrAdaBoost(rounds=30).fit(source.inputs, y, few.inputs, few.targets)
    last = model.source_weights_[-1]
    assert last[:180].mean() < 0.6 * last[180:].mean()
    truth = test.targets.numpy()
    ours = model.score(test.inputs.numpy(), truth)
    alike = LogisticRegression().fit(torch.cat([source.inputs, few.inputs]), torch.cat([y, few.targets]))
    assert alike.score(test.inputs, truth) < 0.5 < 0.7 < ours


def test_more_than_two_classes_and_names():
    digits = worlds.load("digits")
    x, y = digits.inputs.flatten(1).numpy() / 16, np.array(digits.classes)[digits.targets.numpy()]
    model = transfer.TrAdaBoost(rounds=3).fit(x[:400], y[:400], x[400:500], y[400:500])
    assert model.score(x[500:900], y[500:900]) > 0.85


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_weights_only_fall_in_the_source_and_only_rise_in_the_target(seed):
    x, y, z, truth = sides(seed, 40, 30)
    model = transfer.TrAdaBoost(DecisionTreeClassifier(max_depth=2), rounds=6).fit(x, y, z, truth)
    assert (np.diff(model.source_weights_, axis=0) <= 0).all()
    assert (np.diff(model.target_weights_, axis=0) >= 0).all()
    assert set(model.predict(z)) <= {0, 1}


def test_tradaboost_refuses():
    x, y, z, truth = sides()
    with pytest.raises(ValueError, match=r"yt is None; labels .* a few labelled target rows tell"):
        transfer.TrAdaBoost().fit(x, y, z)
    with pytest.raises(ValueError, match="class 2 is in ys only; leave its rows out"):
        transfer.TrAdaBoost().fit(x, np.where(y == 0, 2, y), z, np.ones(len(z), int))
    with pytest.raises(ValueError, match="class 7 is in yt only"):
        transfer.TrAdaBoost().fit(x, y, z, np.concatenate([truth[:-1], [7]]))
    with pytest.raises(ValueError, match=r"yt is \(150,\) for 149 rows"):
        transfer.TrAdaBoost().fit(x, y, z[:-1], truth)
    with pytest.raises(ValueError, match="rounds=0"):
        transfer.TrAdaBoost(rounds=0).fit(x, y, z, truth)
    with pytest.raises(TypeError, match="takes no sample_weight"):
        transfer.TrAdaBoost(KNeighborsClassifier()).fit(x, y, z, truth)
    many = np.tile(x, (20, 1))
    with pytest.raises(ValueError, match="wrong on half of the 150 target rows or more"):
        transfer.TrAdaBoost(rounds=1).fit(many, (many[:, 0] > 0).astype(int), z, (z[:, 0] <= 0).astype(int))


# what is given


def test_rows_and_labels_are_checked_once_for_all():
    assert rows("m", "X", torch.full((2, 1, 2, 2), 51, dtype=torch.uint8)).tolist() == [[0.2] * 4] * 2
    with pytest.raises(ValueError, match=r"rows of Xs are \(3,\), of Xt \(4,\)"):
        both("m", np.zeros((5, 3)), np.zeros((5, 4)))
    with pytest.raises(ValueError, match=r"rows of Xs are \(1, 28, 28\), of Xt \(1, 16, 16\); resize"):
        both("m", torch.zeros(5, 1, 28, 28), torch.zeros(5, 1, 16, 16))
    with pytest.raises(ValueError, match="Xt has 1 rows; at least 2 are needed"):
        both("m", np.zeros((5, 3)), np.zeros((1, 3)))
    with pytest.raises(ValueError, match="NaN or infinity in 1 of 3 rows"):
        rows("m", "X", np.array([[0.0], [np.nan], [1]]))
    with pytest.raises(TypeError, match="X holds <U1"):
        rows("m", "X", [["a"], ["b"]])
    with pytest.raises(TypeError, match="toarray"):
        rows("m", "X", scipy.sparse.eye(3))
    with pytest.raises(ValueError, match="lacks 1 of 3 labels"):
        labels("m", "ys", np.array([0, np.nan, 1]), 3)
    with pytest.raises(ValueError, match="lacks 2 of 3 labels"):
        labels("m", "ys", ["cat", None, None], 3)
    with pytest.raises(ValueError, match=r"numbers such as 0\.5; classes"):
        classes("m", np.array([0.5, 1.0]))
    with pytest.raises(ValueError, match="ys has 1 class; at least 2"):
        classes("m", np.array([1, 1]))


def test_datasets_need_the_same_classes_in_the_same_order():
    def data(*names: str) -> worlds.Dataset:
        return worlds.Dataset(torch.zeros(len(names), 2), torch.arange(len(names)), names)

    same_names("m", data("a", "b"), data("a", "b"))
    same_names("m", data("a", "b"), torch.zeros(3, 2))
    with pytest.raises(ValueError, match="only source has the class 'c'"):
        same_names("m", data("a", "b", "c"), data("a", "b"))
    with pytest.raises(ValueError, match="only target has the class 'c'"):
        same_names("m", data("a", "b"), data("a", "b", "c"))
    with pytest.raises(ValueError, match="another order"):
        same_names("m", data("a", "b"), data("b", "a"))
