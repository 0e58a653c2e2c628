"""What comes out of `train_classifier`: texts in, classes out; and files to keep it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tlcore import runtime, weights
from tlcore.text.awd_lstm import AWDLSTM
from tlcore.text.batches import Bucketed, flipped
from tlcore.text.classifier import TextClassifier
from tlcore.text.tokens import MOST_UNKNOWN, Tokens, shortened
from tlcore.training import History


@dataclass
class Classifier:
    """Networks (one, or one for each direction of reading) and the tokens they know: texts in, classes out.

    >>> import tempfile
    >>> tokens = Tokens.train(["a cat sat on a mat"] * 9, size=60)
    >>> net = TextClassifier(AWDLSTM(len(tokens), embedding=8, hidden=16, layers=2), num_classes=2)
    >>> made = Classifier((net,), (tokens,), (False,), ("cat", "dog"), max_len=50)
    >>> folder = tempfile.mkdtemp()
    >>> made.save(folder)
    >>> Classifier.load(folder, device="cpu").predict_proba(["a cat", "a mat"]).shape
    torch.Size([2, 2])
    """

    nets: tuple[TextClassifier, ...]
    tokens: tuple[Tokens, ...]
    backward: tuple[bool, ...]
    classes: tuple[str, ...]
    max_len: int
    histories: tuple[History, ...] = field(default=(), repr=False)

    @torch.no_grad()
    def predict_proba(self, texts: Sequence[str], *, batch_size: int = 64) -> torch.Tensor:
        """Probabilities (N, C); of two directions the mean, as in the paper."""
        made = [
            self._probabilities(*each, texts, batch_size)
            for each in zip(self.nets, self.tokens, self.backward, strict=True)
        ]
        return torch.stack(made).mean(0)

    def predict(self, texts: Sequence[str], *, batch_size: int = 64) -> torch.Tensor:
        """Class numbers (N,)."""
        return self.predict_proba(texts, batch_size=batch_size).argmax(1)

    def score(self, texts: Sequence[str], labels: Sequence[int] | torch.Tensor) -> float:
        """Accuracy."""
        labels = class_numbers(texts, labels, "score")
        return float((self.predict(texts) == labels).double().mean())

    def save(self, folder: str | Path, name: str = "classifier") -> None:
        """Write NAME.safetensors, NAME.json (classes and sizes) and NAME.N.tokens.json (a vocabulary for each net)."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for number, tokens in enumerate(self.tokens):
            tokens.save(folder / f"{name}.{number}.tokens.json")
        nets = [
            {
                "sizes": net.body.sizes, "pooling": net.pooling, "bptt": net.bptt, "hidden": net.hidden,
                "backward": backward, "vocabulary": tokens.mark,
            }
            for net, backward, tokens in zip(self.nets, self.backward, self.tokens, strict=True)
        ]  # fmt: skip
        state = {f"{n}.{key}": tensor for n, net in enumerate(self.nets) for key, tensor in net.state_dict().items()}
        about = {"name": name, "classes": self.classes, "max_len": self.max_len, "nets": nets}
        weights.write(folder / f"{name}.safetensors", state, about)

    @staticmethod
    def load(folder: str | Path, name: str = "classifier", *, device: torch.device | str | None = None) -> Classifier:
        """Read what `save` wrote; it predicts as before.

        Raises
        ------
        ValueError
            If files are missing or do not fit together.
        """
        base, where = Path(folder), runtime.device() if device is None else torch.device(device)
        state = weights.read(base / f"{name}.safetensors")
        if not (base / f"{name}.json").is_file():
            raise ValueError(f"Classifier.load: {base} has no {name}.json; it belongs to the weights")
        try:
            about: dict[str, Any] = json.loads((base / f"{name}.json").read_text(encoding="utf-8"))
            classes, max_len = tuple(about["classes"]), int(about["max_len"])
            nets, tokens, backward = [], [], []
            for number, its in enumerate(about["nets"]):
                tokens.append(Tokens.load(base / f"{name}.{number}.tokens.json"))
                if tokens[-1].mark != its["vocabulary"]:
                    raise ValueError(f"{name}.{number}.tokens.json has other pieces than it was trained with")
                net = TextClassifier(
                    AWDLSTM(**its["sizes"]),
                    len(classes),
                    pooling=its["pooling"],
                    bptt=its["bptt"],
                    hidden=its["hidden"],
                )
                prefix = f"{number}."
                net.load_state_dict(
                    {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
                )
                nets.append(net.to(where).eval())
                backward.append(bool(its["backward"]))
        except (KeyError, TypeError, RuntimeError, ValueError) as error:
            told = str(error).splitlines()[0]
            raise ValueError(f"Classifier.load: the files of {name!r} do not fit together ({told})") from None
        return Classifier(tuple(nets), tuple(tokens), tuple(backward), classes, max_len)

    def _probabilities(
        self, net: TextClassifier, tokens: Tokens, backward: bool, texts: Sequence[str], batch_size: int
    ) -> torch.Tensor:
        numbers = encoded(texts, tokens, backward, self.max_len, "predict")
        device = net.body.bias.device
        made = torch.zeros(len(numbers), len(self.classes))
        net.eval()
        for x, rows in Bucketed(numbers, torch.arange(len(numbers)), batch_size, shuffle=False):
            made[rows] = net(x.to(device)).float().softmax(1).cpu()
        return made


def encoded(
    texts: Sequence[str], tokens: Tokens, backward: bool, max_len: int, what: str = "encoded"
) -> list[torch.Tensor]:
    """Numbers of each text, at most `max_len` of them, in the model's direction of reading."""
    numbers = shortened(tokens.encode_all(texts, what), max_len, what)
    odd = [n for n, one in enumerate(numbers) if len(one) == 1 or (one == tokens.unk).double().mean() > MOST_UNKNOWN]
    if odd:
        shown = ", ".join(map(str, odd[:6])) + (f" and {len(odd) - 6} more" if len(odd) > 6 else "")
        warnings.warn(
            f"{what}: the texts {shown} (counted from 0) are empty, or in a script that this vocabulary does not know; "
            "what is said of them means nothing",
            stacklevel=3,
        )
    return [flipped(one) for one in numbers] if backward else numbers


def class_numbers(texts: Sequence[str], labels: Sequence[int] | torch.Tensor, what: str) -> torch.Tensor:
    """Labels as a tensor (N,), checked against their texts."""
    try:
        y = torch.as_tensor(labels)
    except (TypeError, ValueError):
        raise ValueError(
            f"{what}: class numbers are expected as labels, such as [0, 1]; names go to classes="
        ) from None
    if y.ndim != 1 or y.is_floating_point() or len(y) != len(texts):
        raise ValueError(f"{what}: {len(texts)} texts, labels {tuple(y.shape)} of {y.dtype}; one class number each")
    return y.long()
