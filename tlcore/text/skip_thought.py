"""Skip-thought vectors: a sentence is read so that the sentences before and after it can be written.

Kiros et al. 2015 (arXiv:1506.06726). The encoder's last state is the sentence's vector; afterwards it stays as it is,
and any classifier can be trained on it.

>>> texts = ["The cat sat. It was warm. It slept.", "A dog ran. It was fast. It barked."] * 20
>>> model = train_skip_thought(texts, vocabulary=60, embedding=8, hidden=12, epochs=1, progress=False)
>>> model.transform(["A cat ran.", "It was warm."]).shape
torch.Size([2, 12])
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tlcore import runtime, training
from tlcore.text.batches import PAD, Bucketed, filled_up
from tlcore.text.tokens import Tokens, shortened, some_text
from tlcore.training import Arithmetic, History

_END = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][\"'”’)]))\s+(?=[\"'“‘(]?[^\W\d_a-z])")


def sentences(text: str) -> list[str]:
    """Cut a text where a sentence ends and the next begins with a capital.

    >>> sentences("It is 2.5 m long. Is it? Yes!")
    ['It is 2.5 m long.', 'Is it?', 'Yes!']
    """
    return [part for part in _END.split(text.strip()) if part]


class SkipThought(nn.Module):
    """One encoder and two decoders, which share the embedding.

    >>> net = SkipThought(vocabulary=50, embedding=8, hidden=12)
    >>> here = torch.tensor([[2, 7, 8, 0]])                                # (N, T), filled up with 0
    >>> net.encode(here).shape, net(here, here, here).shape
    (torch.Size([1, 12]), torch.Size([]))

    A decoder gets the sentence's vector with every word that it has written, so it adds to all three gates of its GRU
    as the matrices C, C_r and C_z of equations 5 to 7 do.
    """

    def __init__(self, vocabulary: int, embedding: int = 100, hidden: int = 200) -> None:
        super().__init__()
        for name, size in (("vocabulary", vocabulary), ("embedding", embedding), ("hidden", hidden)):
            if size < 1:
                raise ValueError(f"SkipThought({name}={size}): from 1 on is accepted")
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.encoder = nn.GRU(embedding, hidden, batch_first=True)
        self.before = nn.GRU(embedding + hidden, hidden, batch_first=True)
        self.after = nn.GRU(embedding + hidden, hidden, batch_first=True)
        self.words = nn.Linear(hidden, vocabulary)

    def encode(self, here: torch.Tensor) -> torch.Tensor:
        """The encoder's state after the last token (N, H)."""
        states, _ = self.encoder(self.embedding(here))
        last = (here != PAD).sum(1).clamp_min(1) - 1
        return states[torch.arange(len(here), device=here.device), last]  # type: ignore[no-any-return]

    def forward(self, here: torch.Tensor, before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        """The mean loss of writing both neighbours; each (N, T) begins with the mark of a beginning."""
        h = self.encode(here)
        return (self._written(self.before, h, before) + self._written(self.after, h, after)) / 2

    def _written(self, decoder: nn.GRU, h: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """The loss of each token from those before it; after the last one the beginning of another text is expected."""
        asked = torch.cat([text[:, 1:], torch.zeros_like(text[:, :1])], 1)
        last = (text != PAD).sum(1).clamp_min(1) - 1
        asked = asked.scatter(1, last[:, None], text[:, :1])
        steps = h[:, None].expand(-1, text.shape[1], -1)
        states, _ = decoder(torch.cat([self.embedding(text), steps], 2))
        scores = self.words(states).flatten(0, 1)
        return cross_entropy(scores, asked.masked_fill(text == PAD, -100).flatten())


@dataclass
class SentenceEncoder:
    """The trained encoder with its vocabulary: sentences in, vectors out."""

    net: SkipThought
    tokens: Tokens
    history: History = field(default_factory=History, repr=False)

    @torch.no_grad()
    def transform(self, texts: Iterable[str], *, batch_size: int = 256, max_len: int = 60) -> torch.Tensor:
        """Vectors (N, H) of sentences."""
        numbers = shortened(self.tokens.encode_all(some_text(texts, "transform"), "transform"), max_len, "transform")
        device, made = self.net.words.weight.device, torch.zeros(len(numbers), self.net.encoder.hidden_size)
        self.net.eval()
        for x, rows in Bucketed(numbers, torch.arange(len(numbers)), batch_size, shuffle=False):
            made[rows] = self.net.encode(x.to(device)).float().cpu()
        return made


def train_skip_thought(
    texts: Iterable[str],
    *,
    vocabulary: int = 4000,
    embedding: int = 100,
    hidden: int = 200,
    epochs: int = 5,
    lr: float = 1e-2,
    batch_size: int = 32,
    max_len: int = 30,
    tokens: Tokens | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    progress: bool = True,
) -> SentenceEncoder:
    """Train on texts of several sentences each; neighbours are taken within a text.

    An example stands at the head of this file.

    Parameters
    ----------
    max_len
        Of longer sentences the first so many tokens are read and written.
    tokens
        A vocabulary; default one is learnt from the texts.

    Raises
    ------
    ValueError
        If no text has three sentences, or an option is out of range.
    """
    texts = some_text(texts, "train_skip_thought")
    parts = [part for text in texts if len(part := sentences(text)) > 2]
    if not parts:
        raise ValueError(
            f"train_skip_thought: none of {len(texts)} texts has three sentences; one is read, two are written"
        )
    if epochs < 1 or lr <= 0 or batch_size < 1 or max_len < 2:
        raise ValueError(
            f"train_skip_thought(epochs={epochs}, lr={lr}, batch_size={batch_size}, max_len={max_len}): "
            "1, above 0, 1 and 2 are the least"
        )
    where = runtime.device() if device is None else torch.device(device)
    tokens = Tokens.train(texts, vocabulary) if tokens is None else tokens
    runtime.seed_everything(seed)
    net = SkipThought(len(tokens), embedding, hidden).to(where)
    triples = _Triples(parts, tokens, batch_size, max_len, seed)
    optimizer = torch.optim.Adam(net.parameters(), lr)
    history = training.fit(
        _OneInput(net), triples, epochs=epochs, optimizer=optimizer, schedule="one_cycle", clip=10.0,
        loss=lambda loss, _: loss.mean(), arithmetic=Arithmetic(), device=where, seed=seed, progress=progress,
    )  # fmt: skip
    net.eval()
    return SentenceEncoder(net, tokens, history)


class _OneInput(nn.Module):
    """The three sentences come side by side in one tensor (N, 3, T)."""

    def __init__(self, net: SkipThought) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        before, here, after = x.unbind(1)
        loss: torch.Tensor = self.net(here, before, after)
        return loss.expand(len(x))


class _Triples:
    """Batches of a sentence between its neighbours (N, 3, T), of like length."""

    def __init__(self, parts: Sequence[Sequence[str]], tokens: Tokens, size: int, max_len: int, seed: int) -> None:
        every = [sentence for part in parts for sentence in part]
        self.numbers = shortened(tokens.encode_all(every, "train_skip_thought"), max_len, "train_skip_thought")
        ends = torch.tensor([len(part) for part in parts]).cumsum(0).tolist()
        self.middle = [n for start, end in pairwise([0, *ends]) for n in range(start + 1, end - 1)]
        longest = [torch.zeros(max(len(self.numbers[m]) for m in (n - 1, n, n + 1))) for n in self.middle]
        self.batches = Bucketed(longest, torch.zeros(len(longest)), size, seed=seed)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self):  # type: ignore[no-untyped-def]
        for rows in self.batches.order():
            found = [self.numbers[self.middle[row] + step] for row in rows for step in (-1, 0, 1)]
            yield filled_up(found).view(len(rows), 3, -1), torch.zeros(len(rows))
