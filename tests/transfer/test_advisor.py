from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlcore import transfer
from tlcore.transfer import evidence
from tlcore.transfer.advisor import _SHIPPED, Bandwidths, best_bandwidths, recommend
from tlcore.transfer.rules import STRATEGIES


def trial(per_class: int, similarity: float, target: str = "t", **accuracy: float) -> transfer.Trial:
    known = {s: accuracy.get(s.replace(" ", "_"), 0.1) for s in STRATEGIES}
    return transfer.Trial("s", target, per_class, 4, 0, similarity, known)


FEW, MANY = trial(5, 0.2, "a", raw_svm=0.5), trial(80, 0.8, "b", full=0.9, raw_svm=0.3)


def test_what_does_not_change_is_expected_as_it_was() -> None:
    trials = [trial(n, s, f"{n}", full=0.7, raw_svm=0.4) for n in (5, 20, 80) for s in (0.2, 0.8)]
    advice = recommend(200, 0.5, trials=trials, bandwidths=Bandwidths(1.0, 0.3))
    assert advice.strategy == "full"
    assert advice.expected["full"] == pytest.approx(0.7)
    assert advice.expected["raw svm"] == pytest.approx(0.4)
    assert (advice.gain, *advice.interval) == pytest.approx((0.3, 0.3, 0.3))


def test_weights_by_hand() -> None:
    advice = recommend(20 * 4, 0.5, trials=[FEW, MANY], bandwidths=Bandwidths(2.0, 0.3))
    assert [weight for weight, _ in advice.experiments] == pytest.approx([0.5, 0.5])  # both two octaves and 0.3 away
    assert advice.effective == pytest.approx(2)
    near = recommend(5 * 4, 0.2, trials=[FEW, MANY], bandwidths=Bandwidths(2.0, 0.3))
    share = math.exp(-0.5 * (4 / 2) ** 2 - 0.5 * (0.6 / 0.3) ** 2)
    assert near.experiments[0] == (pytest.approx(1 / (1 + share)), FEW)
    assert near.strategy == "raw svm"


def test_expectations_are_those_of_weighted_least_squares() -> None:
    """With the ridge as two more rows, by numpy's own solver."""
    trials, widths = evidence.read(), Bandwidths(1.3, 0.25)
    advice = recommend(160, 0.4, trials=trials, bandwidths=widths)
    x = np.array([[1, np.log2(t.per_class / 40), t.similarity - 0.4] for t in trials])
    weights = np.exp(-0.5 * ((x[:, 1:] / (1.3, 0.25)) ** 2).sum(1))
    weights = np.sqrt(weights / weights.sum())[:, None]
    ridge = math.sqrt(1e-3) * np.array([[0, 1, 0], [0, 0, 1]])
    for strategy, value in advice.expected.items():
        y = np.array([t.accuracy[strategy] for t in trials])
        line = np.linalg.lstsq(np.r_[weights * x, ridge], np.r_[weights[:, 0] * y, 0, 0], rcond=None)[0]
        assert value == pytest.approx(min(max(line[0], 0), 1))


def test_only_labels_a_class_count() -> None:
    one, other = recommend(40, 0.5, num_classes=4), recommend(100, 0.5, num_classes=10)
    assert one.expected == other.expected
    assert one.gain == other.gain


def test_only_possible_strategies_are_advised() -> None:
    best = recommend(60, 0.8).strategy
    others = [s for s in STRATEGIES if s != best]
    assert recommend(60, 0.8, strategies=others).strategy in others


def test_far_from_all_experiments_is_said() -> None:
    far = recommend(40_000, 0.5)
    assert "far from all experiments (5 to 300): read as 300" in str(far)
    assert far.expected == recommend(1200, 0.5).expected
    assert not recommend(1000, 0.5).notes


