"""Stage 1 of ULMFiT: a language model from any text; what comes out is weights, vocabulary, log and card.

From the command line: ``tlcore pretrain lm --root FOLDER_OF_TEXT``.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from tlcore import runtime
from tlcore.text.awd_lstm import AWDLSTM, Dropouts
from tlcore.text.batches import Stream
from tlcore.text.corpus import read_folder, words
from tlcore.text.keep import Keeper
from tlcore.text.language_model import LanguageModel, half
from tlcore.text.reading import Reading, read
from tlcore.text.tokens import Tokens, mark, some_text

GLIMPSE = 20_000  # words of each held-out text that are looked at after every epoch


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what the pre-training of a language model gives; it is kept in the card.

    The sizes are those of a model small enough to ship and to train on a CPU; ULMFiT has 400, 1150 and 3.

    Parameters
    ----------
    lr
        Largest rate, of AdamW.
    dropout
        Factor on the five rates of `awd_lstm.Dropouts`.
    activation, temporal
        Weights of AR and TAR; Merity et al. take 2 and 1, which holds back a model that is small for its text.
    backward
        Read texts from their end to their beginning.
    arithmetic
        "auto" takes the faster here; "float32" and "bfloat16" fix it, for runs that are to be compared bit by bit.
    """

    vocabulary: int = 8000
    embedding: int = 200
    hidden: int = 512
    layers: int = 2
    epochs: int = 5
    batch_size: int = 32
    bptt: int = 70
    lr: float = 1e-2
    weight_decay: float = 0.01
    schedule: str = "stlr"
    dropout: float = 0.2
    clip: float = 0.5
    activation: float = 0.0
    temporal: float = 0.0
    backward: bool = False
    seed: int = 0
    arithmetic: str = "auto"


DEFAULT = Recipe()


def pretrain_lm(
    texts: Iterable[str],
    recipe: Recipe = DEFAULT,
    *,
    tokens: Tokens | None = None,
    checkpoint: str | Path | None = None,
    log: str | Path | None = None,
    minutes: float = 3.0,
    each_epoch: Callable[[int, LanguageModel], dict[str, Any]] = lambda number, lm: {},
    device: torch.device | str | None = None,
    progress: bool = True,
) -> LanguageModel:
    """Train a language model from scratch.

    >>> texts = ["a cat sat on a mat", "a dog sat on a log"] * 30
    >>> recipe = Recipe(vocabulary=60, embedding=16, hidden=32, epochs=9, batch_size=2, bptt=10, lr=0.03)
    >>> lm = pretrain_lm(texts, recipe, progress=False)
    >>> lm.perplexity(texts) < 5 < len(lm.tokens)
    True

    Parameters
    ----------
    texts
        Paragraphs or longer; those that follow each other may be of one book, the model's memory goes on.
    tokens
        A vocabulary; default one is learnt from the texts.
    checkpoint, minutes
        File that keeps the run every so many minutes; if it is there, the run goes on from it.
    log
        File that gets a line of JSON about every half minute.
    each_epoch
        Told the epoch and the model when it is over; what it returns is added to the log.

    Raises
    ------
    ValueError
        If there is no text, an option is out of range, the checkpoint is of another run, or the loss becomes no number.
    """
    texts = some_text(texts, "pretrain_lm")
    _check(recipe)
    where = runtime.device() if device is None else torch.device(device)
    about = {"text": mark("\0".join(texts)), "pieces": tokens.mark if tokens else "learnt from the text"}
    keeper = Keeper(checkpoint, asdict(recipe) | about, minutes=minutes) if checkpoint else None
    saved = keeper.read() if keeper else None
    if saved:
        tokens = Tokens.from_json(saved["tokens"])
    elif tokens is None:
        tokens = Tokens.train(texts, recipe.vocabulary)
    if keeper:
        keeper.more = {"tokens": tokens.to_json()}
    runtime.seed_everything(recipe.seed)
    net = AWDLSTM(len(tokens), recipe.embedding, recipe.hidden, recipe.layers, recipe.dropout * Dropouts())
    lm = LanguageModel(net.to(where), tokens, recipe.backward)
    stream = Stream(
        tokens.encode_all(texts, "pretrain_lm"), recipe.batch_size, recipe.bptt, backward=recipe.backward,
        seed=recipe.seed,
    )  # fmt: skip
    optimizer = torch.optim.AdamW(net.parameters(), recipe.lr, (0.8, 0.99), weight_decay=recipe.weight_decay)
    done = read(
        net, stream, optimizer, epochs=recipe.epochs, schedule=recipe.schedule, clip=recipe.clip,
        activation=recipe.activation, temporal=recipe.temporal, arithmetic=recipe.arithmetic, checkpoint=keeper,
        log=Path(log) if log else None, each_epoch=lambda number: each_epoch(number, lm), progress=progress,
    )  # fmt: skip
    lm.card = _card(recipe, lm, stream, done, words(texts))
    return lm


