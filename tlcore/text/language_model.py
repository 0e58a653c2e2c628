"""A language model with its vocabulary: what it expects to come next, how surprised it is, and a file for both."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from tlcore import runtime, weights
from tlcore.text.awd_lstm import AWDLSTM, Dropouts
from tlcore.text.batches import Stream
from tlcore.text.corpus import words
from tlcore.text.softmax import IGNORED, linear_cross_entropy
from tlcore.text.tokens import Tokens, some_text


@dataclass
class LanguageModel:
    """A network and the tokens it knows.

    >>> import tempfile
    >>> tokens = Tokens.train(["a cat sat on a mat"] * 9, size=60)
    >>> lm = LanguageModel(AWDLSTM(len(tokens), embedding=8, hidden=16, layers=2), tokens)
    >>> round(lm.perplexity(["a cat"]) / len(tokens), 1)         # untrained: as many choices as there are tokens
    1.0
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
    def device(self) -> torch.device:
        """Where the network is."""
        return self.net.bias.device

    def perplexity(
        self, texts: Iterable[str], *, per: Literal["token", "word"] = "token", batch_size: int = 16, bptt: int = 140
    ) -> float:
        """How many tokens it hesitates between: the exponential of the mean loss; each text's end is predicted as well.

        Parameters
        ----------
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
        found.append(torch.tensor([self.tokens.bos], dtype=torch.int32))  # the end of the last text
        stream = Stream(found, batch_size, bptt, vary=False, backward=self.backward)
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
        about = {"name": name, **self.card, "sizes": self.net.sizes, "dropouts": asdict(self.net.dropouts)}
        weights.write(folder / f"{name}.safetensors", half(self.net.state_dict()), about | {"backward": self.backward})

    @staticmethod
    def load(folder: str | Path, name: str = "lm", *, device: torch.device | str | None = None) -> LanguageModel:
        """Read what `save` wrote; or, by its name alone, a language model that comes with the package.

        Raises
        ------
        ValueError
            If files are missing or do not fit together.
        """
        if str(folder) in weights.shipped():
            folder, name = weights.FOLDER, str(folder)
        base = Path(folder)
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
        net = AWDLSTM(**card["sizes"], dropouts=Dropouts(**card["dropouts"]))
        net.load_state_dict(state)
        net.to(runtime.device() if device is None else device).eval()
        return LanguageModel(net, tokens, card["backward"], card)


def half(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights as they are shipped, in 16 bits."""
    return {name: tensor.half() for name, tensor in state.items()}
