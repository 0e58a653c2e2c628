"""word2vec: words get vectors because they are asked to tell their neighbours from words drawn at random.

Mikolov et al. 2013 (arXiv:1301.3781 and 1310.4546): skip-gram with negative sampling, CBOW, subsampling.

>>> sentences = ["the cat drank milk", "a dog ate meat", "the kitten drank milk", "a puppy ate meat"] * 100
>>> vectors = train_word2vec(sentences, dim=16, min_count=1, epochs=5, batch_size=32, sample=None, progress=False)
>>> vectors["cat"].shape, vectors.nearest("cat", 2)[0].word
(torch.Size([16]), 'kitten')
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from tlcore import runtime
from tlcore.runtime import nearest
from tlcore.text.tokens import some_text

_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
Mode = Literal["skip-gram", "cbow"]
NOTHING = -1


class Neighbour(NamedTuple):
    """A word and the cosine of the angle to it."""

    word: str
    cosine: float


@dataclass
class WordVectors:
    """Words and their vectors (V, E), the most frequent word first."""

    words: tuple[str, ...]
    vectors: torch.Tensor
    counts: torch.Tensor

    def __post_init__(self) -> None:
        self.numbers = {word: number for number, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self.numbers

    def __getitem__(self, word: str) -> torch.Tensor:
        if word not in self.numbers:
            raise ValueError(f"the vectors know {len(self)} words, not {word!r}; {nearest(word, self.words)}")
        return self.vectors[self.numbers[word]]

    def nearest(self, word: str | torch.Tensor, count: int = 5) -> list[Neighbour]:
        """The words whose vectors point in the most similar direction, the word itself left out."""
        x = self[word] if isinstance(word, str) else word
        cosines = F.normalize(self.vectors, dim=1) @ F.normalize(x, dim=0)
        if isinstance(word, str):
            cosines[self.numbers[word]] = -2
        best = cosines.topk(min(count, len(self) - isinstance(word, str)))
        return [Neighbour(self.words[n], float(c)) for c, n in zip(best.values, best.indices.tolist(), strict=True)]

    def analogy(self, a: str, b: str, c: str, count: int = 1) -> list[Neighbour]:
        """Words d such that a is to b as c is to d, by b - a + c of vectors of length one; the three are left out."""
        one, two, three = (F.normalize(self[word], dim=0) for word in (a, b, c))
        found = self.nearest(two - one + three, count + 3)
        return [each for each in found if each.word not in (a, b, c)][:count]

    def mean(self, texts: Iterable[str]) -> torch.Tensor:
        """The mean vector of each text's known words (N, E); zeros where it has none."""
        rows = []
        for text in texts:
            known = [self.numbers[word] for word in split_words(text) if word in self.numbers]
            rows.append(self.vectors[known].mean(0) if known else torch.zeros(self.vectors.shape[1]))
        return torch.stack(rows)


def split_words(text: str) -> list[str]:
    """Words in lower case, without signs and numbers.

    >>> split_words("The cat's 2 well-known tricks.")
    ['the', "cat's", 'well-known', 'tricks']
    """
    return _WORD.findall(text.lower())


