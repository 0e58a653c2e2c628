"""Batches of text: long streams for language models, texts of like length for classifiers.

A language model reads several places of one long text side by side, some steps at a time, and keeps its state between:
back-propagation through time is cut (BPTT), the memory is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from tlcore.text.softmax import IGNORED

PAD = 0


class Chunk(NamedTuple):
    """Some steps of a stream."""

    x: torch.Tensor  # (T, N) tokens
    y: torch.Tensor  # (T, N) the token that follows each; -100 where there is none
    scale: float  # of the learning rate: steps here over `bptt`


class Stream:
    """Texts one after the other, cut into columns that are read side by side.

    >>> texts = [torch.arange(6), torch.arange(6, 11)]
    >>> stream = Stream(texts, batch_size=2, bptt=3, vary=False)
    >>> for chunk in stream.epoch(1): print(chunk.x.T.tolist(), chunk.y.T.tolist())
    [[0, 1, 2], [5, 6, 7]] [[1, 2, 3], [6, 7, 8]]
    [[3, 4], [8, 9]] [[4, 5], [9, 10]]

    Each token but the first is predicted exactly once in an epoch.

    Parameters
    ----------
    texts
        Numbers of tokens, a tensor each.
    vary
        Draw the number of steps of each chunk, as AWD-LSTM does, so that chunks end elsewhere each epoch: normal with
        deviation 5 around `bptt`, or (one time in twenty) around half of it, at least 5. The learning rate is to be
        multiplied by `Chunk.scale`, since the loss is a mean over steps (Merity et al. 2017, section 4.1).
    shuffle
        Put the texts in another order in each epoch; otherwise the order stays, and (with `vary`) another is first.
    backward
        Read every text from its end to its beginning, for a backward language model.
    """

    def __init__(
        self,
        texts: Sequence[torch.Tensor],
        batch_size: int = 32,
        bptt: int = 70,
        *,
        vary: bool = True,
        shuffle: bool = False,
        backward: bool = False,
        seed: int = 0,
    ) -> None:
        if batch_size < 1 or bptt < 1:
            raise ValueError(f"Stream(batch_size={batch_size}, bptt={bptt}): from 1 on is accepted")
        self.texts, self.bptt, self.vary, self.shuffle, self.backward = texts, bptt, vary, shuffle, backward
        self.seed = seed
        self.count = sum(len(text) for text in texts) - 1  # of predictions
        if self.count < 1:
            raise ValueError(
                "Stream: the texts hold fewer than two tokens; a language model needs something to predict"
            )
        self.batch_size = min(batch_size, self.count)

    def steps(self, epochs: int) -> int:
        """Chunks in so many epochs together."""
        return sum(len(self._lengths(number)) for number in range(1, epochs + 1))

    def epoch(self, number: int, start: int = 0, device: torch.device | str = "cpu") -> Iterator[Chunk]:
        """The chunks of an epoch (from 1 on), the same each time; `start` leaves out the first ones."""
        tokens = self._ordered(number)
        tall = -(-self.count // self.batch_size)
        rest = tall * self.batch_size - self.count
        x = torch.cat([tokens[:-1], tokens.new_zeros(rest)]).view(self.batch_size, tall).T
        y = torch.cat([tokens[1:], tokens.new_full((rest,), IGNORED)]).view(self.batch_size, tall).T
        at = 0
        for index, length in enumerate(self._lengths(number)):
            if index >= start:
                part = slice(at, at + length)
                yield Chunk(x[part].to(device).long(), y[part].to(device).long(), length / self.bptt)
            at += length

    def _ordered(self, number: int) -> torch.Tensor:
        count, draws = len(self.texts), self._draws(number)
        order = torch.arange(count)
        if self.shuffle:
            order = torch.randperm(count, generator=draws)
        elif self.vary:
            order = order.roll(-int(torch.randint(count, (), generator=draws)))
        if self.backward:
            return torch.cat([flipped(self.texts[n]) for n in order.flip(0).tolist()])
        return torch.cat([self.texts[n] for n in order.tolist()])

    def _lengths(self, number: int) -> list[int]:
        left, draws = -(-self.count // self.batch_size), self._draws(-number)
        found: list[int] = []
        while left > 0:
            length = self.bptt
            if self.vary:
                half = float(torch.rand((), generator=draws)) < 0.05
                drawn = float(torch.randn((), generator=draws)) * 5 + (self.bptt / 2 if half else self.bptt)
                length = max(min(5, self.bptt), int(drawn))
            found.append(min(length, left))
            left -= found[-1]
        return found

    def _draws(self, number: int) -> torch.Generator:
        return torch.Generator().manual_seed((self.seed * 1_000_003 + number) % 2**63)


def flipped(text: torch.Tensor) -> torch.Tensor:
    """A text from its end to its beginning; ``<bos>`` stays first.

    >>> flipped(torch.tensor([2, 10, 11, 12])).tolist()
    [2, 12, 11, 10]
    """
    return torch.cat([text[:1], text[1:].flip(0)])


def filled_up(texts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Numbers of tokens side by side (N, T), short ones filled up with 0 at their end.

    >>> filled_up([torch.tensor([2, 7]), torch.tensor([2, 8, 9])]).tolist()
    [[2, 7, 0], [2, 8, 9]]
    """
    return torch.nn.utils.rnn.pad_sequence([text.long() for text in texts], batch_first=True, padding_value=PAD)


