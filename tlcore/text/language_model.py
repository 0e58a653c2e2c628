"""A language model with its vocabulary: what it expects to come next, how surprised it is, and a file for both."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from tlcore import runtime, weights
from tlcore.runtime import nearest
from tlcore.text.awd_lstm import AWDLSTM, Dropouts
from tlcore.text.batches import Stream
from tlcore.text.corpus import words
from tlcore.text.softmax import IGNORED, linear_cross_entropy
from tlcore.text.tokens import Tokens, some_text

OTHER_LANGUAGE = 1.6  # so many times the tokens a word
COLUMN = 2048  # tokens that are at least read in one go where texts are read side by side


@dataclass
class LanguageModel:
    """A network and the tokens it knows.

    >>> import tempfile
    >>> tokens = Tokens.train(["a cat sat on a mat"] * 9, size=60)
    >>> lm = LanguageModel(AWDLSTM(len(tokens), embedding=8, hidden=16, layers=2), tokens)
    >>> round(lm.perplexity(["a cat"]) / len(tokens))            # untrained: about as many choices as there are tokens
    1
    >>> folder = tempfile.mkdtemp()
    >>> lm.save(folder)
    >>> LanguageModel.load(folder).tokens == tokens
    True

    Parameters
    ----------
    backward
        It reads texts from their end to their beginning.
    card
        What is known about it: data, recipe, seed, perplexities.
    """

    net: AWDLSTM
    tokens: Tokens
    backward: bool = False
    card: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.net.sizes["vocabulary"] != len(self.tokens):
            raise ValueError(
                f"LanguageModel: the vocabulary has {len(self.tokens)} pieces, the weights are for "
                f"{self.net.sizes['vocabulary']}; take the vocabulary that was saved with these weights"
            )

    @property
    def tokens_a_word(self) -> float | None:
        """Of the texts that it was pre-trained on, or fine-tuned on with other pieces; None where no card says it."""
        card = self.card
        while not {"tokens", "pieces"} & card.keys() and "from" in card:  # other pieces are other tokens
            card = card["from"]
        return card["tokens"] / card["words"] if {"tokens", "words"} <= card.keys() else None

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.net.bias.device

    def perplexity(
        self, texts: Iterable[str], *, per: Literal["token", "word"] = "token", batch_size: int = 16, bptt: int = 140
    ) -> float:
        """How many tokens it hesitates between: the exponential of the mean loss; each text's end is predicted as well.

        Texts are read one after the other, and the model's memory goes on from text to text.

        Parameters
        ----------
        batch_size
            So many places are read side by side where the texts are long enough (each of them begins without memory).
        per
            "token": of this vocabulary, as the training loss; "word": the same loss shared among the words between
            blanks (and one end a text), which can be compared between vocabularies.

        Raises
        ------
        ValueError
            For no text, or text in a script that the vocabulary does not know.
        """
        if per not in ("token", "word"):
            raise ValueError(f"perplexity(per={per!r}): accepted are 'token' and 'word'")
        texts = some_text(texts, "perplexity")
        total, count = self.surprise(texts, batch_size=batch_size, bptt=bptt)
        return math.exp(total / (count if per == "token" else words(texts) + len(texts)))

    @torch.no_grad()
    def surprise(self, texts: Iterable[str], *, batch_size: int = 16, bptt: int = 140) -> tuple[float, int]:
        """The sum of the losses (in nats) over all tokens, and how many these are."""
        found = self.tokens.encode_all(texts, "perplexity")
        end = torch.tensor([self.tokens.bos], dtype=torch.int32)  # the end of the text that is read last
        found = [end, *found] if self.backward else [*found, end]
        columns = max(1, min(batch_size, sum(map(len, found)) // COLUMN))
        stream = Stream(found, columns, bptt, vary=False, backward=self.backward)
        was, state, total = self.net.training, None, 0.0
        self.net.eval()
        for chunk in stream.epoch(1, device=self.device):
            encoded = self.net.encode(chunk.x, state)
            state = encoded.state
            here = chunk.y.flatten()
            loss = linear_cross_entropy(encoded.out.flatten(0, 1), self.net.embedding.weight, self.net.bias, here)
            total += float(loss) * int((here != IGNORED).sum())
        self.net.train(was)
        return total, stream.count

    @torch.no_grad()
    def generate(self, prompt: str = "", *, length: int = 50, temperature: float = 0.8, seed: int = 0) -> str:
        """Go on with a text, `length` tokens long or until it ends.

        Parameters
        ----------
        temperature
            Towards 0 the likeliest token is taken more often; 1 draws as the model believes.
        """
        if length < 1 or temperature <= 0:
            raise ValueError(f"generate(length={length}, temperature={temperature}): from 1 on, and above 0")
        if self.backward:
            raise ValueError("generate: this model reads backward, from a text's end to its beginning")
        numbers, draws, was = self.tokens.encode(prompt), torch.Generator().manual_seed(seed), self.net.training
        self.net.eval()
        given, state = numbers, None
        for _ in range(length):
            encoded = self.net.encode(torch.tensor(given, device=self.device)[:, None], state)
            state = encoded.state
            scores = self.net.logits(encoded.out[-1, 0]).float().cpu() / temperature
            scores[[self.tokens.pad, self.tokens.unk]] = -math.inf
            given = [int(torch.multinomial(scores.softmax(0), 1, generator=draws))]
            if given[0] == self.tokens.bos:
                break
            numbers += given
        self.net.train(was)
        return self.tokens.decode(numbers)

    def save(self, folder: str | Path, name: str = "lm") -> None:
        """Write NAME.safetensors (float16), NAME.json (the card) and NAME.tokens.json (the vocabulary) to a folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.tokens.save(folder / f"{name}.tokens.json")
        about = {
            "name": name, "sizes": self.net.sizes, "dropouts": asdict(self.net.dropouts), "backward": self.backward,
            "vocabulary": self.tokens.mark,
        }  # fmt: skip
        weights.write(folder / f"{name}.safetensors", half(self.net.state_dict()), self.card | about)

    @staticmethod
    def load(folder: str | Path, name: str = "lm", *, device: torch.device | str | None = None) -> LanguageModel:
        """Read what `save` wrote; or, by its name alone, a language model that comes with the package.

        Raises
        ------
        ValueError
            If files are missing or do not fit together.
        """
        shipped = [known for known in weights.shipped() if (weights.FOLDER / f"{known}.tokens.json").is_file()]
        if str(folder) in shipped:
            folder, name = weights.FOLDER, str(folder)
        base = Path(folder)
        if not base.is_dir():
            raise ValueError(
                f"LanguageModel.load({str(folder)!r}): there is no such folder, and no language model of this name "
                f"comes with the package; {nearest(str(folder), shipped)}"
            )
        state = weights.read(base / f"{name}.safetensors")
        missing = [n for n in (f"{name}.json", f"{name}.tokens.json") if not (base / n).is_file()]
        if missing:
            raise ValueError(
                f"LanguageModel.load: {base} has no {' and no '.join(missing)}; they belong to the weights"
            )
        card: dict[str, Any] = json.loads((base / f"{name}.json").read_text(encoding="utf-8"))
        tokens = Tokens.load(base / f"{name}.tokens.json")
        there = state["embedding.weight"].shape[0] if "embedding.weight" in state else 0
        if there != len(tokens):
            raise ValueError(
                f"LanguageModel.load: {name}.tokens.json has {len(tokens)} pieces, {name}.safetensors weights for "
                f"{there}; take the vocabulary that was saved with these weights"
            )
        if card.get("vocabulary") not in (None, tokens.mark):
            raise ValueError(
                f"LanguageModel.load: {name}.tokens.json has other pieces than {name}.safetensors was trained with; "
                "take the vocabulary that was saved with these weights"
            )
        try:
            net = AWDLSTM(**card["sizes"], dropouts=Dropouts(**card["dropouts"]))
            net.load_state_dict(state)
            backward = bool(card["backward"])
        except (KeyError, TypeError, RuntimeError) as error:
            told = str(error).splitlines()[0]
            raise ValueError(
                f"LanguageModel.load: {name}.json is not the card of {name}.safetensors ({told})"
            ) from None
        net.to(runtime.device() if device is None else device).eval()
        return LanguageModel(net, tokens, backward, card)


def same_language(lm: LanguageModel, texts: Sequence[str], numbers: Sequence[torch.Tensor], what: str) -> None:
    """Warn where words fall into many more pieces than those of the texts that the model has read."""
    marks = torch.tensor([lm.tokens.bos, lm.tokens.cap, lm.tokens.up])  # many where texts are short, in any language
    pieces = sum(int((~torch.isin(one, marks)).sum()) for one in numbers)
    own, here = lm.tokens_a_word, pieces / max(1, words(texts))
    if own and here > OTHER_LANGUAGE * own:
        warnings.warn(
            f"{what}: these texts take {here:.1f} tokens a word, those that the language model has read {own:.1f}; "
            f"they may be in another language ({texts[0][:30]!r}); pre-train a language model on it",
            stacklevel=3,
        )


def half(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights as they are shipped, in 16 bits."""
    return {name: tensor.half() for name, tensor in state.items()}
