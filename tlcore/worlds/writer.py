"""The writer of the language world: what a text tells of its topic and what it thinks, sentence by sentence.

A story judges nothing. A verdict holds a word of the text's sentiment, or "not" and a word of the other. No draw
depends on the order of words, so that the same draws give the same sentence in either language.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

from tlcore.worlds import lexicon
from tlcore.worlds.grammar import Grammar, Subject, Words
from tlcore.worlds.inflection import AGREEING, Verb
from tlcore.worlds.lexicon import Frame, Topic

Item = TypeVar("Item")

# How often each register tells a story in which way, gives a verdict in which way (a method of `Writer` for each), and
# uses which tense in a text about the past or the present.
_TELLINGS: dict[str, dict[str, int]] = {
    "plain": {"deed": 8, "act": 4, "happening": 4, "because": 4, "two_deeds": 2, "relative": 2, "report": 2}
    | {"there": 2, "passive": 1, "question": 1},
    "formal": {"deed": 5, "act": 2, "happening": 3, "because": 3, "two_deeds": 1, "relative": 4, "report": 5}
    | {"there": 2, "passive": 7},
    "casual": {"deed": 8, "act": 4, "happening": 4, "because": 4, "two_deeds": 2, "relative": 1, "report": 3}
    | {"there": 2, "question": 4},
}
_VERDICTS: dict[str, dict[str, int]] = {
    "plain": {"is": 6, "likes": 3, "kind": 2, "thinks": 2, "impresses": 2, "tried": 2, "what": 1},
    "formal": {"is": 5, "likes": 1, "kind": 2, "thinks": 3, "impresses": 3, "considered": 4},
    "casual": {"is": 6, "likes": 4, "kind": 2, "thinks": 2, "impresses": 1, "tried": 2, "what": 3},
}
_TENSES: dict[str, dict[str, dict[str, int]]] = {
    "past": {
        "plain": {"past": 8, "was_going": 1, "perfect": 1},
        "formal": {"past": 5, "was_going": 1, "perfect": 4},
        "casual": {"past": 6, "was_going": 3, "perfect": 1},
    },
    "present": {
        "plain": {"present": 6, "going": 2, "future": 2},
        "formal": {"present": 5, "going": 1, "future": 3, "perfect": 2},
        "casual": {"present": 4, "going": 3, "gonna": 2, "future": 1},
    },
}
_WHEN_OF = {"was_going": "past", "gonna": "future"}  # tenses that share their times with another


def often_first(items: Sequence[Item]) -> tuple[Item, ...]:
    """A table from which a fair draw gives the n-th item about 1 / n as often as the first (Zipf's law).

    >>> "".join(often_first("abc"))
    'aaaaaabbbcc'
    """
    return tuple(item for rank, item in enumerate(items, 1) for _ in range(max(1, round(2 * len(items) / rank))))


def _by_weight(weights: dict[str, int]) -> tuple[str, ...]:
    return tuple(name for name, weight in weights.items() for _ in range(weight))


def _tabled(topic: Topic) -> Topic:
    """The same topic, made of tables to draw from."""
    frames = tuple(
        Frame(often_first(things), often_first(verbs), often_first(happenings), often_first(adjectives), judged)
        for things, verbs, happenings, adjectives, judged in topic.frames
    )
    return Topic(often_first(topic.people), often_first(topic.places), often_first(topic.acts), frames)


_TOPICS = {name: _tabled(topic) for name, topic in lexicon.TOPICS.items()}
_EVERYDAY = _tabled(lexicon.EVERYDAY)
_TELL = {register: _by_weight(weights) for register, weights in _TELLINGS.items()}
_JUDGE = {register: _by_weight(weights) for register, weights in _VERDICTS.items()}
_TENSE = {(time, r): _by_weight(weights) for time, by in _TENSES.items() for r, weights in by.items()}
_PHRASES = {
    name: tuple(phrase.split() for phrase in often_first(phrases))
    for name, phrases in (
        lexicon.WHEN | lexicon.OPENERS | {"tag": lexicon.TAGS, "plain verdict": lexicon.SUMMING}
    ).items()
}
_GOOD = {(s, r): often_first(words) for s, by in lexicon.JUDGEMENTS.items() for r, words in by.items()}
_LIKE = {s: often_first(verbs) for s, verbs in lexicon.LIKING.items()}
_IMPRESS = {s: often_first(verbs) for s, verbs in lexicon.IMPRESSING.items()}
_THINK = {r: often_first(verbs) for r, verbs in lexicon.THINKING.items()}
_SAY = {r: often_first(verbs) for r, verbs in lexicon.SAYING.items()}
_COUNTS, _OFTEN, _MOODS = often_first(lexicon.COUNTS), often_first(lexicon.OFTEN), often_first(lexicon.MOODS)
_PERSONAL = often_first(lexicon.PEOPLE_ADJECTIVES)
# Before one thing or many; what is known already is neither "a" thing nor "every" thing.
_ONE = ("the",) * 14 + ("a",) * 10 + ("this", "that", "my", "my", "our", "our", "every", "another")
_MANY = ("the",) * 7 + ("",) * 3 + ("these", "those", "my", "our")
_KNOWN_ONE, _KNOWN_MANY = ("the",) * 5 + ("this", "that", "my", "our"), ("the",) * 5 + ("these", "those", "my", "our")


class Writer:
    """Writes texts, one draw after another; the words are English in either order.

    >>> writer = Writer(Random(2), turned=False, opinions=0.3, negation=0.3, asides=0.2)
    >>> for words in writer.text("sea", "plain", "positive", sentences=2):
    ...     print(*words)
    when our brother mends every net , he sails in the harbour .
    it is not a bad boat .

    Parameters
    ----------
    turned
        Whether the order of words is that of the invented language.
    opinions, negation, asides
        As in `Language`.
    """

    def __init__(self, draws: Random, *, turned: bool, opinions: float, negation: float, asides: float) -> None:
        self.random = draws.random
        self.grammars = {r: Grammar(turned=turned, casual=r == "casual") for r in lexicon.REGISTERS}
        self.opinions, self.negation, self.asides = opinions, negation, asides

    def text(self, topic: str, register: str, sentiment: str, sentences: int) -> list[Words]:
        """The words of each sentence, in lower case; the last of them is the mark at its end."""
        self.register, self.casual, self.grammar = register, register == "casual", self.grammars[register]
        self.topic, self.sentiment = _TOPICS[topic], sentiment
        self.time = "past" if self._chance(0.65) else "present"
        self._meet_hero()
        verdict = int(self.random() * sentences)  # one sentence at least says what the text thinks
        written = []
        for number in range(sentences):
            judges = self._chance(self.opinions) or number == verdict
            self.about = _EVERYDAY if self._chance(self.asides) and not judges else self.topic
            written.append(self._framed(self._verdict() if judges else self._story(), judges, number))
        return written

    def _one(self, table: Sequence[Item]) -> Item:
        return table[int(self.random() * len(table))]

    def _chance(self, share: float) -> bool:
        return self.random() < share

    def _meet_hero(self) -> None:
        """Choose whom the text follows: someone of the topic, or of the family; later on "she" or "he"."""
        woman, self.hero_known = self._chance(0.5), False
        if self._chance(0.15):
            noun, determiner = self._one(lexicon.FAMILY)[0 if woman else 1], self._one(("my", "our"))
        else:
            noun, determiner = self._one(self.topic.people), "the"
        pronoun = lexicon.PRONOUNS.get(noun.singular, "she" if woman else "he")
        self.hero_noun, self.hero = noun, Subject([determiner, noun.singular], pronoun)

    # Parts of a sentence

    def _thing(self, frame: Frame, known: bool = False) -> Subject:
        noun = self._one(frame.things)
        adjectives = [self._one(frame.adjectives)] if self._chance(0.25) else []
        if self._chance(0.35):
            counted = not known and self._chance(0.3)
            determiner = self._one(_COUNTS if counted else _KNOWN_MANY if known else _MANY)
            return Subject(self.grammar.group(determiner, adjectives, noun.plural), "they")
        determiner = self._one(_KNOWN_ONE if known else _ONE)
        return Subject(self.grammar.group(determiner, adjectives, noun.singular), "it")

    def _person(self, known: bool = False) -> Subject:
        noun, either = self._one(self.about.people), self._one(("she", "he"))
        adjectives = [self._one(_PERSONAL)] if self._chance(0.2) else []
        if self._chance(0.4):
            determiner = self._one(("the", "the", "these") if known or self._chance(0.6) else _COUNTS)
            return Subject(self.grammar.group(determiner, adjectives, noun.plural), "they")
        determiner = "the" if known or self._chance(0.6) else self._one(("a", "a", "another", "every", "our"))
        # A text has one sailor, or two of the same sex: else "she" and "he" would seem to be the same person.
        pronoun = self.hero.person if noun is self.hero_noun else lexicon.PRONOUNS.get(noun.singular, either)
        return Subject(self.grammar.group(determiner, adjectives, noun.singular), pronoun)

    def _who(self) -> Subject:
        """Who does it: the hero, someone else, or one of those who speak."""
        draw = self.random()
        if draw < 0.45:
            if self.hero_known and self._chance(0.6):
                return Subject([self.hero.person], self.hero.person, True)
            self.hero_known = True
            return self.hero
        if draw < (0.95 if self.register == "formal" else 0.7):
            return self._person()
        pronoun = "we" if self.register == "formal" else self._one(("i", "i", "we"))
        return Subject([pronoun], pronoun, True)

    def _place(self, share: float) -> Words:
        if not self._chance(share):
            return []
        preposition, place = self._one(self.about.places)
        return self.grammar.at(preposition, ["the", place])

    def _when(self, tense: str, share: float) -> Words:
        return self._one(_PHRASES[_WHEN_OF.get(tense, tense)]) if self._chance(share) else []

    def _tense(self) -> str:
        return self._one(_TENSE[self.time, self.register])

    def _said(
        self, who: Subject, verb: Verb, tense: str, rest: Words, negative: bool = False, often: bool = False
    ) -> Words:
        """A clause; `often` where a word such as "sometimes" may stand."""
        now = often and tense == "present" and not negative and self._chance(0.25)
        subject, verbs = self.grammar.conjugated(who, verb, tense, negative)
        return self.grammar.clause(subject, verbs, rest, [self._one(_OFTEN)] if now else [])

    def _not(self) -> bool:
        """Whether a sentence that judges nothing is negated: so that "not" alone says nothing."""
        return self._chance(0.4 * self.negation)

    # Stories

    def _story(self) -> Words:
        telling = self._one(_TELL[self.register])
        if telling == "question":
            return [*self._question(), "?"]
        if telling == "report":
            return [*self._report(), "."]
        return [*self._told(telling, self._tense()), "."]

    def _told(self, telling: str, tense: str) -> Words:
        frame = self._one(self.about.frames)
        words: Words = getattr(self, f"_{telling}")(frame, tense)
        return words

    def _deed(self, frame: Frame, tense: str) -> Words:
        who, thing, where = self._who(), self._thing(frame), self._place(0.35)
        when = [] if where else self._when(tense, 0.35)
        rest = thing.words + where + when
        return self._said(who, self._one(frame.verbs), tense, rest, self._not(), often=not when)

    def _act(self, frame: Frame, tense: str) -> Words:
        who, where = self._who(), self._place(0.7)
        when = self._when(tense, 0.3 if where else 0.8)
        return self._said(who, self._one(self.about.acts), tense, where + when, self._not(), often=not when)

    def _happening(self, frame: Frame, tense: str) -> Words:
        thing, where, when = self._thing(frame, known=True), self._place(0.4), self._when(tense, 0.3)
        return self._said(thing, self._one(frame.happenings), tense, where + when, self._not(), often=not when)

    def _because(self, frame: Frame, tense: str) -> Words:
        who = self._who()
        outer = self._said(who, self._one(frame.verbs), self.time, self._thing(frame).words)
        pronoun = Subject([who.person], who.person, True)
        if self._chance(0.4):
            subject, verbs = self.grammar.being(pronoun, self.time, [])
            return [*outer, "because", *self.grammar.clause(subject, verbs, [self._one(_MOODS)])]
        inner = self._said(pronoun, self._one(self.about.acts), self.time, self._place(0.6))
        join = self._one(("when", "while", "before", "after"))
        return [join, *outer, ",", *inner] if join in ("when", "after") else [*outer, join, *inner]

    def _two_deeds(self, frame: Frame, tense: str) -> Words:
        who = self._who()
        first = self._said(who, self._one(frame.verbs), self.time, self._thing(frame).words)
        frame = self._one([other for other in self.about.frames if other is not frame])
        again = Subject([], who.person)
        return [*first, "and", *self._said(again, self._one(frame.verbs), self.time, self._thing(frame).words)]

    def _relative(self, frame: Frame, tense: str) -> Words:
        who = self._person(known=True)
        inner = self._said(Subject(["who"], who.person), self._one(frame.verbs), self.time, self._thing(frame).words)
        whole = Subject(who.words + inner, who.person)
        return self._said(whole, self._one(self.about.acts), self.time, self._place(0.9))

    def _there(self, frame: Frame, tense: str) -> Words:
        noun, many = self._one(frame.things), self._chance(0.6)
        adjectives = [self._one(frame.adjectives)] if self._chance(0.5) else []
        determiner = self._one(_COUNTS) if many else "a"
        things = self.grammar.group(determiner, adjectives, noun.plural if many else noun.singular)
        subject, verbs = self.grammar.being(Subject(["there"], "they" if many else "it"), self.time, [])
        return self.grammar.clause(subject, verbs, things + self._place(1))

    def _passive(self, frame: Frame, tense: str) -> Words:
        thing, verb, perfect = self._thing(frame), self._one(frame.verbs), self._chance(0.35)
        if perfect:
            have = AGREEING[thing.person][2]
            subject, verbs = self.grammar.joined(thing, have, ["been", verb.participle], self._not())
        else:
            subject, verbs = self.grammar.being(thing, self.time, [verb.participle], self._not())
        by = self.grammar.at("by", self._person().words) if self._chance(0.4) else []
        return self.grammar.clause(subject, verbs, by + self._when("perfect" if perfect else self.time, 0.3))

    def _report(self) -> Words:
        tense = self._tense() if self.time == "present" else "past"  # "she said that he has sung" is no English
        return self._claimed(self._told(self._one(("act", "deed", "happening")), tense))

    def _claimed(self, claim: Words) -> Words:
        """Somebody says so."""
        verb = self._one(_SAY[self.register])
        if self.register == "formal" and self._chance(0.5):
            return self._that(*self.grammar.being(Subject(["it"], "it"), self.time, [verb.participle]), claim)
        return self._that(*self.grammar.conjugated(self._who(), verb, self.time), claim)

    def _that(self, subject: Words, verbs: Words, claim: Words) -> Words:
        says = self.grammar.clause(subject, verbs, [])
        if self.casual:
            return says + claim
        if claim[0] == "that":
            claim = ["this", *claim[1:]]  # "she says that that boat" is hard to read
        return [*says, "that", *claim]

    def _question(self) -> Words:
        frame = self._one(self.about.frames)
        verb, thing, where = self._one(frame.verbs), self._thing(frame, known=True), self._place(0.3)
        if self._chance(0.3):
            return self._said(Subject(["who"], "it"), verb, self.time, thing.words + where)
        who = self._person(known=True) if self._chance(0.6) else Subject(["you"], "you", True)
        do = "did" if self.time == "past" else AGREEING[who.person][3]
        return self.grammar.question(
            ["why"] if self._chance(0.25) else [], do, who.words, verb.base, thing.words + where
        )

    # Verdicts

    def _verdict(self) -> Words:
        form, negative = self._one(_JUDGE[self.register]), self._chance(self.negation)
        if negative and form == "what":
            form = "is"  # "what a good boat" has no negation
        said = self.sentiment if not negative else ("negative" if self.sentiment == "positive" else "positive")
        words: Words = getattr(self, f"_{form}")(said, negative)
        loud = self.casual and self._chance(0.25)
        return [*words, "!" if loud or form == "what" else "."]

    def _good(self, said: str, plain: bool = True) -> Words:
        """A word of judgement; with "very" only where nothing is negated, since "not very good" parts the two."""
        word = self._one(_GOOD[said, self.register])
        if not plain and (self.casual or word in lexicon.GRADED) and self._chance(0.3):
            return [self._one(lexicon.INTENSIFIERS[self.register]), word]
        return [word]

    def _frame(self) -> Frame:
        """A frame whose things may be judged."""
        return self._one([frame for frame in self.about.frames if frame.judged])

    def _judged(self) -> Subject:
        return self._person(known=True) if self._chance(0.15) else self._thing(self._frame(), known=True)

    def _is(self, said: str, negative: bool) -> Words:
        judged, where = self._judged(), self._place(0.2)
        subject, verbs = self.grammar.being(Subject(judged.words + where, judged.person), self.time, [], negative)
        return self.grammar.clause(subject, verbs, self._good(said, plain=negative))

    def _considered(self, said: str, negative: bool) -> Words:
        holding = [self._one(lexicon.HOLDING).participle]
        subject, verbs = self.grammar.being(self._judged(), self.time, holding, negative)
        return self.grammar.clause(subject, verbs, self._good(said, plain=negative))

    def _kind(self, said: str, negative: bool) -> Words:
        thing = self.grammar.group("a", self._good(said), self._one(self._frame().things).singular)
        return self.grammar.clause(*self.grammar.being(Subject(["it"], "it", True), self.time, [], negative), thing)

    def _what(self, said: str, negative: bool) -> Words:
        noun, good, one = self._one(self._frame().things), self._good(said), self._chance(0.65)
        return ["what", *self.grammar.group("a" if one else "", good, noun.singular if one else noun.plural)]

    def _likes(self, said: str, negative: bool) -> Words:
        # No past and no third person, so that the form of the verb is the same with "do not" as without.
        verb, thing = self._one(_LIKE[said]), self._thing(self._frame(), known=True)
        person = self._one(("we", "we", "they") if self.register == "formal" else ("i", "i", "we"))
        words = ["the", self._one(self.about.people).plural] if person == "they" else [person]
        return self._said(Subject(words, person, person != "they"), verb, "present", thing.words, negative)

    def _impresses(self, said: str, negative: bool) -> Words:
        # The perfect, for the same reason as in `_likes`.
        whom = self._one(("us", "us", "everyone") if self.register == "formal" else ("me", "us", "everyone"))
        return self._said(self._judged(), self._one(_IMPRESS[said]), "perfect", [whom], negative)

    def _thinks(self, said: str, negative: bool) -> Words:
        if negative and self._chance(0.3):  # "I do not think that the soup is good": the words stand far apart
            verb = self._one(_THINK[self.register])
            doubt = self.grammar.conjugated(self._who(), verb, self.time, negative)
            return self._that(*doubt, self._is(said, False))
        return self._claimed(self._is(said, negative))

    def _tried(self, said: str, negative: bool) -> Words:
        """Somebody did something with it, and it was good."""
        who, frame = self._who(), self._frame()
        thing = self._thing(frame, known=True)
        first = self._said(who, self._one(frame.verbs), self.time, thing.words)
        subject, verbs = self.grammar.being(Subject([thing.person], thing.person, True), self.time, [], negative)
        return [*first, ",", "and", *self.grammar.clause(subject, verbs, self._good(said, plain=negative))]

    def _framed(self, words: Words, judges: bool, number: int) -> Words:
        """A sentence with an opening word or a closing one, as the register has them."""
        *body, mark = words
        opener = self._one(_PHRASES["plain verdict" if judges and self.register == "plain" else self.register])
        draw, tag = self.random(), self._one(_PHRASES["tag"])
        if mark == "?" or body[0] == "what":
            return words
        if draw < (0.3 if self.casual else 0.15) and (number or self.casual):
            return [*opener, ",", *words]
        return [*body, ",", *tag, mark] if self.casual and draw > 0.85 else words
