"""AWD-LSTM: an LSTM language model with five kinds of dropout (Merity, Keskar, Socher 2017, arXiv:1708.02182).

===========  ======================================================================  ==================================
dropout      what falls away                                                         drawn anew
===========  ======================================================================  ==================================
embedding    whole words, everywhere in the batch                                    each batch
input        features of the embedded words, the same at every time step             each batch, for each text
weight       single weights from hidden state to hidden state (DropConnect)          each batch
hidden       features between LSTM layers, the same at every time step               each batch, for each text
output       features before the softmax, the same at every time step                each batch, for each text
===========  ======================================================================  ==================================

Since weights fall away *before* a batch, the recurrence itself is the library's fused LSTM, as fast as without dropout.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

State = list[tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class Dropouts:
    """Five rates, as the paper's and fastai's code set them for language models.

    >>> (0.5 * Dropouts()).weight
    0.1
    """

    output: float = 0.1
    hidden: float = 0.15
    input: float = 0.25
    embedding: float = 0.02
    weight: float = 0.2

    def __post_init__(self) -> None:
        for field in fields(self):
            if not 0 <= getattr(self, field.name) < 1:
                raise ValueError(f"Dropouts({field.name}={getattr(self, field.name)}): from 0 to below 1 is accepted")

    def __rmul__(self, factor: float) -> Dropouts:
        return Dropouts(*(factor * getattr(self, field.name) for field in fields(self)))


CLASSIFIER = Dropouts(0.4, 0.3, 0.4, 0.05, 0.5)
NONE = Dropouts(0, 0, 0, 0, 0)


class Encoded(NamedTuple):
    """What comes out of the LSTM: features after output dropout and before it, and the state to go on from."""

    out: torch.Tensor  # (T, N, E)
    raw: torch.Tensor  # (T, N, E)
    state: State


class WeightDropLSTM(nn.LSTM):
    """One LSTM layer whose hidden-to-hidden weights partly fall away in training; time comes first.

    >>> layer = WeightDropLSTM(4, 6, weight_drop=0.5)
    >>> out, (h, c) = layer(torch.zeros(7, 2, 4))
    >>> out.shape, h.shape
    (torch.Size([7, 2, 6]), torch.Size([1, 2, 6]))
    """

    def __init__(self, input_size: int, hidden_size: int, weight_drop: float = 0.0) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_drop = weight_drop

    def forward(  # type: ignore[override]
        self, x: torch.Tensor, state: tuple[torch.Tensor, torch.Tensor] | None = None
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        if not self.training or self.weight_drop == 0:
            return super().forward(x, state)  # type: ignore[no-any-return]
        if state is None:
            nothing = x.new_zeros(1, x.shape[1], self.hidden_size)
            state = nothing, nothing
        across, own, *biases = self.parameters()  # from the input, from the hidden state, and a bias for each
        weights = [across, F.dropout(own, self.weight_drop), *biases]
        out, h, c = torch.lstm(x, state, weights, True, 1, 0.0, True, False, False)  # what nn.LSTM calls itself
        return out, (h, c)


class LockedDropout(nn.Module):
    """Dropout whose mask is the same at every time step (Gal, Ghahramani 2016); x is (T, N, E)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.rate == 0:
            return x
        return x * F.dropout(torch.ones_like(x[:1]), self.rate)

    def extra_repr(self) -> str:
        return f"{self.rate}"


class AWDLSTM(nn.Module):
    """Numbers of tokens in, features of each place in the text out; the softmax shares the embedding's weights.

    >>> net = AWDLSTM(vocabulary=100, embedding=8, hidden=16, layers=2)
    >>> x = torch.randint(100, (7, 3))                         # (T, N): 7 steps of 3 texts
    >>> encoded = net.encode(x)
    >>> encoded.out.shape, net.logits(encoded.out).shape       # (T, N, E), (T, N, V)
    (torch.Size([7, 3, 8]), torch.Size([7, 3, 100]))
    >>> later = net.encode(x, encoded.state)                   # goes on where the first seven steps ended

    Parameters
    ----------
    vocabulary, embedding, hidden, layers
        Sizes; the last LSTM layer has the embedding's width, as the tied softmax needs. ULMFiT has 400, 1150 and 3.
    dropouts
        Rates; can be changed later by `set_dropouts`.
    """

    def __init__(
        self, vocabulary: int, embedding: int = 400, hidden: int = 1150, layers: int = 3, dropouts: Dropouts = NONE
    ) -> None:
        super().__init__()
        for name, size in (
            ("vocabulary", vocabulary),
            ("embedding", embedding),
            ("hidden", hidden),
            ("layers", layers),
        ):
            if size < 1:
                raise ValueError(f"AWDLSTM({name}={size}): from 1 on is accepted")
        self.sizes = {"vocabulary": vocabulary, "embedding": embedding, "hidden": hidden, "layers": layers}
        widths = [embedding, *[hidden] * (layers - 1), embedding]
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.input_dropout = LockedDropout(0)
        self.lstms = nn.ModuleList(WeightDropLSTM(widths[n], widths[n + 1]) for n in range(layers))
        self.hidden_dropouts = nn.ModuleList(LockedDropout(0) for _ in range(layers - 1))
        self.output_dropout = LockedDropout(0)
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        nn.init.normal_(self.embedding.weight, std=0.3)  # AWD-LSTM's 0.1 keeps Adam at word frequencies for long
        self.set_dropouts(dropouts)

    def set_dropouts(self, dropouts: Dropouts) -> None:
        """Change all five rates."""
        self.dropouts = dropouts
        self.input_dropout.rate, self.output_dropout.rate = dropouts.input, dropouts.output
        for layer in self.lstms:
            layer.weight_drop = dropouts.weight  # type: ignore[assignment]
        for between in self.hidden_dropouts:
            between.rate = dropouts.hidden  # type: ignore[assignment]

    def encode(self, x: torch.Tensor, state: State | None = None) -> Encoded:
        """Features (T, N, E) of tokens (T, N), from a state on or from none."""
        h = self.input_dropout(self._embedded(x))
        raw, last = h, []
        for n, layer in enumerate(self.lstms):
            raw, after = layer(h, state[n] if state is not None else None)
            last.append(after)
            h = self.hidden_dropouts[n](raw) if n < len(self.hidden_dropouts) else self.output_dropout(raw)
        return Encoded(h, raw, last)

    def logits(self, h: torch.Tensor) -> torch.Tensor:
        """Scores of every token of the vocabulary, from features."""
        return F.linear(h, self.embedding.weight, self.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores (T, N, V) of the token that follows each token of x (T, N), a text a column."""
        return self.logits(self.encode(x).out)

    def _embedded(self, x: torch.Tensor) -> torch.Tensor:
        rate = self.dropouts.embedding
        if not self.training or rate == 0:
            return F.embedding(x, self.embedding.weight)
        kept = F.dropout(self.embedding.weight.new_ones(self.sizes["vocabulary"], 1), rate)
        return F.embedding(x, self.embedding.weight) * F.embedding(x, kept)


def detached(state: State) -> State:
    """The same state, cut from the steps that made it: gradients end here."""
    return [(h.detach(), c.detach()) for h, c in state]


def slowness(encoded: Encoded, activation: float, temporal: float) -> torch.Tensor | float:
    """Penalties on large features (AR) and on features that change fast (TAR), Merity et al. 2017, section 5."""
    loss: torch.Tensor | float = 0.0
    if activation:
        loss = loss + activation * encoded.out.float().square().mean()
    if temporal and len(encoded.raw) > 1:
        loss = loss + temporal * encoded.raw.float().diff(dim=0).square().mean()
    return loss
