from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from torch.nn import functional as F

from tlcore import worlds
from tlcore.text.procrustes import Aligned, align, procrustes
from tlcore.text.word2vec import SkipGram, WordVectors, _thinned, neighbours, split_words, train_word2vec

SMALL = ["the cat drank milk", "a dog ate meat", "the kitten drank milk", "a puppy ate meat"] * 100
OPTIONS = {"dim": 16, "min_count": 1, "sample": None, "batch_size": 32, "progress": False}


def test_the_loss_word_by_word() -> None:
    draws = torch.Generator().manual_seed(0)
    net = SkipGram(9, 5, draws)
    torch.nn.init.normal_(net.contexts.weight)
    given, asked, drawn = torch.tensor([1, 2]), torch.tensor([3, 4]), torch.tensor([[5, 6], [7, 1]])
    v, u = net.words.weight, net.contexts.weight
    terms = []
    for w, c, wrong in zip(given, asked, drawn, strict=True):
        terms.append(-F.logsigmoid(u[c] @ v[w]) - sum(F.logsigmoid(-u[k] @ v[w]) for k in wrong))
    assert net(given, asked, drawn).item() == pytest.approx(float(sum(terms).detach() / 2), rel=1e-5)
    both = torch.tensor([[1, 2, -1], [4, -1, -1]])  # CBOW
    first = (v[1] + v[2]) / 2
    one = -F.logsigmoid(u[3] @ first) - sum(F.logsigmoid(-u[k] @ first) for k in drawn[0])
    two = -F.logsigmoid(u[4] @ v[4]) - sum(F.logsigmoid(-u[k] @ v[4]) for k in drawn[1])
    assert net(both, asked, drawn).item() == pytest.approx(float((one + two).detach() / 2), rel=1e-5)


def test_at_its_optimum_it_is_shifted_pointwise_mutual_information() -> None:
    """Levy and Goldberg 2014: u_c v_w = log(P(w, c) / (P(w) P(c))) - log k, with noise by plain counts."""
    torch.manual_seed(0)
    joint = torch.rand(6, 6) + 0.1
    joint = joint / joint.sum()
    row, column, k = joint.sum(1), joint.sum(0), 3
    net = SkipGram(6, 6, torch.Generator().manual_seed(0))
    w, c = torch.cartesian_prod(torch.arange(6), torch.arange(6)).T
    torch.nn.init.normal_(net.contexts.weight, std=0.5)
    torch.nn.init.normal_(net.words.weight, std=0.5)
    v, u = net.words.weight.detach().clone().requires_grad_(), net.contexts.weight.detach().clone().requires_grad_()
    steps = torch.optim.Adam([v, u], 0.05)
    for _ in range(3000):
        z = v @ u.T
        loss = -(joint * F.logsigmoid(z)).sum() - k * (row[:, None] * column * F.logsigmoid(-z)).sum()  # expectations
        steps.zero_grad()
        loss.backward()
        steps.step()
    expected = (joint / (row[:, None] * column)).log() - math.log(k)
    assert torch.allclose((v @ u.T).detach(), expected, atol=0.05)
    with torch.no_grad():  # the network's own loss, averaged over everything, is this expectation
        net.words.weight.copy_(v)
        net.contexts.weight.copy_(u)
        total = 0.0
        for a, b, p in zip(w, c, joint.flatten(), strict=True):
            each = torch.stack([net(a[None], b[None], d.view(1, 1)) for d in torch.arange(6)])
            right = -F.logsigmoid(u[b] @ v[a])
            total += float(p * (right + k * ((each - right) * column).sum()))
    assert total == pytest.approx(float(loss.detach()), abs=0.01)


def test_neighbours_by_brute_force() -> None:
    texts = [torch.tensor([1, 2, 3, 4]), torch.tensor([5, 6])]
    around, middle = neighbours(texts, 2, torch.Generator().manual_seed(1))
    reach = torch.randint(1, 3, (6,), generator=torch.Generator().manual_seed(1)).tolist()
    flat = [(text.tolist(), place) for text in texts for place in range(len(text))]
    for (text, place), r, row, word in zip(flat, reach, around.tolist(), middle.tolist(), strict=True):
        assert word == text[place]
        expected = [text[p] for p in range(max(0, place - r), min(len(text), place + r + 1)) if p != place]
        assert [n for n in row if n != -1] == expected


def test_frequent_words_are_left_out_as_often_as_equation_5_says() -> None:
    counts = torch.tensor([900.0, 90.0, 10.0])
    keep = (0.01 / (counts / counts.sum())).sqrt().clamp(max=1)
    texts = [torch.tensor([0] * 90 + [1] * 9 + [2])] * 400
    kept = torch.cat(_thinned(texts, keep, torch.Generator().manual_seed(0))).bincount() / 400
    assert kept.tolist() == pytest.approx([90 * float(keep[0]), 9 * float(keep[1]), 1], rel=0.05)


