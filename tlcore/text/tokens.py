"""From text to numbers and back: words are cut into pieces, so that a small vocabulary covers all of a language.

A thin layer over the library ``tokenizers``; what it learns is one JSON file.

1. The text is tidied (`tidy`): accents join their letters, typographic quotes and dashes become plain ones, HTML line
   breaks blanks, WikiText's " @-@ " a hyphen again; so corpora that were prepared differently look alike.
2. Capitals are marked (`mark_capitals`): "The HOUSE" becomes ``<cap> the <up> house``, so that a word has one embedding
   wherever it stands in a sentence.
3. Words, numbers, endings such as 's, and runs of one sign are cut apart, then into pieces by byte-pair encoding
   (Sennrich et al. 2016): frequent words are whole, rare ones are spelled: ``over ##ly ##ing``.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

PAD, UNK, BOS, CAP, UP = "<pad>", "<unk>", "<bos>", "<cap>", "<up>"
SPECIAL = (PAD, UNK, BOS, CAP, UP)
MOST_UNKNOWN = 0.3

_PLAIN = str.maketrans({
    "‘": "'", "’": "'", "‚": "'", "‛": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"',
    "–": "-", "—": "--", "―": "--", "…": "...", "\u00ad": None, "\u200b": None, "\ufeff": None,
})  # fmt: skip
_MARKS = re.compile("<(pad|bos|cap|up)>")
_MARKUP = re.compile(r"<br\s*/?>|\s@([-,.])@\s", re.IGNORECASE)
_CAPITAL = re.compile(r"(?<![^\W_])[^\W\d_a-z][^\W\d_]*")  # a word that does not start with a to z
_WORDS = r"'(?:s|t|re|ve|d|ll|m)(?!\p{L})|[\p{L}\p{M}]+|\p{N}+|([^\s\p{L}\p{M}\p{N}])\1*"
_NUMBER = re.compile(r"\d\.\d+$|(?<!\d)\d{1,3}(,\d{3})+$")  # 2.5 or 12,000 whose last part comes now
_BATCH = 4096  # texts handed to the library at once


def tidy(text: str) -> str:
    """Write alike what different corpora write differently.

    >>> tidy("“Well—known”<br />the 17 @-@ match run, 3 @,@ 000 &amp; more")
    '"Well--known" the 17-match run, 3,000 & more'
    """
    text = unicodedata.normalize("NFC", html.unescape(text) if "&" in text else text)
    return _MARKUP.sub(lambda found: found[1] or " ", text.translate(_PLAIN))


def mark_capitals(text: str) -> str:
    """Lower case, with a mark before each word that had a capital (``<cap>``) or only capitals (``<up>``).

    >>> mark_capitals("The HOUSE of I McDonald")
    ' <cap> the  <up> house of  <cap> i  <cap> mcdonald'
    """

    def mark(found: re.Match[str]) -> str:
        word = found[0]
        if not word[0].isupper():
            return word
        return f" {UP if len(word) > 1 and word.isupper() else CAP} {word}"

    parts = _CAPITAL.sub(mark, text).split(UNK)  # <unk> stands as it is
    return UNK.join(part.lower() for part in parts)


class Tokens:
    """A vocabulary of pieces: text to numbers (`encode`), numbers to text (`decode`).

    >>> tokens = Tokens.train(["The cat sat on the mat.", "A cat and a hat!"] * 20, size=60)
    >>> numbers = tokens.encode("The cat")
    >>> tokens.pieces(numbers)
    ['<bos>', '<cap>', 'the', 'cat']
    >>> tokens.decode(numbers), len(tokens)
    ('The cat', 39)

    Every text begins with ``<bos>``. Letters too rare in training become ``<unk>``. ``<pad>`` has the number 0.
    `decode` gives back the tidied text but for blanks beside signs and capitals within words.
    """

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        numbers = {name: inner.token_to_id(name) for name in SPECIAL}
        if missing := [name for name, number in numbers.items() if number is None]:
            raise ValueError(f"Tokens: this vocabulary lacks {', '.join(missing)}; make one with Tokens.train")
        self.pad, self.unk, self.bos, self.cap, self.up = (number or 0 for number in numbers.values())

    def __len__(self) -> int:
        return int(self.inner.get_vocab_size())

    @staticmethod
    def train(texts: Iterable[str], size: int = 8000, *, alphabet: int = 200) -> Tokens:
        """Learn `size` pieces from texts.

        Parameters
        ----------
        alphabet
            The most frequent characters so many are spelled; rarer ones are unknown.

        Raises
        ------
        ValueError
            If there is no text, or `size` is too small.
        """
        from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

        if size < len(SPECIAL) + 2:
            raise ValueError(f"Tokens.train(size={size}): from {len(SPECIAL) + 2} on is accepted, 8000 is usual")
        prepared = [_without_marks(_prepared(text)) for text in some_text(texts, "Tokens.train")]
        letters = _alphabet(prepared, alphabet)
        inner = Tokenizer(models.BPE(unk_token=UNK, fuse_unk=True, continuing_subword_prefix="##"))
        inner.pre_tokenizer = pre_tokenizers.Split(Regex(_WORDS), "removed", invert=True)
        trainer = trainers.BpeTrainer(
            vocab_size=size, special_tokens=[*SPECIAL, *(f"##{letter}" for letter in letters)],
            initial_alphabet=letters, limit_alphabet=len(letters), min_frequency=2, continuing_subword_prefix="##",
            show_progress=False,
        )  # fmt: skip
        inner.train_from_iterator(prepared, trainer)
        # The library numbers ##-letters as it meets them, in no fixed order; named as special they get fixed numbers,
        # and the same text the same vocabulary. Special they are no longer afterwards.
        found = json.loads(inner.to_str())
        found["added_tokens"] = [token for token in found["added_tokens"] if token["content"] in SPECIAL]
        return Tokens.from_json(json.dumps(found))

    def encode(self, text: str) -> list[int]:
        """Numbers of one text, ``<bos>`` first."""
        return [self.bos, *self.inner.encode(_prepared(text)).ids]

    def encode_all(self, texts: Iterable[str], what: str = "encode_all") -> list[torch.Tensor]:
        """Numbers of many texts, one int32 tensor each; all cores work.

        Raises
        ------
        ValueError
            If there is no text, or if more than three tenths of it is unknown to this vocabulary: another script.
        """
        texts, found = some_text(texts, what), []
        unknown, count = 0, 0
        for start in range(0, len(texts), _BATCH):
            prepared = [_prepared(text) for text in texts[start : start + _BATCH]]
            for done in self.inner.encode_batch_fast(prepared):
                found.append(torch.tensor([self.bos, *done.ids], dtype=torch.int32))
                unknown += done.ids.count(self.unk)
                count += len(done.ids)
        if unknown > MOST_UNKNOWN * count:
            raise ValueError(
                f"{what}: {unknown / count:.0%} of the tokens are unknown to this vocabulary of {len(self)} pieces; "
                f"the text seems to be in another script ({texts[0][:30]!r}); pre-train a language model on its kind"
            )
        return found

    def decode(self, numbers: Sequence[int] | torch.Tensor) -> str:
        """Text of numbers; texts that follow each other come on lines of their own."""
        words: list[str] = []
        rise = ""
        for piece in self.pieces(numbers):
            if piece in (CAP, UP):
                rise = piece
            elif piece == BOS:
                words.append("\n")
            elif piece == PAD:
                continue
            elif piece.startswith("##") and len(piece) > 2 and words and words[-1] != "\n":
                spelled = piece[2:].upper() if words[-1].isupper() and len(words[-1]) > 1 else piece[2:]
                words[-1] += spelled
            else:
                words.append(piece.upper() if rise == UP else piece.capitalize() if rise == CAP else piece)
                rise = ""
        return _joined(words)

    def pieces(self, numbers: Sequence[int] | torch.Tensor) -> list[str]:
        """What stands behind each number; ``##`` marks a piece that goes on with a word."""
        numbers = numbers.tolist() if isinstance(numbers, torch.Tensor) else numbers
        return [self.inner.id_to_token(number) for number in numbers]

    @property
    def mark(self) -> str:
        """By which this vocabulary is known again in files that belong to it."""
        return mark(self.to_json())

    def to_json(self) -> str:
        """All of it, as JSON on few lines."""
        return json.dumps(json.loads(self.inner.to_str()), ensure_ascii=False, separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> Tokens:
        """The opposite of `to_json`.

        Raises
        ------
        ValueError
            If the text describes no vocabulary.
        """
        from tokenizers import Tokenizer

        try:
            return Tokens(Tokenizer.from_str(text))
        except ValueError:
            raise
        except Exception as error:  # the library raises plain exceptions
            raise ValueError(f"Tokens.from_json: this is no vocabulary of the library tokenizers ({error})") from None

    def save(self, path: str | Path) -> None:
        """Write the JSON file."""
        Path(path).write_text(self.to_json() + "\n", encoding="utf-8")

    @staticmethod
    def load(path: str | Path) -> Tokens:
        """Read the JSON file."""
        if not Path(path).is_file():
            raise ValueError(f"Tokens.load: there is no file {path}")
        return Tokens.from_json(Path(path).read_text(encoding="utf-8"))

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Tokens) and self.to_json() == other.to_json()

    __hash__ = None  # type: ignore[assignment]


