"""The diagnosis against the truth of generated pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tlcore import shift, worlds
from tlcore.shift.concept import domain_helps

VECTORS = worlds.Gaussian(features=10, distance=2.5)
PICTURES = worlds.Shapes(label="colour", colours=("red", "green", "blue"))


CASES = [
    (VECTORS, [shift.Prior(1.0, to=(0.9, 0.1))]),
    (VECTORS, [shift.Concept(1.0)]),
    (VECTORS, [shift.Selection(1.0, by=4)]),
    (VECTORS, [shift.Conditional(1.0), shift.Prior(1.0, to=(0.2, 0.8))]),
    (VECTORS, [shift.FeatureSpace(0.5, kind="projection")]),
    (PICTURES, [shift.Prior(1.0)]),
    (PICTURES, [shift.Concept(1.0)]),
    (PICTURES, [shift.Marginal(0.8, kind="night")]),
    (PICTURES, [shift.LabelSpace(1.0)]),
    (PICTURES, [shift.FeatureSpace(0.5, kind="resolution"), shift.Prior(1.0)]),
]


def test_strong_shifts_are_told():
    wrong = []
    for world, shifts in CASES:
        apart = shift.pair(world, shifts, size=500, seed=21)
        found = shift.diagnose(apart.source, apart.target)
        missed = [
            one.condition
            for one in shifts
            if apart.truth.conditions[one.condition] and found[one.condition].verdict != "moved"
        ]
        assert not missed, (shifts, found)
        wrong += [
            (shifts, name, found[name]) for name, fine in found.agrees(apart.truth.conditions).items() if not fine
        ]
    assert len(wrong) <= 3, wrong  # of 60 verdicts, each test with a false alarm in a hundred


def test_identical_domains_give_few_alarms():
    alarms = 0
    for seed in range(12):
        apart = shift.pair(VECTORS, size=150, seed=seed)
        alarms += list(shift.diagnose(apart.source, apart.target, permutations=200).verdicts.values()).count("moved")
    assert alarms <= 2  # of 72 verdicts, four of the six tested at one in a hundred


def test_without_labels_the_honest_answer():
    apart = shift.pair(VECTORS, shift.Prior(1.0, to=(0.9, 0.1)), size=800, seed=2)
    for target in (apart.target, apart.target.inputs):
        found = shift.diagnose(apart.source, target, labelled=False)
        assert found.verdicts["marginal"] == "moved"
        assert {found.verdicts[name] for name in ("prior", "conditional", "concept")} == {"cannot be told"}
    assert shift.diagnose(apart.source, apart.target.inputs).verdicts["label_space"] == "cannot be told"
    told = shift.diagnose(apart.source, apart.target, labelled=False)["prior"].evidence
    share = int(told.rpartition(" makes ")[2].partition("%")[0])
    assert "'minus'" in told and abs(share - 90) <= 6


def test_the_order_of_the_classes_does_not_matter():
    apart = shift.pair(VECTORS, size=300, seed=1)
    turned = worlds.Dataset(apart.target.inputs, 1 - apart.target.targets, apart.target.classes[::-1])
    assert "moved" not in shift.diagnose(apart.source, turned).verdicts.values()


def test_features_of_your_own_are_used():
    apart = shift.pair(PICTURES, shift.Marginal(1.0, kind="gain"), size=200)
    draws = torch.Generator().manual_seed(0)
    blind = shift.diagnose(apart.source, apart.target, features=lambda x: torch.rand(len(x), 3, generator=draws))
    assert blind.verdicts["marginal"] == "same"


def test_another_language_is_another_space():
    world = ["the cat sat", "a dog ran far", "birds sing at night", "the sea is calm"] * 30
    source = worlds.Dataset(world, torch.arange(120) % 2, ("a", "b"))
    apart = shift.FeatureSpace(1.0, kind="language").step(shift.Rows.of(source), torch.Generator()).data
    assert shift.diagnose(source, apart).verdicts["feature_space"] == "moved"
    assert "moved" not in shift.diagnose(source, source).verdicts.values()


def test_a_simple_rule_that_errs_is_not_blamed_on_the_domain():
    """Covariate shift under a rule that no linear classifier can learn: overlap weights keep it from being blamed."""
    rng = np.random.default_rng(4)
    found = []
    for _ in range(20):
        x, y = rng.normal(size=(400, 2)), rng.normal((0.7, 0), size=(400, 2))
        labels = [(np.abs(part[:, 0]) > 0.7) for part in (x, y)]
        found.append(domain_helps((x, y), (labels[0], labels[1])).p_value)
    assert sum(p <= 0.01 for p in found) <= 2


def test_few_common_inputs_tell_nothing_about_the_concept():
    source, moved = VECTORS.sample(30), VECTORS.sample(30, seed=1)
    moved = worlds.Dataset(moved.inputs + 0.7, moved.targets, moved.classes)
    found = shift.diagnose(source, moved)
    assert found.verdicts["concept"] == "cannot be told" and "inputs are common" in found["concept"].evidence
    assert found.verdicts["marginal"] == "moved"


@pytest.mark.parametrize("others", [0, 1, 2])
@pytest.mark.parametrize("labelled", [True, False])
def test_rare_classes_get_an_honest_verdict(others, labelled):
    x, rare = VECTORS.sample(120).inputs, (torch.arange(120) < others).long()
    usual = torch.zeros(120).long()
    for classes in (("a", "b"), ("a",))[: 1 if others else 2]:
        source = worlds.Dataset(x, rare, classes)
        target = worlds.Dataset(VECTORS.sample(120, seed=5).inputs, usual, classes)
        found = shift.diagnose(source, target, labelled=labelled)
        assert found.verdicts["concept"] == "cannot be told" and "moved" not in found.verdicts.values()
    three = worlds.Dataset(x, torch.where(torch.arange(120) < others, 2, torch.arange(120) % 2), ("a", "b", "c"))
    assert "moved" not in shift.diagnose(three, three, labelled=labelled).verdicts.values()


def test_a_target_without_names_of_classes_is_not_called_moved():
    source, other = VECTORS.sample(100), VECTORS.sample(100, seed=1)
    found = shift.diagnose(source, worlds.Dataset(other.inputs, other.targets)).verdicts
    assert {found[name] for name in ("label_space", "prior", "concept", "conditional")} == {"cannot be told"}
    assert found["marginal"] == "same"


def test_arrays_are_taken_as_tensors():
    source, other = VECTORS.sample(100), VECTORS.sample(100, seed=1)
    as_array = shift.diagnose(source, other.inputs.numpy()[::-1])
    assert as_array.verdicts["feature_space"] == "same" and as_array.verdicts["marginal"] == "same"
    for texts in (np.array(["a"] * 30), ("a",) * 30):
        with pytest.raises(TypeError, match="list of texts is accepted"):
            shift.diagnose(source, texts)


def test_without_a_common_class_there_is_no_inside_to_compare():
    x, y = VECTORS.sample(100).inputs, VECTORS.sample(100, seed=1).inputs
    here = worlds.Dataset(x, torch.zeros(100).long(), ("a", "b"))
    there = worlds.Dataset(y, torch.ones(100).long(), ("a", "b"))
    found = shift.diagnose(here, there).verdicts
    assert found["conditional"] == "not comparable" and found["prior"] == found["concept"] == "moved"
    assert found["marginal"] == "same"
    assert shift.diagnose(here, there, certain=True).verdicts["concept"] == "cannot be told"
    found = shift.diagnose(here, worlds.Dataset(y, torch.ones(100).long(), ("c", "d"))).verdicts
    assert found["label_space"] == "moved" and found["conditional"] == "not comparable"


def test_reads_as_a_table():
    apart = shift.pair(VECTORS, size=60)
    found = shift.diagnose(apart.source, apart.target)
    assert "P_S(Y) ≠ P_T(Y)" in repr(found) and "<table>" in found._repr_html_()
    assert list(found) == list(shift.CONDITIONS)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda d: shift.diagnose(d[:10], d), "at least 20 rows"),
        (lambda d: shift.diagnose(worlds.Dataset(d.inputs, d.targets), d), "must be classes"),
        (lambda d: shift.diagnose(d, d, level=0), "between 0 and 1"),
        (lambda d: shift.diagnose(d, d, permutations=0), "at least 99 are needed for level=0.01"),
        (lambda d: shift.diagnose(d, d, permutations=98), "at least 99"),
        (lambda d: shift.diagnose(d, d, level=0.3, permutations=2), "at least 3"),
    ],
)
def test_bad_input_gets_a_sentence(call, says):
    with pytest.raises(ValueError, match=says):
        call(VECTORS.sample(40))


def test_domains_far_apart_have_no_inputs_in_common():
    from tlcore.shift.concept import domain_helps

    draws = torch.Generator().manual_seed(0)
    x = torch.randn(400, 4, generator=draws)
    y = (x[:, 0] > 0).long()
    labels = (y[:200].numpy(), y[200:].numpy())
    found = [domain_helps((x[:200].numpy(), x[200:].numpy() + by), labels).common for by in (0.0, 1.5, 9.0)]
    assert found[0] > 150 and found[0] > found[1] > found[2] and found[2] < 25
