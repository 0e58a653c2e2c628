"""A world of short texts in which everything is known: language, topic, register, opinion, and each word's counterpart.

Texts are written by a small grammar, so that they read as sentences; whatever a lesson asks of them (which topic, what
opinion, which word means the same in the other language) has one true answer, and how the domains differ is a knob.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import accumulate
from random import Random
from typing import Any

import torch

from tlcore.runtime import nearest
from tlcore.worlds import lexicon, tongues
from tlcore.worlds.dataset import Dataset
from tlcore.worlds.writer import Writer

LANGUAGES = ("english", "invented")
LABELS = ("topic", "sentiment", "register")
SENTIMENTS = ("negative", "positive")
PAIRS = {"plural": ("noun", 0, 1), "third": ("verb", 0, 1), "past": ("verb", 0, 2), "ing": ("verb", 0, 4)}
_CAPITALS = {word: word.capitalize() for word in ("i", "i'm", "i've", "i'll", "monday", "sundays", "friday")}


@dataclass(frozen=True)
class Language:
    """Texts of a few sentences, in simple English or in an invented language that says the same.

    >>> world = Language(topics=("sea", "music"), registers=("plain",), sentences=1)
    >>> data = world.sample(3, seed=4)
    >>> data.classes, data.targets.tolist()
    (('sea', 'music'), [1, 0, 0])
    >>> data.inputs[0]
    'We do not like those orchestras.'
    >>> there = world.but(language="invented")
    >>> text = there.sample(3, seed=4).inputs[0]
    >>> text
    'Brik rir diskomoni kretunar ka krit.'
    >>> there.gloss(text)
    'We those orchestras like not do.'

    The invented language has another word for each English one (`dictionary`), verbs at the end of the clause,
    adjectives after the noun and prepositions after theirs. The same seed gives the same texts in either.

    Parameters
    ----------
    label
        The factor that is the target: topic, sentiment or register.
    language
        "english" or "invented".
    topics, registers, sentiments
        What may occur, each equally often.
    weights
        Shares of the label's classes, in place of equal ones: the prior P(Y).
    sentences
        How many sentences a text has, or the least and the most.
    dialect
        Share of the words with a regional form that are said in it, from 0 to 1; about two words in five have one. The
        same seed gives the same texts apart from those words, and what is regional at a low share is at a higher one.
    opinions
        Share of sentences that judge something; in every text at least one does, and what it judges is of the topic.
    negation
        Share of judgements made by "not" and a word of the other sentiment: at 0.5 single words tell nothing.
    asides
        Share of the sentences without a judgement that are about everyday matters and not about the topic.
    """

    label: str = "topic"
    language: str = "english"
    topics: tuple[str, ...] = tuple(lexicon.TOPICS)
    registers: tuple[str, ...] = lexicon.REGISTERS
    sentiments: tuple[str, ...] = SENTIMENTS
    weights: tuple[float, ...] | None = None
    sentences: tuple[int, int] | int = (2, 5)
    dialect: float = 0.0
    opinions: float = 0.3
    negation: float = 0.2
    asides: float = 0.2

    def __post_init__(self) -> None:
        for field, known in (
            ("topics", lexicon.TOPICS), ("registers", lexicon.REGISTERS), ("sentiments", SENTIMENTS)
        ):  # fmt: skip
            chosen = getattr(self, field)
            if isinstance(chosen, str):
                raise TypeError(f"Language({field}={chosen!r}): a tuple of names is accepted; nearest: ({chosen!r},)")
            if not chosen:
                raise ValueError(f"Language({field}=()): at least one is needed")
            for name in chosen:
                if name not in known:
                    raise ValueError(f"Language({field}=…): {name!r} is unknown; {nearest(str(name), known)}")
            if len(set(chosen)) < len(chosen):
                raise ValueError(f"Language({field}={chosen!r}): each name once is accepted")
        if self.label not in LABELS:
            raise ValueError(f"Language(label={self.label!r}): {nearest(str(self.label), LABELS)}")
        if self.language not in LANGUAGES:
            raise ValueError(f"Language(language={self.language!r}): {nearest(str(self.language), LANGUAGES)}")
        for field in ("dialect", "opinions", "negation", "asides"):
            share = getattr(self, field)
            if not isinstance(share, int | float) or not 0 <= share <= 1:
                near = 1 if isinstance(share, int | float) and share > 1 else 0
                raise ValueError(f"Language({field}={share!r}): a share from 0 to 1 is accepted; nearest: {near}")
        if self.weights is not None and not (
            len(self.weights) == len(self.classes) and min(self.weights) >= 0 and 0 < sum(self.weights) < float("inf")
        ):
            raise ValueError(
                f"Language(weights={self.weights}): one share from 0 on for each of {len(self.classes)} classes, "
                f"not all 0, is accepted; the classes are {', '.join(self.classes)}"
            )
        self._length()

    def but(self, **changes: Any) -> Language:
        """The same world with some knobs turned.

        >>> Language().but(dialect=0.5).dialect
        0.5
        """
        return replace(self, **changes)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the label's classes."""
        names: tuple[str, ...] = getattr(self, f"{self.label}s")
        return names

    def sample(self, count: int, *, seed: int = 0, device: torch.device | str = "cpu") -> Dataset:
        """Write `count` texts; the same seed gives the same texts, and a larger count gives the same ones first.

        Factors (N,): topic, sentiment, register (numbers of names) and sentences (how many), on `device`.
        """
        if count < 1:
            raise ValueError(f"sample({count}): from 1 on is accepted; nearest: 1")
        draws, accent = Random(f"text {seed}"), Random(f"region {seed}")
        turned = self.language == "invented"
        writer = Writer(draws, turned=turned, opinions=self.opinions, negation=self.negation, asides=self.asides)
        least, most = self._length()
        shares = {name: list(accumulate(self._shares(name))) for name in LABELS}
        texts, drawn = [], []
        for _ in range(count):
            topic, sentiment, register = (_drawn(shares[name], draws.random()) for name in LABELS)
            length = least + int(draws.random() * (most - least + 1))
            said = self.registers[register]
            written = writer.text(self.topics[topic], said, self.sentiments[sentiment], length)
            texts.append(" ".join([self._spelt(words, said, accent) for words in written]))
            drawn.append((topic, sentiment, register, length))
        columns = torch.tensor(drawn, device=device).unbind(1)
        factors = dict(zip((*LABELS, "sentences"), columns))
        region = f", dialect {self.dialect:g}" if self.dialect else ""
        origin = f"language world ({self.language}{region}), generated, seed {seed}"
        return Dataset(texts, factors[self.label], self.classes, origin, factors)

    def dictionary(self) -> dict[str, str]:
        """The other language's word for each word of this one, in lower case; a bijection.

        >>> there = Language().dictionary()
        >>> back = Language(language="invented").dictionary()
        >>> back[there["sailor"]]
        'sailor'
        """
        words = tongues.invented()
        return dict(words) if self.language == "english" else {other: word for word, other in words.items()}

    def gloss(self, text: str) -> str:
        """Put each word into the other language and leave the order as it is; unknown words stay.

        >>> Language().gloss("The young captain steers the ship.")
        'Du dobrilel sitreko nukratas du stinano.'
        >>> Language(language="invented").gloss("Du dobrilel sitreko nukratas du stinano.")
        'The young captain steers the ship.'
        """
        words = self.dictionary()

        def other(hit: re.Match[str]) -> str:
            word = words.get(hit[0].lower(), hit[0])
            starts = not hit.start() or text[: hit.start()].rstrip()[-1:] in ".!?"
            capital = word[0].upper() + word[1:] if starts else word
            return _CAPITALS.get(capital, capital) if self.language == "invented" else capital

        return re.sub(r"[A-Za-z']+", other, text)

    def vocabulary(self, topic: str | None = None) -> tuple[str, ...]:
        """Every word form, in lower case and without regional ones; or those that only one topic has.

        >>> words = Language().vocabulary("sea")
        >>> "sailors" in words, "neighbours" in words
        (True, False)
        """
        if topic is None:
            return tuple(self._own(word) for word in tongues.vocabulary())
        if topic not in lexicon.TOPICS:
            raise ValueError(f"vocabulary({topic!r}): {nearest(str(topic), lexicon.TOPICS)}")
        mine = lexicon.TOPICS[topic].words()
        others = {form for _, forms, where in tongues.entries() if where != topic for form in forms}
        return tuple(self._own(word) for word in tongues.vocabulary() if word in mine - others)

    def pairs(self, kind: str = "plural") -> tuple[tuple[str, str], ...]:
        """Pairs of forms, the stuff of analogies: net is to nets as oar is to oars.

        >>> Language().pairs("past")[:2]
        (('say', 'said'), ('think', 'thought'))

        Parameters
        ----------
        kind
            plural (a noun's two forms), or third, past, ing (a verb's base form and that one), or gender (family).
        """
        if kind == "gender":
            return tuple((self._own(a.singular), self._own(b.singular)) for a, b in lexicon.FAMILY)
        if kind not in PAIRS:
            raise ValueError(f"pairs({kind!r}): {nearest(str(kind), [*PAIRS, 'gender'])}")
        wanted, first, second = PAIRS[kind]
        said = set(tongues.vocabulary())
        both = {(f[first], f[second]): None for name, f, _ in tongues.entries() if name == wanted and len(f) > second}
        return tuple((self._own(a), self._own(b)) for a, b in both if a != b and a in said and b in said)

    def _own(self, word: str) -> str:
        return word if self.language == "english" else tongues.invented()[word]

    def _length(self) -> tuple[int, int]:
        given = self.sentences
        least, most = given if isinstance(given, tuple) and len(given) == 2 else (given, given)
        if isinstance(least, int) and isinstance(most, int):
            if 1 <= least <= most:
                return least, most
            near = f"; nearest: {max(1, least) if least == most else (max(1, min(least, most)), max(1, least, most))}"
        else:
            near = ""
        accepted = "a whole number from 1 on, or the least and the most as a tuple, is accepted"
        raise ValueError(f"Language(sentences={given!r}): {accepted}{near}")

    def _shares(self, factor: str) -> list[float]:
        names = getattr(self, f"{factor}s")
        weights = self.weights if factor == self.label and self.weights is not None else [1.0] * len(names)
        return [weight / sum(weights) for weight in weights]

    def _spelt(self, words: list[str], register: str, accent: Random) -> str:
        """A sentence as it is written: in its register and region, in its language, with its capital and its mark."""
        swaps = lexicon.synonyms(register)
        if swaps:
            words = [swaps.get(word, word) for word in words]
        if self.dialect:
            regional = tongues.regional()
            # In alphabetical order, so that the order of the words, which is the language's, makes no difference.
            known = sorted(regional.keys() & words)
            said = {word: regional[word] for word in known if accent.random() < self.dialect}
            words = [said.get(word, word) for word in words]
        *body, mark = words
        if self.language == "invented":
            body = [word if word == "," else tongues.invented()[word] for word in body]
        else:
            body = [_CAPITALS.get(word, word) for word in body]
        text = " ".join(body).replace(" ,", ",")
        return text[0].upper() + text[1:] + mark


def _drawn(upto: list[float], draw: float) -> int:
    """The class in whose stretch of [0, 1) the draw falls; a class of share 0 has none."""
    return next((n for n, bound in enumerate(upto) if draw < bound), len(upto) - 1)
