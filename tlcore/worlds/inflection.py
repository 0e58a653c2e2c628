"""The forms of English words: plurals of nouns, the five forms of verbs, auxiliaries that agree and contract."""

from __future__ import annotations

import re
from typing import NamedTuple

_VOWELS = "aeiou"
# Verbs of more than one syllable that double their last consonant.
_DOUBLING = ("begin", "forget", "program", "unwrap", "upset")

# Forms that agree with their subject, by its pronoun: to be now, to be then, to have, to do.
_PLURAL, _SINGULAR = ("are", "were", "have", "do"), ("is", "was", "has", "does")
AGREEING = {"i": ("am", "was", "have", "do"), "you": _PLURAL, "we": _PLURAL, "they": _PLURAL}
AGREEING |= {"he": _SINGULAR, "she": _SINGULAR, "it": _SINGULAR}

# What casual speech makes of a pronoun and an auxiliary, and of an auxiliary and "not".
CONTRACTED = {
    **{("i", "am"): "i'm", ("i", "have"): "i've", ("i", "will"): "i'll"},
    **{("we", "are"): "we're", ("we", "have"): "we've", ("we", "will"): "we'll"},
    **{("she", "is"): "she's", ("she", "has"): "she's", ("she", "will"): "she'll"},
    **{("he", "is"): "he's", ("he", "has"): "he's", ("he", "will"): "he'll"},
    **{("it", "is"): "it's", ("they", "are"): "they're"},
}
NEGATED = {form: f"{form}n't" for form in ("is", "are", "was", "were", "have", "has", "do", "does", "did")} | {
    "will": "won't"
}


class Noun(NamedTuple):
    """A noun that can be counted."""

    singular: str
    plural: str


class Verb(NamedTuple):
    """The five forms of a verb: to sing, she sings, she sang, she has sung, she is singing."""

    base: str
    third: str
    past: str
    participle: str
    ing: str


def noun(text: str) -> Noun:
    """Both forms of a noun; an irregular plural stands after a stroke.

    >>> noun("ferry").plural, noun("waltz").plural, noun("woman/women").plural
    ('ferries', 'waltzes', 'women')
    """
    singular, _, plural = text.partition("/")
    return Noun(singular, plural or _with_s(singular))


def verb(text: str) -> Verb:
    """All forms of a verb; an irregular past and participle stand after strokes.

    >>> verb("chop")
    Verb(base='chop', third='chops', past='chopped', participle='chopped', ing='chopping')
    >>> verb("sing/sang/sung").participle, verb("carry").past, verb("bake").ing
    ('sung', 'carried', 'baking')
    """
    base, *irregular = text.split("/")
    stem = base + base[-1] if _doubles(base) else base
    if base[-1] == "e":
        past, ing = base + "d", (base if base[-2] == "e" else base[:-1]) + "ing"
    elif base[-1] == "y" and base[-2] not in _VOWELS:
        past, ing = base[:-1] + "ied", base + "ing"
    else:
        past, ing = stem + "ed", stem + "ing"
    past, participle = irregular if irregular else (past, past)
    return Verb(base, _with_s(base), past, participle, ing)


def article(following: str) -> str:
    """The article "a", or "an" before a vowel that is spoken as one.

    >>> article("oar"), article("net"), article("useless")
    ('an', 'a', 'a')
    """
    return "an" if following[0] in _VOWELS and not following.startswith(("use", "uni", "eu", "one")) else "a"


def _with_s(word: str) -> str:
    if word[-1] == "y" and word[-2] not in _VOWELS:
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(("s", "x", "z", "ch", "sh", "to")) else "s")


def _doubles(base: str) -> bool:
    """Whether the last consonant is doubled before an ending: one short syllable, as in chop."""
    return base in _DOUBLING or re.fullmatch(r"[^aeiou]*[aeiou][bdgklmnprtz]", base) is not None
