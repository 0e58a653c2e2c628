"""Resampled datasets: the shares asked for, the rows they had."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tlcore.shift.sampling import oversample, undersample
from tlcore.worlds import Dataset

COUNTS = st.lists(st.integers(1, 30), min_size=2, max_size=5)


def made(counts: list[int]) -> Dataset:
    targets = torch.cat([torch.full((n,), k) for k, n in enumerate(counts)])
    targets = targets[torch.randperm(len(targets), generator=torch.Generator().manual_seed(1))]
    number = torch.arange(len(targets))
    names = tuple(f"class {k}" for k in range(len(counts)))
    return Dataset(number[:, None].float(), targets, names, "by hand", {"number": number})


def known_rows(data: Dataset, found: Dataset) -> Counter:
    """How often each old row is in the new data, after checking that rows are still themselves."""
    number = found.factors["number"]
    assert torch.equal(found.inputs[:, 0].long(), number) and torch.equal(data.targets[number], found.targets)
    assert torch.equal(number, number.sort().values) and found.origin == data.origin
    return Counter(number.tolist())


@settings(max_examples=40, deadline=None)
@given(COUNTS, st.integers(0, 9))
def test_equal_classes_by_default(counts, seed):
    data = made(counts)
    more, fewer = oversample(data, seed=seed), undersample(data, seed=seed)
    assert more.counts().tolist() == [max(counts)] * len(counts)
    assert fewer.counts().tolist() == [min(counts)] * len(counts)
    assert max(known_rows(data, fewer).values()) == 1
    times = known_rows(data, more)
    for k in range(len(counts)):
        mine = [times[n] for n in range(len(data)) if data.targets[n] == k]
        assert min(mine) >= 1 and max(mine) - min(mine) <= 1


@settings(max_examples=40, deadline=None)
@given(COUNTS, st.data())
def test_shares_as_asked(counts, draw):
    raw = draw.draw(st.lists(st.integers(1, 9), min_size=len(counts), max_size=len(counts)))
    prior = torch.tensor(raw, dtype=torch.float64) / sum(raw)
    data = made(counts)
    more, fewer = oversample(data, prior=prior), undersample(data, prior=prior)
    assert bool((more.counts() >= data.counts()).all()) and bool((more.counts() == data.counts()).any())
    assert bool((fewer.counts() <= data.counts()).all()) and bool((fewer.counts() == data.counts()).any())
    for found, total in ((more, (data.counts() / prior).max()), (fewer, (data.counts() / prior).min())):
        assert bool(((found.counts() - prior * total).abs() <= 0.5 + 1e-6).all())
    assert max(known_rows(data, fewer).values()) == 1
    size = draw.draw(st.integers(1, 100))
    sized = oversample(data, prior=prior, size=size)
    assert len(sized) == size and bool(((sized.counts() - prior * size).abs() < 1).all())
    known_rows(data, sized)


def test_a_share_of_nothing_leaves_a_class_out():
    data = made([5, 0, 8])
    assert oversample(data, prior=[0.5, 0, 0.5]).counts().tolist() == [8, 0, 8]
    assert undersample(data, prior=[0.25, 0, 0.75]).counts().tolist() == [3, 0, 8]
    assert oversample(data, prior=[0, 0, 1], size=20).counts().tolist() == [0, 0, 20]


def test_texts_and_seeds():
    data = Dataset(["a", "b", "c"], torch.tensor([0, 1, 1]), ("x", "y"))
    assert oversample(data).inputs == ["a", "a", "b", "c"]
    seen = {tuple(undersample(data, seed=s).inputs) for s in range(20)}
    assert seen == {("a", "b"), ("a", "c")}
    assert undersample(data, seed=3).inputs == undersample(data, seed=3).inputs


def test_bad_input_gets_a_sentence():
    data = made([5, 0, 8])
    for call, text in (
        (lambda: oversample(data), "no row of class 1 to draw from; give it a prior of 0"),
        (lambda: undersample(data), "no row of class 1"),
        (lambda: oversample(data, prior=[0.5, 0.5]), r"one share a class, \(3,\)"),
        (lambda: undersample(data, prior=[0.5, 0.6, -0.1]), "shares from 0 on of sum 1"),
        (lambda: oversample(data, prior=[1, 0, 0], size=0), "from 1 on"),
        (lambda: oversample(Dataset(torch.zeros(3, 1), torch.zeros(3))), "no classes"),
    ):
        with pytest.raises(ValueError, match=text):
            call()
