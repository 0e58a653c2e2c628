"""Streams: every token is predicted exactly once, after the tokens that stand before it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tlcore.text.batches import Stream, flipped


def texts_of(lengths):
    """Tokens numbered through, so that each says where it stands."""
    return [part.int() for part in torch.arange(sum(lengths)).split(list(lengths))]


LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=12).filter(lambda found: sum(found) > 1)


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.integers(1, 9), st.integers(1, 30), st.booleans(), st.booleans(), st.booleans(), st.integers(1, 4))
def test_every_token_is_predicted_once(lengths, batch_size, bptt, vary, shuffle, backward, epoch):
    stream = Stream(texts_of(lengths), batch_size, bptt, vary=vary, shuffle=shuffle, backward=backward, seed=3)
    order = stream._ordered(epoch).long()
    follows = dict(zip(order[:-1].tolist(), order[1:].tolist()))
    assert sorted(order.tolist()) == list(range(sum(lengths)))
    predicted, before = [], None
    for chunk in stream.epoch(epoch):
        real = chunk.y != -100
        assert chunk.x.shape == chunk.y.shape and len(chunk.x) <= bptt + 30
        assert all(follows[a] == b for a, b in zip(chunk.x[real].tolist(), chunk.y[real].tolist()))
        assert chunk.scale == len(chunk.x) / bptt
        if before is not None:  # a column goes on where it stopped
            goes_on = (before != -100) & real[0]
            assert torch.equal(before[goes_on], chunk.x[0][goes_on])
        before = chunk.y[-1]
        predicted += chunk.y[real].tolist()
    assert sorted([*predicted, int(order[0])]) == list(range(sum(lengths)))


@settings(max_examples=20, deadline=None)
@given(LENGTHS, st.integers(0, 6))
def test_an_epoch_is_the_same_each_time_and_can_begin_anywhere(lengths, start):
    stream = Stream(texts_of(lengths), 2, 6, shuffle=True, seed=5)
    whole, rest = list(stream.epoch(2)), list(stream.epoch(2, start))
    assert len(rest) == max(0, len(whole) - start)
    assert all(torch.equal(a.y, b.y) for a, b in zip(whole[start:], rest, strict=True))
    assert stream.steps(2) == len(whole) + len(list(stream.epoch(1)))


def test_lengths_vary_as_merity_says():
    stream = Stream([torch.arange(200_001).int()], 1, 70)
    lengths = [len(chunk.x) for chunk in stream.epoch(1)][:-1]
    middle = torch.tensor([n for n in lengths if n > 52]).double()
    assert abs(1 - len(middle) / len(lengths) - 0.05) < 0.015
    assert abs(float(middle.mean()) - 69.5) < 0.5 and abs(float(middle.std()) - 5) < 0.5  # int() cuts off
    assert lengths != [len(chunk.x) for chunk in stream.epoch(2)][: len(lengths)]


def test_backward_reads_each_text_from_its_end():
    forward = [torch.tensor([2, 10, 11, 12]), torch.tensor([2, 20, 21])]
    (chunk,) = Stream(forward, 1, 20, vary=False, backward=True).epoch(1)
    assert [*chunk.x[:, 0].tolist(), int(chunk.y[-1])] == [2, 21, 20, 2, 12, 11, 10]
    assert flipped(torch.tensor([2])).tolist() == [2]


def test_bad_input():
    with pytest.raises(ValueError, match="fewer than two tokens"):
        Stream([torch.tensor([2])])
    with pytest.raises(ValueError, match=r"Stream\(batch_size=0"):
        Stream([torch.arange(9)], 0)