class Bucketed:
    """Labelled texts in batches of like length (N, T), filled up with 0; every text once an epoch.

    >>> texts = [torch.full((n,), 5) for n in (9, 2, 8, 3)]
    >>> [tuple(x.shape) for x, y in Bucketed(texts, torch.arange(4), batch_size=2, shuffle=False)]
    [(2, 3), (2, 9)]

    Parameters
    ----------
    texts, labels
        Numbers of tokens, a tensor each, and class numbers (N,).
    shuffle
        Draw another order each epoch: texts are sorted by length within fifty batches' worth of them, and the batches
        come in any order. Otherwise all are sorted.
    """

    def __init__(
        self,
        texts: Sequence[torch.Tensor],
        labels: torch.Tensor,
        batch_size: int,
        *,
        shuffle: bool = True,
        seed: int = 0,
    ) -> None:
        if batch_size < 1 or len(texts) != len(labels):
            raise ValueError(f"Bucketed: {len(texts)} texts, {len(labels)} labels, batches of {batch_size}")
        self.texts, self.labels, self.batch_size, self.shuffle = list(texts), labels, batch_size, shuffle
        self.draws = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return len(self._sizes())

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for rows in self.order():
            yield filled_up([self.texts[n] for n in rows]), self.labels[rows]

    def order(self) -> list[list[int]]:
        """Rows of each batch of the next epoch."""
        count, lengths = len(self.texts), torch.tensor([len(text) for text in self.texts])
        if not self.shuffle:
            return [part.tolist() for part in lengths.argsort(stable=True).split(self.batch_size)]
        drawn = torch.randperm(count, generator=self.draws)
        windows = [part[lengths[part].argsort(stable=True)] for part in drawn.split(50 * self.batch_size)]
        rows = torch.cat(windows)
        batches = [part.tolist() for part in rows.split(self._sizes())]
        return [batches[n] for n in torch.randperm(len(batches), generator=self.draws).tolist()]

    def _sizes(self) -> list[int]:
        """A single text left over joins the batch before it: batch normalisation cannot learn from one."""
        whole, rest = divmod(len(self.texts), self.batch_size)
        sizes = [self.batch_size] * whole + [rest] * (rest > 0)
        if self.shuffle and whole and rest == 1 and self.batch_size > 1:
            sizes[-2:] = [self.batch_size + 1]
        return sizes