@given(st.integers(8, 5000), st.floats(0, 1), st.integers(2, 4))
@settings(max_examples=50, deadline=None)
def test_advice_holds_together(count: int, similarity: float, classes: int) -> None:
    advice = recommend(count, similarity, num_classes=classes)
    assert advice.strategy == next(iter(advice.expected))
    assert list(advice.expected.values()) == sorted(advice.expected.values(), reverse=True)
    assert advice.interval[0] <= advice.gain <= advice.interval[1]
    weights = [weight for weight, _ in advice.experiments]
    assert sum(weights) == pytest.approx(1)
    assert weights == sorted(weights, reverse=True)
    assert 1 <= advice.effective <= len(weights) + 1e-6
    assert all(0 <= value <= 1 for value in advice.expected.values())


def test_the_shipped_bandwidths_are_the_best() -> None:
    assert best_bandwidths(evidence.read()) == _SHIPPED


def test_best_bandwidths_by_brute_force() -> None:
    trials = evidence.read()[::7]
    tried = {}
    for octaves in (0.35, 2.5):
        for width in (0.03, 0.4):
            cost = []
            for t in trials:
                rest = [other for other in trials if other.target != t.target]
                advice = recommend(t.per_class * 4, t.similarity, trials=rest, bandwidths=Bandwidths(octaves, width))
                cost.append(t.regret(advice.strategy))
            tried[octaves, width] = float(np.mean(cost))
    assert best_bandwidths(trials, (0.35, 2.5), (0.03, 0.4)) == Bandwidths(*min(tried, key=lambda k: tried[k]))


def test_evidence_is_whole_and_holds_what_is_claimed() -> None:
    trials = evidence.read()
    cells = {(t.source, t.target, t.per_class, t.seed) for t in trials}
    assert len(trials) == len(cells)
    assert len(cells) == len(evidence.SOURCES) * len(evidence.TARGETS) * len(evidence.SIZES) * len(evidence.SEEDS)

    def mean(strategy: str, source: str, target: str, size: int) -> float:
        return float(
            np.mean(
                [t.accuracy[strategy] for t in trials if (t.source, t.target, t.per_class) == (source, target, size)]
            )
        )

    assert mean("frozen softmax", "shapes", "new shapes", 5) > mean("scratch", "shapes", "new shapes", 5) + 0.2
    assert mean("frozen softmax", "shapes", "textures", 50) < mean("scratch", "shapes", "textures", 50)  # negative


def test_a_cell_of_the_evidence_can_be_run_again() -> None:
    """One of 360, with the nets of its source trained anew; other thread counts move it by a little."""
    known = next(
        t for t in evidence.read() if (t.source, t.target, t.per_class, t.seed) == ("shapes", "textures", 15, 0)
    )
    again = evidence.collect(
        {"shapes": evidence.SOURCES["shapes"]}, {"textures": evidence.TARGETS["textures"]}, (15,), (0,)
    )[0]
    for strategy, value in known.accuracy.items():
        assert again.accuracy[strategy] == pytest.approx(value, abs=0.08), strategy


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: recommend(100, 1.2), "similarity=1.2.*from 0 to 1"),
        (lambda: recommend(100, float("nan")), "from 0 to 1"),
        (lambda: recommend(7, 0.5), "8 examples"),
        (lambda: recommend(100, 0.5, num_classes=1), "two classes"),
        (lambda: recommend(100, 0.5, trials=[]), "transfer.grid"),
        (lambda: recommend(100, 0.5, strategies=["frozen"]), "frozen svm"),
        (lambda: recommend(100, 0.5, strategies=[]), "one at least"),
        (lambda: best_bandwidths([FEW]), "two targets"),
    ],
)
def test_bad_input(call, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        call()


def test_it_is_shown() -> None:
    advice = recommend(60, 0.7)
    assert "60 labels, 4 classes, similarity 0.70: " in str(advice)
    assert "<table" in advice._repr_html_()
    assert len(str(advice.table(5)).splitlines()) >= 6
    assert len(advice.plot().patches) == 7