def mark(text: str) -> str:
    """By which a text is known again: sixteen digits.

    >>> mark("a cat")
    '51e4674156077982'
    """
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def shortened(numbers: Sequence[torch.Tensor], max_len: int, what: str) -> list[torch.Tensor]:
    """The first `max_len` tokens of each text; a warning says how many were longer."""
    if long := sum(len(one) > max_len for one in numbers):
        warnings.warn(
            f"{what}: {long} of {len(numbers)} texts are longer than max_len={max_len} tokens, the rest is not read; "
            "a larger max_len reads more",
            stacklevel=3,
        )
    return [one[:max_len] for one in numbers]


def some_text(texts: Iterable[str], what: str) -> list[str]:
    """A list of texts, checked.

    Raises
    ------
    TypeError, ValueError
        If it is one string, holds anything else than strings, or nothing but blanks.
    """
    if isinstance(texts, str):
        raise TypeError(f"{what}: a list of texts is accepted, this is one string; write [text]")
    found = list(texts)
    for number, text in enumerate(found):
        if not isinstance(text, str):
            raise TypeError(f"{what}: text {number} is a {type(text).__name__}; strings are accepted")
    if not any(text.strip() for text in found):
        raise ValueError(f"{what}: {f'all {len(found)} texts are empty' if found else 'there are no texts'}; give some")
    return found


