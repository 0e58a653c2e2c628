from __future__ import annotations

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn.functional import cross_entropy

from tlcore import worlds
from tlcore.text.batches import filled_up
from tlcore.text.skip_thought import SkipThought, _Triples, sentences, train_skip_thought
from tlcore.text.tokens import Tokens

TEXTS = ["The cat sat. It was warm. It slept.", "A dog ran. It was fast. It barked."] * 20


def test_the_loss_sentence_by_sentence_and_word_by_word() -> None:
    torch.manual_seed(0)
    net = SkipThought(30, 5, 7)
    here, before, after = ([torch.tensor([2, *row]) for row in rows] for rows in (
        [[5, 6, 7], [8]], [[9], [10, 11, 12, 13]], [[14, 15], [16]],
    ))  # fmt: skip
    found = net(*(filled_up(part) for part in (here, before, after)))
    losses: dict[str, list[torch.Tensor]] = {"before": [], "after": []}
    for n in range(2):
        h = net.encoder(net.embedding(here[n])[None])[1][0]  # (1, H)
        for name, text in (("before", before[n]), ("after", after[n])):
            cell, state = getattr(net, name), torch.zeros(1, 1, 7)
            for t, asked in enumerate([*text[1:].tolist(), 2]):
                step = torch.cat([net.embedding(text[t])[None], h], 1)[None]
                out, state = cell(step, state)
                losses[name].append(cross_entropy(net.words(out[0]), torch.tensor([asked])))
    expected = sum(torch.stack(part).mean() for part in losses.values()) / 2
    assert found.item() == pytest.approx(float(expected), rel=1e-5)


def test_filling_up_changes_no_vector() -> None:
    net = SkipThought(30, 5, 7)
    short, long = torch.tensor([2, 5, 6]), torch.randint(2, 30, (12,))
    assert torch.allclose(net.encode(filled_up([short, long]))[0], net.encode(short[None])[0], atol=1e-6)


def test_neighbours_are_of_the_same_text() -> None:
    tokens = Tokens.train(TEXTS, 60)
    parts = [sentences(text) for text in ("One. Two. Three. Four.", "Five. Six. Seven.")]
    triples = _Triples(parts, tokens, 2, 30, 0)
    every = [sentence for part in parts for sentence in part]
    assert [[every[n - 1], every[n], every[n + 1]] for n in triples.middle] == [
        ["One.", "Two.", "Three."], ["Two.", "Three.", "Four."], ["Five.", "Six.", "Seven."],
    ]  # fmt: skip
    seen = sum(len(x) for x, _ in triples)
    assert seen == 3


def test_a_frozen_encoder_knows_more_than_an_untrained_one() -> None:
    world = worlds.Language(label="topic")
    texts = world.sample(1500, seed=1).inputs
    model = train_skip_thought(texts, vocabulary=600, embedding=32, hidden=64, epochs=4, batch_size=16, progress=False)
    assert model.history.epochs[-1].train_loss < model.history.epochs[0].train_loss
    known, new = world.sample(120, seed=2), world.sample(400, seed=3)
    fresh = train_skip_thought(
        texts[:40], tokens=model.tokens, embedding=32, hidden=64, epochs=1, lr=1e-9, progress=False
    )
    scores = []
    for each in (model, fresh):
        x, x_new = (
            torch.stack([each.transform(sentences(text)).mean(0) for text in part.inputs]).numpy()
            for part in (known, new)
        )
        head = LogisticRegression(max_iter=2000).fit(x, known.targets.numpy())
        scores.append(head.score(x_new, new.targets.numpy()))
    assert scores[0] > scores[1] + 0.04


def test_same_seed_same_vectors() -> None:
    options = {"vocabulary": 60, "embedding": 8, "hidden": 12, "epochs": 1, "progress": False, "device": "cpu"}
    one, two = (train_skip_thought(TEXTS, **options).transform(["It was warm."]) for _ in range(2))
    assert torch.equal(one, two)


def test_sentences() -> None:
    assert sentences('He said: "No." "Why?" she asked. 3.5 m, e.g. this. End') == [
        'He said: "No."', '"Why?" she asked. 3.5 m, e.g. this.', "End",
    ]  # fmt: skip
    assert sentences("  ") == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"texts": ["One. Two."]}, "three sentences"),
        ({"texts": [""]}, "empty"),
        ({"epochs": 0}, "the least"),
        ({"hidden": 0}, "from 1 on"),
    ],
)
def test_bad_input(change: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        train_skip_thought(**({"texts": TEXTS, "vocabulary": 60, "progress": False} | change))


def test_modules_are_torchs() -> None:
    assert all(isinstance(part, nn.GRU) for part in (SkipThought(9).encoder, SkipThought(9).before))