def train_word2vec(
    texts: Iterable[str],
    *,
    dim: int = 100,
    window: int = 5,
    negative: int = 5,
    mode: Mode = "skip-gram",
    sample: float | None = 1e-3,
    min_count: int = 5,
    max_words: int | None = None,
    epochs: int = 5,
    lr: float = 0.01,
    batch_size: int = 2048,
    initial: WordVectors | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    progress: bool = True,
) -> WordVectors:
    """Train vectors on texts; windows do not reach from one text into the next.

    An example stands at the head of this file. The loss of a word w beside c is
    ``-log s(u_c v_w) - sum_k log s(-u_k v_w)`` with k drawn from counts to the power of 3/4 (1310.4546, equation 4);
    of CBOW v_w is the mean of the neighbours' vectors and c the word between them.

    Parameters
    ----------
    dim
        Width of the vectors.
    window
        Neighbours on each side at most; how many is drawn anew for each place, as the authors' code does.
    negative
        Words drawn for each pair.
    sample
        Frequent words are left out with the probability ``1 - sqrt(sample / frequency)`` (equation 5); None keeps all.
    min_count, max_words
        Rarer words get no vector; nor do those after the most frequent so many.
    lr
        Of Adam on the rows that occur, falling in a straight line to 0.
    initial
        Vectors to start from, where a word is known: of another corpus.

    Raises
    ------
    ValueError
        For no text, fewer than two words frequent enough, a `sample` that leaves no pair of words, an option out of
        range, initial vectors of another width, or a loss that is no number.
    """
    texts = some_text(texts, "train_word2vec")
    _check(dim, window, negative, epochs, batch_size, min_count, mode, sample, lr)
    sentences = [split_words(text) for text in texts]
    words, counts = _vocabulary(sentences, min_count, max_words)
    numbers = {word: number for number, word in enumerate(words)}
    encoded = [torch.tensor([numbers[w] for w in each if w in numbers]) for each in sentences]
    encoded = [each for each in encoded if len(each) > 1]
    if len(words) < 2 or not encoded:
        raise ValueError(
            f"train_word2vec: {len(words)} words occur {min_count} times or more, and {len(encoded)} texts have two of "
            "them; give more text, or a smaller min_count"
        )
    where = runtime.device() if device is None else torch.device(device)
    draws = torch.Generator().manual_seed(seed)
    net = SkipGram(len(words), dim, draws).to(where)
    if initial is not None:
        net.start_from(words, initial)
    keep = torch.ones(len(words)) if sample is None else (sample / (counts / counts.sum())).sqrt().clamp(max=1)
    noise = counts.double() ** 0.75
    optimizer = torch.optim.SparseAdam(net.parameters(), lr)
    bar, trained = range(1, epochs + 1), 0
    for number in runtime.progress(bar, "word2vec", epochs) if progress else bar:
        corpus = _thinned(encoded, keep, draws)
        pairs = list(_batches(corpus, window, mode, batch_size, draws))
        trained += len(pairs)
        for n, (given, asked) in enumerate(pairs):
            optimizer.param_groups[0]["lr"] = lr * max(1e-3, 1 - (number - 1 + n / len(pairs)) / epochs)
            drawn = torch.multinomial(noise, len(asked) * negative, replacement=True, generator=draws)
            loss = net(given.to(where), asked.to(where), drawn.view(-1, negative).to(where))
            if not torch.isfinite(loss):
                raise ValueError(
                    f"train_word2vec: the loss is {loss.item()} in epoch {number}; try a smaller lr than {lr:g}"
                )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    if not trained:
        raise ValueError(f"train_word2vec: with sample={sample} no pair of words is left; take a larger one, or None")
    return WordVectors(words, net.words.weight.detach().cpu().clone(), counts)