@pytest.mark.parametrize("mode", ["skip-gram", "cbow"])
def test_words_in_like_company_are_near(mode: str) -> None:
    vectors = train_word2vec(SMALL, epochs=8, mode=mode, **OPTIONS)
    assert vectors.nearest("cat")[0].word == "kitten"
    assert vectors.nearest("puppy")[0].word == "dog"
    assert set(vectors.words[:2]) == {"milk", "meat"} or vectors.counts[0] == 200
    assert vectors.analogy("cat", "kitten", "dog")[0].word not in ("cat", "kitten", "dog")


def test_same_seed_same_vectors() -> None:
    one, two, other = (train_word2vec(SMALL, epochs=2, seed=s, device="cpu", **OPTIONS) for s in (0, 0, 1))
    assert torch.equal(one.vectors, two.vectors)
    assert not torch.equal(one.vectors, other.vectors)


def test_vectors_of_another_corpus_to_start_from() -> None:
    first = train_word2vec(SMALL, epochs=3, **OPTIONS)
    again = train_word2vec(["the cat met a dog"] * 5, epochs=1, lr=1e-9, initial=first, **OPTIONS)
    assert torch.allclose(again["cat"], first["cat"], atol=1e-6)
    with pytest.raises(ValueError, match="16 wide"):
        train_word2vec(SMALL, initial=first, **(OPTIONS | {"dim": 8}))


def test_mean_of_a_text() -> None:
    vectors = train_word2vec(SMALL, epochs=1, **OPTIONS)
    found = vectors.mean(["The CAT, the dog!", "nothing known"])
    assert torch.allclose(found[0], (2 * vectors["the"] + vectors["cat"] + vectors["dog"]) / 4, atol=1e-6)
    assert found[1].abs().sum() == 0


def test_procrustes_is_scipys() -> None:
    draws = np.random.default_rng(0)
    a, b = draws.normal(size=(30, 7)), draws.normal(size=(30, 7))
    found = procrustes(torch.tensor(a), torch.tensor(b))
    assert np.allclose(found.numpy(), scipy.linalg.orthogonal_procrustes(a, b)[0])
    assert torch.allclose(found @ found.T, torch.eye(7, dtype=torch.float64), atol=1e-10)


def test_two_languages_have_one_shape() -> None:
    """The language world's two languages, each with vectors of its own; fifty pairs of words turn one into the other."""
    english, other = (
        worlds.Language(language=name).sample(6000, seed=seed).inputs
        for name, seed in (("english", 1), ("invented", 2))
    )
    a, b = (train_word2vec(texts, dim=32, epochs=6, min_count=3, progress=False) for texts in (english, other))
    pairs = [(x, y) for x, y in worlds.Language().dictionary().items() if x in a and y in b]
    found, held_back = align(a, b, pairs[::2]), pairs[1::2]
    chance = 1 / len(b)
    assert found.accuracy(held_back, among=10) > 20 * 10 * chance


def test_two_corpora_of_one_language() -> None:
    """Vectors of two corpora lie turned against each other; words that both know turn them back."""
    one, other = (worlds.Language().sample(4000, seed=seed).inputs for seed in (1, 2))
    a, b = (
        train_word2vec(texts, dim=32, epochs=6, min_count=3, seed=seed, progress=False)
        for seed, texts in enumerate((one, other))
    )
    pairs = [(word, word) for word in a.words if word in b]
    found, held_back = align(a, b, pairs[::2]), pairs[1::2]
    as_they_are = Aligned(a, b, torch.eye(32))
    chance = 5 / len(b)
    assert found.accuracy(held_back, among=5) > 50 * chance
    assert as_they_are.accuracy(held_back, among=5) < 5 * chance


def test_split_words() -> None:
    assert split_words("Don't panic, Zoë—42 times!") == ["don't", "panic", "zoë", "times"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"mode": "skipgram"}, "skip-gram"),
        ({"dim": 0}, "from 1 on"),
        ({"min_count": 10_000}, "smaller min_count"),
        ({"sample": 0.0}, "above 0"),
        ({"texts": ["", " "]}, "empty"),
    ],
)
def test_bad_input(change: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        train_word2vec(**({"texts": SMALL} | OPTIONS | change))


def test_unknown_words_and_widths_say_so() -> None:
    vectors = WordVectors(("cat", "dog"), torch.eye(2), torch.ones(2))
    with pytest.raises(ValueError, match="'cat'"):
        vectors["cats"]
    with pytest.raises(ValueError, match="wide"):
        align(vectors, WordVectors(("a",), torch.ones(1, 3), torch.ones(1)), [("cat", "a")])
    with pytest.raises(ValueError, match="no pair"):
        align(vectors, vectors, [("x", "y")])
    with pytest.raises(ValueError, match="pairs of rows"):
        procrustes(torch.ones(2, 3), torch.ones(3, 3))


@pytest.mark.parametrize(
    ("options", "says"),
    [({"sample": None, "lr": 1e30}, "try a smaller lr"), ({"sample": 1e-12}, "no pair of words is left")],
)
def test_a_training_that_came_to_nothing_says_so(options, says):
    with pytest.raises(ValueError, match=says):
        train_word2vec(["the cat drank milk"] * 50, min_count=1, progress=False, **options)