def pretrain_folder(
    root: str | Path,
    out: str | Path,
    recipe: Recipe = DEFAULT,
    *,
    name: str = "lm-text",
    files: Sequence[str] = (),
    held_out: Sequence[str] = (),
    minutes: float = 3.0,
    device: torch.device | str | None = None,
    command: str = "",
    progress: bool = True,
) -> dict[str, Any]:
    """Pre-train on a folder of text files; write weights (float16), vocabulary, card and log to the folder `out`.

    A run that was stopped goes on from its last checkpoint, at most `minutes` old, when it is started again alike.

    Parameters
    ----------
    files, held_out
        Which files to train and to test on, see `corpus.read_folder`.
    command
        For the card: what a reader would type.

    Returns
    -------
    dict
        The card; "perplexity" has those on each text held out, a token and a word.
    """
    corpus, out = read_folder(root, files=files, held_out=held_out), Path(out)
    glimpses = {name: _first_words(texts, GLIMPSE) for name, texts in corpus.held_out.items()}
    lm = pretrain_lm(
        corpus.train, recipe, checkpoint=out / f"{name}.checkpoint", log=out / f"{name}.log.jsonl", minutes=minutes,
        each_epoch=lambda number, lm: {"perplexity": {n: round(lm.perplexity(t), 2) for n, t in glimpses.items()}},
        device=device, progress=progress,
    )  # fmt: skip
    lm.net.load_state_dict(half(lm.net.state_dict()))  # what is measured is what is shipped
    found = {
        test: {per: round(lm.perplexity(texts, per=per), 2) for per in ("token", "word")}  # type: ignore[arg-type]
        for test, texts in corpus.held_out.items()
    }
    lm.card = {"name": name, "data": corpus.origin, "perplexity": found, "command": command} | lm.card
    lm.save(out, name)
    return lm.card


def _card(recipe: Recipe, lm: LanguageModel, stream: Stream, done: Reading, count: int) -> dict[str, Any]:
    return {
        "model": "AWD-LSTM",
        "recipe": asdict(recipe),
        "words": count,
        "tokens": stream.count + 1,
        "seconds": round(done.seconds),
        "last train loss": done.loss,
        "device": str(lm.device),
        "machine": platform.machine(),
        "arithmetic": done.arithmetic,
        "parameters": sum(p.numel() for p in lm.net.parameters()),
        "torch": torch.__version__,
    }


def _first_words(texts: Sequence[str], most: int) -> list[str]:
    found, count = [], 0
    for text in texts:
        if count >= most:
            break
        found.append(text)
        count += len(text.split())
    return found


def _check(recipe: Recipe) -> None:
    for name in ("epochs", "batch_size", "bptt", "embedding", "hidden", "layers"):
        if getattr(recipe, name) < 1:
            raise ValueError(f"Recipe({name}={getattr(recipe, name)}): from 1 on is accepted")
    if recipe.lr <= 0:
        raise ValueError(f"Recipe(lr={recipe.lr}): a rate above 0 is accepted")