class SkipGram(nn.Module):
    """Two vectors for each word: as the one that is given, and as the one that is asked for.

    >>> net = SkipGram(10, 4, torch.Generator().manual_seed(0))
    >>> given, asked, drawn = torch.tensor([1, 2]), torch.tensor([3, 4]), torch.randint(10, (2, 5))
    >>> round(net(given, asked, drawn).item(), 3)  # (1 + 5) log 2 at the start
    4.159
    """

    def __init__(self, count: int, dim: int, draws: torch.Generator) -> None:
        super().__init__()
        self.words = nn.Embedding(count, dim, sparse=True)
        self.contexts = nn.Embedding(count, dim, sparse=True)
        with torch.no_grad():
            self.words.weight.copy_((torch.rand(count, dim, generator=draws) - 0.5) / dim)
            self.contexts.weight.zero_()

    def forward(self, given: torch.Tensor, asked: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        """The mean loss; given words (N,), or several (N, W) with -1 where there is none; asked (N,); drawn (N, K)."""
        if given.ndim == 1:
            v = self.words(given)
        else:
            there = (given != NOTHING)[:, :, None]
            v = (self.words(given.clamp_min(0)) * there).sum(1) / there.sum(1)
        right = (self.contexts(asked) * v).sum(1)
        wrong = torch.einsum("nke,ne->nk", self.contexts(drawn), v)
        return -(F.logsigmoid(right) + F.logsigmoid(-wrong).sum(1)).mean()

    def start_from(self, words: Sequence[str], initial: WordVectors) -> None:
        """Take the vectors of the words that `initial` knows."""
        if initial.vectors.shape[1] != self.words.embedding_dim:
            raise ValueError(
                f"train_word2vec(dim={self.words.embedding_dim}): the initial ones are {initial.vectors.shape[1]} wide"
            )
        with torch.no_grad():
            for number, word in enumerate(words):
                if word in initial:
                    self.words.weight[number] = initial[word].to(self.words.weight.device)


def _vocabulary(
    sentences: Sequence[Sequence[str]], min_count: int, most: int | None
) -> tuple[tuple[str, ...], torch.Tensor]:
    counted = Counter(word for sentence in sentences for word in sentence)
    ranked = sorted(((-n, word) for word, n in counted.items() if n >= min_count))[:most]
    return tuple(word for _, word in ranked), torch.tensor([-n for n, _ in ranked], dtype=torch.float32)


def _thinned(texts: Sequence[torch.Tensor], keep: torch.Tensor, draws: torch.Generator) -> list[torch.Tensor]:
    """The texts without some of their frequent words; what is left moves together, as in the authors' code."""
    order = torch.randperm(len(texts), generator=draws).tolist()
    made = []
    for n in order:
        kept = texts[n][torch.rand(len(texts[n]), generator=draws) < keep[texts[n]]]
        if len(kept) > 1:
            made.append(kept)
    return made


def _batches(
    texts: Sequence[torch.Tensor], window: int, mode: Mode, size: int, draws: torch.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Given and asked words, in batches in any order."""
    if not texts:
        return
    given, asked = neighbours(texts, window, draws)
    if mode == "skip-gram":
        rows, places = (given != NOTHING).nonzero(as_tuple=True)
        given, asked = asked[rows], given[rows, places]  # the word in the middle is given, each neighbour asked for
    order = torch.randperm(len(asked), generator=draws)
    for part in order.split(size):
        yield given[part], asked[part]


def neighbours(texts: Sequence[torch.Tensor], window: int, draws: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """For every place the words around it (N, 2 window), -1 where there is none, and the word there (N,).

    >>> around, middle = neighbours([torch.tensor([5, 6, 7])], 1, torch.Generator())
    >>> around.tolist(), middle.tolist()
    ([[-1, 6], [5, 7], [6, -1]], [5, 6, 7])
    """
    middle = torch.cat(list(texts))
    text = torch.repeat_interleave(torch.arange(len(texts)), torch.tensor([len(each) for each in texts]))
    reach = torch.randint(1, window + 1, (len(middle),), generator=draws)
    columns = []
    for step in [*range(-window, 0), *range(1, window + 1)]:
        there = torch.arange(len(middle)) + step
        inside = (there >= 0) & (there < len(middle)) & (reach >= abs(step))
        there = there.clamp(0, len(middle) - 1)
        columns.append(torch.where(inside & (text[there] == text), middle[there], NOTHING))
    around = torch.stack(columns, 1)
    some = (around != NOTHING).any(1)
    return around[some], middle[some]


def _check(
    dim: int, window: int, negative: int, epochs: int, size: int, least: int, mode: str, sample: float | None, lr: float
) -> None:
    for name, value in (
        ("dim", dim), ("window", window), ("negative", negative), ("epochs", epochs), ("batch_size", size),
        ("min_count", least),
    ):  # fmt: skip
        if value < 1:
            raise ValueError(f"train_word2vec({name}={value}): from 1 on is accepted")
    if mode not in ("skip-gram", "cbow"):
        raise ValueError(f"train_word2vec(mode={mode!r}): {nearest(mode, ('skip-gram', 'cbow'))}")
    if lr <= 0 or (sample is not None and sample <= 0):
        raise ValueError(f"train_word2vec(lr={lr}, sample={sample}): numbers above 0 are accepted")
