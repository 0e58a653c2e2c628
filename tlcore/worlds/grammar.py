"""The grammar of the language world: the order of words and the forms of verbs.

English puts the verb after its subject, adjectives before their noun and prepositions before theirs. Turned, as in the
invented language, the same sentence has its verbs at the end of the clause and in reverse, adjectives after the noun
and prepositions after theirs. The words stay English here; `tongues` exchanges them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tlcore.worlds.inflection import AGREEING, CONTRACTED, NEGATED, Verb, article

Words = list[str]


class Subject(NamedTuple):
    """A subject; `person` is the pronoun that it agrees with."""

    words: Words
    person: str
    is_pronoun: bool = False


class Grammar:
    """Clauses, groups of words and verbs, in the order of English or turned.

    >>> from tlcore.worlds.inflection import verb
    >>> for turned in (False, True):
    ...     grammar = Grammar(turned=turned, casual=False)
    ...     boats = grammar.group("the", ["old"], "boats")
    ...     who, verbs = grammar.conjugated(Subject(["she"], "she", True), verb("steer"), "going", negative=True)
    ...     print(*grammar.clause(who, verbs, boats + grammar.at("in", ["the", "harbour"])))
    she is not steering the old boats in the harbour
    she the boats old the harbour in steering not is

    Parameters
    ----------
    casual
        Whether auxiliaries melt into a pronoun or into "not".
    """

    def __init__(self, *, turned: bool, casual: bool) -> None:
        self.turned, self.casual = turned, casual

    def clause(self, who: Words, verbs: Words, rest: Words, often: Sequence[str] = ()) -> Words:
        """Subject, verbs and the rest; `often` stands before the last verb in English, after the subject if turned."""
        if self.turned:
            return [*who, *often, *rest, *reversed(verbs)]
        if often:
            return [*who, *verbs[:-1], *often, *verbs[-1:], *rest]
        return who + verbs + rest

    def question(self, asking: Words, auxiliary: str, who: Words, verb: str, rest: Words) -> Words:
        """A question: English has the auxiliary before the subject, the turned order leaves it at the end."""
        if self.turned:
            return [*asking, *who, *rest, verb, auxiliary]
        return [*asking, auxiliary, *who, verb, *rest]

    def at(self, preposition: str, words: Words) -> Words:
        """A preposition with its words."""
        return [*words, preposition] if self.turned else [preposition, *words]

    def group(self, determiner: str, adjectives: Words, noun: str) -> Words:
        """A noun with its adjectives; "a" becomes "an" by what follows it in English, in either order."""
        if determiner == "a":
            determiner = article(adjectives[0] if adjectives else noun)
        first = [determiner] if determiner else []
        return [*first, noun, *adjectives] if self.turned else [*first, *adjectives, noun]

    def conjugated(self, who: Subject, verb: Verb, tense: str, negative: bool = False) -> tuple[Words, Words]:
        """The subject and the verbs; tense is past, was_going, perfect, present, going, future or gonna."""
        am, was, have, do = AGREEING[who.person]
        if tense in ("past", "present") and not negative:
            third = who.person in ("he", "she", "it")
            return who.words, [verb.past if tense == "past" else verb.third if third else verb.base]
        auxiliary, main = {
            "past": ("did", [verb.base]),
            "present": (do, [verb.base]),
            "was_going": (was, [verb.ing]),
            "going": (am, [verb.ing]),
            "perfect": (have, [verb.participle]),
            "future": ("will", [verb.base]),
            "gonna": (am, ["gonna", verb.base]),
        }[tense]
        return self.joined(who, auxiliary, main, negative)

    def being(self, who: Subject, time: str, main: Words, negative: bool = False) -> tuple[Words, Words]:
        """The subject with a form of "to be" and what depends on it; time is past or present."""
        am, was, *_ = AGREEING[who.person]
        return self.joined(who, was if time == "past" else am, main, negative)

    def joined(self, who: Subject, auxiliary: str, main: Words, negative: bool) -> tuple[Words, Words]:
        """The subject, and the auxiliary with the other verbs; casually, the auxiliary melts into either neighbour."""
        if self.casual:
            if negative and auxiliary in NEGATED:
                return who.words, [NEGATED[auxiliary], *main]
            if who.is_pronoun and (who.person, auxiliary) in CONTRACTED:
                return [CONTRACTED[who.person, auxiliary]], ["not", *main] if negative else main
        return who.words, [auxiliary, "not", *main] if negative else [auxiliary, *main]
