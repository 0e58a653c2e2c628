"""The vocabulary, its counterpart in an invented language, and the regional words of either.

All of it is made by rule from the lexicon, the same everywhere. The invented language is regular: the endings of its
plurals, verb forms and adjectives can be learnt, its stems cannot; frequent words are short.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import count
from random import Random

from tlcore.worlds import lexicon
from tlcore.worlds.inflection import CONTRACTED, NEGATED, Verb

# Words that hold a sentence together, frequent first; those of phrases and contractions follow by themselves.
_FUNCTION = (
    "the a an i it she he we they you in not and to that was is am were are been at on near by my our this these those "
    "every another us me has have did do does will gonna there who what why because when while before after everyone"
)

# Words of a region, in the manner of Scots; further ones follow from `_SOUNDS`.
_REGIONAL = (
    "my:ma you:ye they:thay they're:thay're not:nae didn't:didna don't:dinna doesn't:doesna isn't:isna aren't:arnae "
    "wasn't:wasna weren't:werena won't:winna hasn't:hasna haven't:havena gonna:gaun to:tae who:wha now:noo was:wis "
    "were:wur have:hae do:dae "
    "does:diz did:daed two:twa four:fower many:mony these:thir those:thae before:afore after:efter because:syne "
    "cos:kis every:ilka all:aw another:anither near:nar what:whit why:hoo there:thare little:wee small:sma old:auld "
    "child:bairn children:bairns kid:wean kids:weans friend:fier friends:fiers woman:wifie women:wifies man:chiel "
    "men:chiels mother:mither father:faither brother:brither sister:sib daughter:dochter white:fite blue:blae red:rid "
    "black:bleck brown:broon very:gey really:richt often:aften always:aye sometimes:whiles tomorrow:morra "
    "today:theday tonight:thenicht yesterday:yestreen great:braw excellent:unco lovely:bonny pleasant:couthy "
    "nice:douce perfect:perfite delightful:lichtsome brilliant:barrie terrible:dreich dreadful:fearsome awful:ugsome "
    "bad:coorse poor:puir unpleasant:ugly horrible:grugous useless:fushionless dull:dowie nasty:clarty rubbish:bowfin "
    "storm:gurl storms:gurls potato:tattie potatoes:tatties carrot:crot carrots:crots turnip:neep turnips:neeps "
    "cow:coo cows:coos ship:schip ships:schips net:nit nets:nits bird:burd birds:burds dog:dowg dogs:dowgs "
    "soup:kail soups:kails song:sangie songs:sangies rope:raip ropes:raips match:matche matches:matchies"
)
# The first rule that applies to a word and gives a new one. None touches a word's first letter, so that "a" and "an"
# stay right.
_SOUNDS = (
    (r"(?<=.)ight", "icht"),
    (r"(?<=.)oo", "ui"),
    (r"(?<=.)ou", "oo"),
    (r"(?<=.)ea", "ae"),
    (r"(?<=.)all(s|ed|en|ing)?$", r"aw\1"),
    (r"([aeiouy]\w*[^e])ed$", r"\1it"),
    (r"([aeiouy]\w*)ing$", r"\1in"),
    (r"(?<=..)ful$", "fu"),
    (r"(?<=.[^aeiou])[eo]r(s?)$", r"ar\1"),
    (r"(?<=.[^aeiou])y$", "ie"),
)

_ONSETS = (*"mnktdlrsvb", "br", "dr", "kr", "tr", "vl", "sk", "st")
_VOWELS, _CODAS = "aeiou", "lnrskmdt"
_ENDINGS = {
    "function": ("",),
    "other": ("un",),
    "adjective": ("el",),
    "noun": ("o", "oni"),
    "verb": ("ar", "as", "ev", "ut", "indo"),
}


@cache
def vocabulary() -> tuple[str, ...]:
    """Every English word form without regional ones, in lower case, frequent kinds first.

    >>> len(vocabulary()) > 1500, vocabulary()[:3]
    (True, ('the', 'a', 'an'))
    """
    unsaid = _unsaid()
    return tuple(dict.fromkeys(form for _, forms, _ in entries() for form in forms if form not in unsaid))


def _unsaid() -> set[str]:
    """Forms that the grammar has no use for, such as "liked": see `Writer._likes`."""
    verbs = {form for verb in _judging() for form in verb} | {noun.plural for pair in lexicon.FAMILY for noun in pair}
    said = {verb.base for verbs in (*lexicon.LIKING.values(), *lexicon.THINKING.values()) for verb in verbs}
    said |= {verb.participle for verbs in (*lexicon.IMPRESSING.values(), lexicon.HOLDING) for verb in verbs}
    said |= {form for verbs in lexicon.SAYING.values() for verb in verbs for form in verb[:4]}
    for topic in (lexicon.EVERYDAY, *lexicon.TOPICS.values()):
        said |= topic.words()
    return verbs - said


def _judging() -> tuple[Verb, ...]:
    groups = (lexicon.LIKING, lexicon.IMPRESSING, lexicon.SAYING, lexicon.THINKING)
    return (*(verb for group in groups for verbs in group.values() for verb in verbs), *lexicon.HOLDING)


@cache
def regional() -> dict[str, str]:
    """The regional word of each English word that has one; no two share theirs.

    >>> regional()["children"], regional()["mended"], regional()["spoon"]
    ('bairns', 'mendit', 'spuin')
    """
    known, given = set(vocabulary()), dict(pair.split(":") for pair in _REGIONAL.split())
    made = {word: other for word, other in given.items() if word in known}
    taken = known | set(made.values())
    for word in vocabulary():
        for sound, becomes in _SOUNDS:
            other = re.sub(sound, becomes, word)
            if word not in made and other not in taken:
                made[word] = other
                taken.add(other)
    return made


@cache
def invented() -> dict[str, str]:
    """The word of the invented language for each English word form, regional ones among them; no two share theirs.

    >>> len(set(invented().values())) == len(invented())
    True
    """
    words: dict[str, str] = {}
    taken = set(vocabulary()) | set(regional().values())  # no invented word is an English one
    for kind, forms, _ in entries():
        new = {form: ending for form, ending in zip(forms, _ENDINGS[kind]) if form not in words}
        free = (s for s in _stems(kind, forms) if not any(s + ending in taken for ending in new.values()))
        stem = next(free) if new else ""
        # Forms that are one word in English, such as "mended", take the first of their endings.
        for form in dict.fromkeys(form for form in forms if form in new):
            words[form] = stem + _ENDINGS[kind][forms.index(form)]
            taken.add(words[form])
    words = {word: words[word] for word in vocabulary()}
    for word, other in regional().items():
        words[other] = next(form for form in _shifted(words[word]) if form not in taken)
        taken.add(words[other])
    return words


@cache
def entries() -> tuple[tuple[str, tuple[str, ...], str], ...]:
    """Every word of the lexicon: its kind, its forms and its topic, if it is of one; function words come first."""
    found: list[tuple[str, tuple[str, ...], str]] = []

    def add(kind: str, words: Iterable[str | tuple[str, ...]], topic: str = "") -> None:
        found.extend((kind, (word,) if isinstance(word, str) else tuple(word), topic) for word in words)

    add("function", dict.fromkeys((*_FUNCTION.split(), *NEGATED.values(), *CONTRACTED.values())))
    for phrases in (
        *lexicon.OPENERS.values(),
        *lexicon.INTENSIFIERS.values(),
        *lexicon.WHEN.values(),
        lexicon.TAGS,
        lexicon.SUMMING,
    ):
        add("other", (word for phrase in phrases for word in phrase.split()))
    add("other", (*lexicon.COUNTS, *lexicon.OFTEN))
    for by_register in lexicon.JUDGEMENTS.values():
        add("adjective", (word for words in by_register.values() for word in words))
    add("adjective", (*lexicon.PEOPLE_ADJECTIVES, *lexicon.MOODS))
    add("verb", _judging())
    add("noun", (noun for pair in lexicon.FAMILY for noun in pair))
    for name, topic in (("everyday", lexicon.EVERYDAY), *lexicon.TOPICS.items()):
        add("noun", (*topic.people, *(place for _, place in topic.places)), name)
        add("verb", topic.acts, name)
        for frame in topic.frames:
            add("noun", frame.things, name)
            add("verb", (*frame.verbs, *frame.happenings), name)
            add("adjective", frame.adjectives, name)
    for register in lexicon.REGISTERS:
        for kind, _, said in lexicon.swaps(register):
            add(kind, [said])
    return tuple(found)


def _stems(kind: str, forms: tuple[str, ...]) -> Iterator[str]:
    """Stems without end, longer ones when the short ones run out; a stem that takes an ending ends in a consonant."""
    draws = Random("|".join(forms))  # of its own, so that a new word in the lexicon leaves the others as they are
    function = kind == "function"
    for tried in count():
        syllables = (1 if function else 2) + tried // 60
        closed = not function or draws.random() < 0.4
        sounds = [draws.choice(_ONSETS) + draws.choice(_VOWELS) for _ in range(syllables)]
        yield "".join(sounds) + (draws.choice(_CODAS) if closed else "")


def _shifted(word: str) -> Iterator[str]:
    """Ways in which a region might say a word: its vowels moved on, first one of them, then all, then longer ones."""
    for step in range(1, 5):
        moved = str.maketrans(_VOWELS, _VOWELS[step:] + _VOWELS[:step])
        first = next(n for n, letter in enumerate(word) if letter in _VOWELS) + 1
        yield word[:first].translate(moved) + word[first:]
        yield word.translate(moved)
    for onset in _ONSETS:
        yield from (word + onset + vowel for vowel in _VOWELS)
