"""Stage 2 of ULMFiT: a language model reads on in the target's texts, which need no labels."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tlcore import runtime
from tlcore.text.awd_lstm import Dropouts
from tlcore.text.batches import Stream
from tlcore.text.corpus import words
from tlcore.text.language_model import LanguageModel, same_language
from tlcore.text.reading import read
from tlcore.text.tokens import Tokens, some_text
from tlcore.text.vocabulary import transfer_vocabulary
from tlcore.training import parameter_groups
from tlcore.training.schedules import Schedule

FACTOR = 2.6  # Howard and Ruder 2018, section 3.2: found to work well


def fine_tune_lm(
    lm: LanguageModel,
    texts: Iterable[str],
    *,
    epochs: int = 5,
    lr: float = 4e-3,
    factor: float = FACTOR,
    schedule: str | Callable[[int], Schedule] = "stlr",
    dropout: float = 0.5,
    tokens: Tokens | None = None,
    batch_size: int = 32,
    bptt: int = 70,
    weight_decay: float = 0.0,
    clip: float | None = 0.5,
    activation: float = 0.0,
    temporal: float = 0.0,
    arithmetic: str = "auto",
    log: str | Path | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    progress: bool = True,
) -> LanguageModel:
    """A copy of `lm` that has read the target's texts as well.

    >>> from tlcore import text
    >>> recipe = text.ulmfit.Recipe(vocabulary=60, embedding=16, hidden=32, epochs=3, batch_size=2, bptt=10)
    >>> lm = text.ulmfit.pretrain_lm(["a cat sat on a mat", "a dog sat on a log"] * 30, recipe, progress=False)
    >>> target = ["a cat sat on a log"] * 30
    >>> tuned = fine_tune_lm(lm, target, epochs=3, batch_size=2, bptt=10, progress=False)
    >>> tuned.perplexity(target) < lm.perplexity(target)
    True

    Discriminative rates: the rate of each layer is that of the layer above divided by `factor`. The embedding is the
    softmax as well (they are tied), and is trained at the largest rate. The rates follow slanted triangles.

    Parameters
    ----------
    lr
        Largest rate of the last group, of Adam (0.7, 0.99).
    factor
        1 trains all layers alike.
    schedule
        stlr, cosine, constant, …, see `training.SCHEDULES`.
    dropout
        Factor on the five rates of `Dropouts`.
    tokens
        Another vocabulary, such as ``Tokens.train(texts)``; new pieces start from the mean embedding
        (`transfer_vocabulary`). Default the model's own.
    activation, temporal
        Weights of AR and TAR.

    Raises
    ------
    ValueError
        For no text, text in a script that the vocabulary does not know, an option out of range, or a loss that is no
        number.
    """
    texts = some_text(texts, "fine_tune_lm")
    if lr <= 0 or factor <= 0:
        raise ValueError(f"fine_tune_lm(lr={lr}, factor={factor}): numbers above 0 are accepted")
    made = _copied(lm) if tokens is None else transfer_vocabulary(lm, tokens).lm
    net = made.net.to(runtime.device() if device is None else torch.device(device))
    net.set_dropouts(dropout * Dropouts())
    runtime.seed_everything(seed)
    numbers = made.tokens.encode_all(texts, "fine_tune_lm")
    if tokens is None:
        same_language(lm, texts, numbers, "fine_tune_lm")
    stream = Stream(numbers, batch_size, bptt, shuffle=True, backward=made.backward, seed=seed)
    groups = parameter_groups(net, lr, factor=factor, weight_decay=weight_decay, groups=lm_groups(made))
    optimizer = torch.optim.Adam(groups, lr, (0.7, 0.99))
    done = read(
        net, stream, optimizer, epochs=epochs, schedule=schedule, clip=clip, activation=activation, temporal=temporal,
        arithmetic=arithmetic, log=Path(log) if log else None, progress=progress,
    )  # fmt: skip
    about: dict[str, Any] = {"epochs": epochs, "lr": lr, "factor": factor, "seed": seed, "texts": len(texts)}
    made.card = {
        "model": "AWD-LSTM",
        "parameters": sum(p.numel() for p in net.parameters()),
        "fine_tuned": about | {"schedule": str(schedule), "last train loss": done.loss},
        "from": lm.card,  # its data, command and perplexities are not this model's
    }
    if tokens is not None:  # nor is its number of tokens a word
        made.card |= {"words": words(texts), "tokens": sum(map(len, numbers))}
    return made


def lm_groups(lm: LanguageModel) -> list[list[nn.Module]]:
    """A language model's layers, input first; the softmax, and with it the tied embedding, last.

    >>> from tlcore.text.awd_lstm import AWDLSTM
    >>> tokens = Tokens.train(["a cat"] * 9, size=40)
    >>> net = AWDLSTM(len(tokens), embedding=8, hidden=16, layers=2)
    >>> [type(group[0]).__name__ for group in lm_groups(LanguageModel(net, tokens))]
    ['WeightDropLSTM', 'WeightDropLSTM', 'Embedding']
    """
    return [*([layer] for layer in lm.net.lstms), [lm.net.embedding]]


def _copied(lm: LanguageModel) -> LanguageModel:
    return LanguageModel(copy.deepcopy(lm.net), lm.tokens, lm.backward, dict(lm.card))