def _prepared(text: str) -> str:
    """A mark that a text itself contains is three signs; only ``<unk>`` stands as it is."""
    return mark_capitals(_MARKS.sub(r"< \1 >", tidy(text)))


def _alphabet(texts: Sequence[str], most: int) -> list[str]:
    """The most frequent characters; of equally frequent ones those that come first in Unicode."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    ranked = sorted((-count, letter) for letter, count in counts.items() if not letter.isspace())
    return sorted(letter for _, letter in ranked[:most])


def _without_marks(text: str) -> str:
    """The marks are no words to be cut into pieces."""
    for mark in (CAP, UP, UNK):
        text = text.replace(mark, " ")
    return text


def _joined(words: Sequence[str]) -> str:
    """Blanks between words, none before closing signs or after opening ones; quotes open and close by turns."""
    text, opened = "", dict.fromkeys(("'", '"'), False)
    glued = True
    for word in words:
        if word == "\n":
            text, glued, opened = text + "\n" if text else "", True, dict.fromkeys(opened, False)
            continue
        closing = opened.get(word, False)
        if not (
            glued
            or closing
            or _NUMBER.search(text + word)
            or re.match(r"[.,;:!?)\]}%]|'(?:s|t|re|ve|d|ll|m)$|-", word, re.IGNORECASE)
        ):
            text += " "
        text += word
        if word in opened:
            opened[word] = not closing
        glued = bool(re.fullmatch(r"[(\[{$#-]+", word)) or (word in opened and not closing)
    return text
