"""A language model's body with a classifier's head: concat pooling over all that was read.

>>> from tlcore.text.awd_lstm import AWDLSTM
>>> net = TextClassifier(AWDLSTM(vocabulary=100, embedding=8, hidden=16, layers=2), num_classes=3)
>>> x = torch.tensor([[2, 10, 11, 12], [2, 13, 0, 0]])  # (N, T), filled up with 0
>>> net(x).shape
torch.Size([2, 3])
"""

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import nn

from tlcore.text.awd_lstm import AWDLSTM, CLASSIFIER, Dropouts, detached
from tlcore.text.batches import PAD

Pooling = Literal["concat", "last"]


class TextClassifier(nn.Module):
    """Tokens (N, T) in, scores (N, C) out.

    Parameters
    ----------
    body
        A language model's network; a copy of it is trained, its softmax is left out.
    num_classes
        Of the target.
    pooling
        "concat" is [h_T, max over time, mean over time] (Howard and Ruder 2018, section 3.3); "last" is h_T alone.
    bptt
        Texts are read in parts so long; the state goes on from part to part, gradients do not (BPT3C: they do reach
        every part whose features were pooled). None reads a text as a whole.
    hidden
        Width of the layer between pooling and scores.
    dropouts, dropout
        Of the body, and before the two linear layers.
    """

    def __init__(
        self,
        body: AWDLSTM,
        num_classes: int,
        *,
        pooling: Pooling = "concat",
        bptt: int | None = 70,
        hidden: int = 50,
        dropouts: Dropouts = CLASSIFIER,
        dropout: tuple[float, float] = (0.2, 0.1),
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"TextClassifier(num_classes={num_classes}): from 2 on is accepted")
        if pooling not in ("concat", "last"):
            raise ValueError(f"TextClassifier(pooling={pooling!r}): accepted are 'concat' and 'last'")
        if bptt is not None and bptt < 1:
            raise ValueError(f"TextClassifier(bptt={bptt}): from 1 on is accepted, or None")
        self.body = copy.deepcopy(body)
        self.body.bias.requires_grad_(False)  # of the softmax, which is not used
        self.body.set_dropouts(dropouts)
        self.pooling, self.bptt, self.hidden = pooling, bptt, hidden
        width = body.sizes["embedding"] * (3 if pooling == "concat" else 1)
        self.head = nn.Sequential(
            nn.BatchNorm1d(width), nn.Dropout(dropout[0]), nn.Linear(width, hidden), nn.ReLU(),
            nn.BatchNorm1d(hidden), nn.Dropout(dropout[1]), nn.Linear(hidden, num_classes),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of each class."""
        return self.head(self.pooled(x))  # type: ignore[no-any-return]

    def pooled(self, x: torch.Tensor) -> torch.Tensor:
        """Features (N, 3E) of tokens (N, T); what texts are filled up with changes nothing."""
        real = x != PAD
        lengths = real.sum(1).clamp_min(1)
        h = self._read(x)  # (N, T, E)
        last = h[torch.arange(len(x), device=x.device), lengths - 1]
        if self.pooling == "last":
            return last
        there = real[:, :, None]
        there[:, 0] = True  # of an empty text, something
        highest = h.masked_fill(~there, float("-inf")).amax(1)
        mean = (h * there).sum(1) / lengths[:, None]
        return torch.cat([last, highest, mean], 1)

    def groups(self) -> list[list[nn.Module]]:
        """Embedding, LSTM layers, head: what is unfrozen from the end to the beginning."""
        return [[self.body.embedding], *([layer] for layer in self.body.lstms), [self.head]]

    def _read(self, x: torch.Tensor) -> torch.Tensor:
        parts, state = [], None
        for part in x.T.split(self.bptt or x.shape[1]):
            encoded = self.body.encode(part, state)
            state = detached(encoded.state) if self.bptt else encoded.state
            parts.append(encoded.out)
        return torch.cat(parts).transpose(0, 1)
