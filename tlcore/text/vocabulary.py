"""A language model learns another vocabulary: what both know keeps its embedding, what is new starts from the mean.

Howard and Ruder 2018 (arXiv:1801.06146), section 3.2, and fastai's code for "mean embedding for new words".
"""

from __future__ import annotations

from typing import NamedTuple

from tlcore.text.awd_lstm import AWDLSTM
from tlcore.text.language_model import LanguageModel
from tlcore.text.tokens import Tokens


class Transferred(NamedTuple):
    """The model with the new vocabulary, and how many of its pieces were known."""

    lm: LanguageModel
    known: int


def transfer_vocabulary(lm: LanguageModel, tokens: Tokens) -> Transferred:
    """The same network, reading and writing the pieces of `tokens`; `lm` itself stays as it is.

    >>> import torch
    >>> old, new = Tokens.train(["a cat sat"] * 9, size=40), Tokens.train(["a dog sat"] * 9, size=40)
    >>> lm = LanguageModel(AWDLSTM(len(old), embedding=8, hidden=16, layers=2), old)
    >>> moved, known = transfer_vocabulary(lm, new)
    >>> known < len(new), len(moved.tokens) == len(new)
    (True, True)
    >>> here, there = new.encode("sat")[1], old.encode("sat")[1]  # a piece of both
    >>> torch.equal(moved.net.embedding.weight[here], lm.net.embedding.weight[there])
    True

    Rows of the embedding and entries of the softmax's bias are copied where a piece is in both vocabularies; for a new
    piece both are the mean over the old vocabulary. The layers above are copied.
    """
    numbers = [lm.tokens.inner.token_to_id(piece) for piece in tokens.pieces(range(len(tokens)))]
    net = AWDLSTM(**(lm.net.sizes | {"vocabulary": len(tokens)}), dropouts=lm.net.dropouts)
    state = {name: tensor.clone() for name, tensor in lm.net.state_dict().items()}
    for name in ("embedding.weight", "bias"):
        old = state[name]
        new = old.mean(0, keepdim=True).repeat(len(tokens), *[1] * (old.ndim - 1))
        for here, there in enumerate(numbers):
            if there is not None:
                new[here] = old[there]
        state[name] = new
    net.load_state_dict(state)
    net.to(lm.device).train(lm.net.training)
    card = {"parameters": sum(p.numel() for p in net.parameters()), "pieces": len(tokens), "from": lm.card}
    moved = LanguageModel(net, tokens, lm.backward, card)
    return Transferred(moved, sum(number is not None for number in numbers))
