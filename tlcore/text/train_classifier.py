"""Stage 3 of ULMFiT: the language model becomes a classifier, thawed from its last layer to its first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn

from tlcore import runtime, training
from tlcore.runtime import nearest
from tlcore.text.awd_lstm import AWDLSTM, CLASSIFIER
from tlcore.text.batches import Bucketed, filled_up
from tlcore.text.classifier import Pooling, TextClassifier
from tlcore.text.fine_tune import FACTOR
from tlcore.text.fitted import Classifier, class_numbers, encoded
from tlcore.text.language_model import LanguageModel, same_language
from tlcore.text.reading import ARITHMETIC
from tlcore.text.tokens import some_text
from tlcore.training import Arithmetic, Epoch, History
from tlcore.training.precision import fastest
from tlcore.training.schedules import Schedule

Unfreeze = Literal["gradual", "full", "last", "chain-thaw"]


def train_classifier(
    lm: LanguageModel | Sequence[LanguageModel],
    texts: Sequence[str],
    labels: Sequence[int] | torch.Tensor,
    *,
    classes: Sequence[str] = (),
    val: tuple[Sequence[str], Sequence[int] | torch.Tensor] | None = None,
    pretrained: bool = True,
    unfreeze: Unfreeze = "gradual",
    epochs: int = 8,
    lr: float = 1e-2,
    factor: float = FACTOR,
    schedule: str | Callable[[int], Schedule] = "stlr",
    pooling: Pooling = "concat",
    bptt: int | None = 70,
    max_len: int = 400,
    dropout: float = 0.5,
    batch_size: int = 32,
    weight_decay: float = 0.01,
    clip: float | None = 1.0,
    patience: int | None = None,
    arithmetic: Arithmetic | str = "float32",
    device: torch.device | str | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Classifier:
    """Train a classifier from a language model.

    >>> from tlcore import text
    >>> recipe = text.ulmfit.Recipe(vocabulary=60, embedding=16, hidden=32, epochs=3, batch_size=2, bptt=10)
    >>> texts = ["a cat sat on a mat", "a dog lay on a log"] * 30
    >>> lm = text.ulmfit.pretrain_lm(texts, recipe, progress=False)
    >>> found = train_classifier(lm, texts, [0, 1] * 30, epochs=5, batch_size=4, dropout=0, progress=False)
    >>> found.predict(["a cat lay on a mat", "a dog sat on a log"])
    tensor([0, 1])

    Every rung of the paper's ablation is an option: `pretrained`, `unfreeze`, `factor`, `schedule`, `pooling`, `bptt`,
    two directions, and, before this, `fine_tune_lm`.

    Parameters
    ----------
    lm
        A language model; or two, one of which reads backward: then a classifier is made of each, and their
        probabilities are averaged.
    texts, labels
        Of the target; class numbers from 0 on.
    classes
        Names; default the numbers.
    val
        Texts and labels to validate on after each epoch.
    pretrained
        False starts from random weights of the same sizes: "from scratch".
    unfreeze
        "gradual": the head for one epoch, then one layer more in each epoch, then all; "full": all at once; "last": the
        head only; "chain-thaw": head, then each layer alone for one epoch from the first on, then all (Felbo et al.
        2017).
    epochs
        In all; of gradual unfreezing and chain-thaw those after the last layer was freed are what is left.
    lr
        Largest rate of the head, of Adam (0.7, 0.99).
    factor
        Discriminative rates: each layer's rate is that of the layer above divided by it; 1 trains all alike.
    schedule
        Of each phase: stlr, cosine, constant, ….
    pooling, bptt
        See `TextClassifier`.
    max_len
        Of longer texts the first so many tokens are read.
    dropout
        Factor on the five rates of the body.
    patience
        In the last phase, stop after so many epochs without a lower validation loss (of `val`) and take the best.
    arithmetic
        "float32", "bfloat16", or "auto": one step is timed in each. ``histories[0].settings`` tells which it was.

    Raises
    ------
    ValueError
        For one class only, labels that do not fit, no text, text in a script that the vocabulary does not know, too few
        epochs for the plan, an option out of range, or a loss that is no number.

    Warns
    -----
    UserWarning
        Where single texts are empty, longer than `max_len`, or in another script or language than the vocabulary's.
    """
    lms = (lm,) if isinstance(lm, LanguageModel) else tuple(lm)
    texts = some_text(texts, "train_classifier")
    y, names = _labels(texts, labels, classes)
    if unfreeze not in get_args(Unfreeze):
        raise ValueError(f"train_classifier(unfreeze={unfreeze!r}): {nearest(unfreeze, get_args(Unfreeze))}")
    if lr <= 0 or factor <= 0 or max_len < 2:
        raise ValueError(f"train_classifier(lr={lr}, factor={factor}, max_len={max_len}): numbers above 0, 0 and 1")
    if batch_size < 2:
        raise ValueError(f"train_classifier(batch_size={batch_size}): from 2 on is accepted, as batches are normalised")
    if patience is not None and (val is None or patience < 1):
        raise ValueError(f"train_classifier(patience={patience}): from 1 on, and only with val=…, is accepted")
    if not lms:
        raise ValueError("train_classifier(lm=[]): one language model is needed, or two that read in both directions")
    where = runtime.device() if device is None else torch.device(device)
    nets, histories = [], []
    for one in lms:
        runtime.seed_everything(seed)
        net = TextClassifier(
            one.net if pretrained else AWDLSTM(**one.net.sizes, dropouts=one.net.dropouts),
            len(names), pooling=pooling, bptt=bptt, dropouts=dropout * CLASSIFIER,
        )  # fmt: skip
        net.to(where)
        train = _batches(texts, y, one, max_len, batch_size, seed)
        check = None
        if val is not None:
            val_texts = some_text(val[0], "train_classifier(val=…)")
            val_y = class_numbers(val_texts, val[1], "train_classifier(val=…)")
            if not 0 <= int(val_y.min()) <= int(val_y.max()) < len(names):
                raise ValueError(f"train_classifier(val=…): class numbers from 0 to {len(names) - 1} are accepted")
            check = _batches(val_texts, val_y, one, max_len, 64, seed, shuffle=False)
        ways = _ways(arithmetic, where)
        chosen = fastest(net, filled_up(train.texts[:batch_size]).to(where), ways)
        history = History(settings={"arithmetic": chosen, "device": str(where), "seed": seed, "batch_size": batch_size})
        groups = net.groups()
        rates = training.parameter_groups(net, lr, factor=factor, weight_decay=weight_decay, groups=groups)
        largest = [group["lr"] for group in rates]  # the optimizer keeps these very groups, and a schedule lowers them
        optimizer = torch.optim.AdamW(rates, lr, (0.7, 0.99), fused=True)  # one pass over the weights, not ten
        for phase in plan(unfreeze, len(groups), epochs):
            _thaw(groups, phase.free)
            done = len(history.epochs)

            def note(epoch: Epoch, history: History = history, done: int = done) -> None:
                history.epochs.append(epoch._replace(epoch=done + epoch.epoch))

            for group, rate in zip(optimizer.param_groups, largest, strict=True):
                group["lr"] = group["initial_lr"] = rate
            training.fit(
                net, train, check, epochs=phase.epochs, optimizer=optimizer, schedule=schedule, clip=clip,
                patience=patience if phase.last and check is not None else None, arithmetic=chosen, device=where,
                seed=seed + done, progress=progress, each_epoch=note,
            )  # fmt: skip
        net.eval()
        nets.append(net)
        histories.append(history)
    return Classifier(
        tuple(nets), tuple(one.tokens for one in lms), tuple(one.backward for one in lms), names, max_len,
        tuple(histories),
    )  # fmt: skip


@dataclass(frozen=True)
class Thaw:
    """Some epochs in which these groups are trained."""

    free: tuple[int, ...]
    epochs: int
    last: bool = False


def plan(unfreeze: Unfreeze, groups: int, epochs: int) -> Iterator[Thaw]:
    """Which groups are trained in which phase; groups are counted from the input.

    >>> [(phase.free, phase.epochs) for phase in plan("gradual", 3, 5)]
    [((2,), 1), ((1, 2), 1), ((0, 1, 2), 3)]
    >>> [(phase.free, phase.epochs) for phase in plan("chain-thaw", 3, 5)]
    [((2,), 1), ((0,), 1), ((1,), 1), ((0, 1, 2), 2)]
    """
    everything = tuple(range(groups))
    before: list[tuple[int, ...]] = []
    if unfreeze == "gradual":
        before = [everything[n:] for n in range(groups - 1, 0, -1)]
    elif unfreeze == "chain-thaw":
        before = [(groups - 1,), *((n,) for n in range(groups - 1))]
    if epochs <= len(before):
        raise ValueError(
            f"train_classifier(epochs={epochs}): {unfreeze} takes {len(before)} epochs for the {groups} groups of this "
            f"network, and one at least for all of them; from {len(before) + 1} on is accepted"
        )
    for free in before:
        yield Thaw(free, 1)
    yield Thaw(everything[-1:] if unfreeze == "last" else everything, epochs - len(before), last=True)


def _thaw(groups: list[list[nn.Module]], free: tuple[int, ...]) -> None:
    for n, group in enumerate(groups):
        for module in group:
            for parameter in module.parameters():
                parameter.requires_grad_(n in free)
                parameter.grad = None


def _batches(
    texts: Sequence[str], y: torch.Tensor, lm: LanguageModel, max_len: int, size: int, seed: int, shuffle: bool = True
) -> Bucketed:
    numbers = encoded(texts, lm.tokens, lm.backward, max_len, "train_classifier")
    if not any(len(one) == max_len for one in numbers):  # else they are not whole
        same_language(lm, texts, numbers, "train_classifier")
    return Bucketed(numbers, y, size, shuffle=shuffle, seed=seed)


def _ways(arithmetic: Arithmetic | str, where: torch.device) -> tuple[Arithmetic, ...]:
    """What is tried. On CUDA automatic mixed precision computes LSTMs in float16 whatever it is told: not by itself."""
    if isinstance(arithmetic, Arithmetic):
        return (arithmetic,)
    if arithmetic not in ARITHMETIC:
        raise ValueError(f"train_classifier(arithmetic={arithmetic!r}): {nearest(arithmetic, ARITHMETIC)}")
    if arithmetic == "auto" and where.type != "cuda":
        return (Arithmetic(), Arithmetic(bf16=True))
    return (Arithmetic(bf16=arithmetic == "bfloat16"),)


def _labels(
    texts: Sequence[str], labels: Sequence[int] | torch.Tensor, classes: Sequence[str]
) -> tuple[torch.Tensor, tuple[str, ...]]:
    y = class_numbers(texts, labels, "train_classifier")
    seen = sorted(set(y.tolist()))
    if len(seen) < 2:
        raise ValueError(f"train_classifier: all texts are of class {seen[0]}; a classifier needs two at least")
    count = max(len(classes), seen[-1] + 1)
    missing = sorted(set(range(count)) - set(seen))
    if seen[0] < 0 or missing or (classes and len(classes) != count):
        raise ValueError(
            f"train_classifier: class numbers from 0 to {count - 1} are expected, each with a text"
            + (f"; there is none of {', '.join(map(str, missing))}" if missing else f"; got {seen}")
        )
    return y, tuple(classes) or tuple(map(str, range(count)))
