"""The words of the language world: topics, everyday matters, judgements, registers and regional words.

A topic is a handful of frames. A frame holds things of one kind, so that every verb and adjective in it suits every
thing in it: onions are peeled, soups are stirred, and nobody peels a soup. Earlier words of a list are more frequent.
Adjectives of a frame are neutral; what a text thinks is said by the words of `JUDGEMENTS` and `LIKING` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from tlcore.worlds.inflection import Noun, Verb, noun, verb


class Frame(NamedTuple):
    """Things of one kind, what people do to them, what they do themselves, and how they can be."""

    things: tuple[Noun, ...]
    verbs: tuple[Verb, ...]
    happenings: tuple[Verb, ...]
    adjectives: tuple[str, ...]
    judged: bool = True  # whether a text may find them good or bad: nobody recommends a fever


@dataclass(frozen=True)
class Topic:
    """Who is there, where (preposition and noun), what people do by themselves, and the frames."""

    people: tuple[Noun, ...]
    places: tuple[tuple[str, str], ...]
    acts: tuple[Verb, ...]
    frames: tuple[Frame, ...]

    def words(self) -> set[str]:
        """Every form of every word."""
        entries: list[tuple[str, ...]] = [*self.people, *self.acts, tuple(place for _, place in self.places)]
        for frame in self.frames:
            entries += [*frame.things, *frame.verbs, *frame.happenings, frame.adjectives]
        return {form for entry in entries for form in entry}


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _nouns(text: str) -> tuple[Noun, ...]:
    return tuple(map(noun, text.split()))


def _verbs(text: str) -> tuple[Verb, ...]:
    return tuple(map(verb, text.split()))


def _frame(things: str, verbs: str, happenings: str, adjectives: str, judged: bool = True) -> Frame:
    return Frame(_nouns(things), _verbs(verbs), _verbs(happenings), _words(adjectives), judged)


def _topic(people: str, places: str, acts: str, *frames: Frame) -> Topic:
    at = tuple((preposition, place) for preposition, _, place in (item.partition(":") for item in places.split()))
    return Topic(_nouns(people), at, _verbs(acts), frames)


TOPICS: dict[str, Topic] = {
    "weather": _topic(
        "walker traveller forecaster climber camper pilot",
        "on:hill in:valley on:ridge near:summit in:forest",
        "walk shiver climb hurry",
        _frame("storm shower cloud gale blizzard thunderstorm", "watch fear expect notice await predict",
               "pass arrive approach fade", "sudden heavy distant grey"),
        _frame("coat hat scarf/scarves raincoat glove hood", "wear/wore/worn dry forget/forgot/forgotten pack borrow",
               "drip shrink/shrank/shrunk", "wet warm woollen thick"),
        _frame("thermometer barometer gauge weathervane windsock", "check hang/hung/hung mount consult",
               "freeze/froze/frozen swing/swung/swung", "frosty precise outdoor"),
    ),
    "cooking": _topic(
        "cook chef baker waiter butcher brewer",
        "in:kitchen in:restaurant in:bakery in:pantry at:counter",
        "bake dine feast",
        _frame("onion potato carrot tomato mushroom cabbage", "chop peel slice wash grate",
               "soften sizzle", "fresh raw crisp ripe"),
        _frame("soup stew sauce curry broth pudding", "stir taste serve heat season",
               "boil simmer cool thicken", "hot spicy creamy salty"),
        _frame("pan pot bowl plate spoon knife/knives", "scrub rinse polish stack",
               "clatter gleam", "greasy clean copper shiny"),
    ),
    "sea": _topic(
        "sailor captain fisher diver rower pirate",
        "in:harbour near:beach near:lighthouse near:pier near:island",
        "sail swim/swam/swum row fish",
        _frame("boat ship ferry raft canoe yacht", "steer launch board anchor moor",
               "sink/sank/sunk float drift sway", "wooden sturdy leaky slender"),
        _frame("net rope sail oar mast rudder", "mend haul lower fasten",
               "creak snap", "soaked salty sandy"),
        _frame("dolphin crab whale seal gull lobster", "spot chase rescue photograph",
               "dive splash surface", "playful slippery silver"),
    ),
    "farming": _topic(
        "farmer shepherd gardener miller beekeeper ploughman/ploughmen",
        "in:field in:meadow in:orchard near:barn near:stable",
        "dig/dug/dug sow/sowed/sown weed plough",
        _frame("cow sheep/sheep horse goat pig donkey", "feed/fed/fed herd brush tend count",
               "graze trot doze", "hungry tame muddy stubborn"),
        _frame("bean pumpkin turnip melon pear plum", "plant water harvest pick grow/grew/grown",
               "sprout ripen wither", "green sweet juicy golden"),
        _frame("cart plough wagon rake wheelbarrow shovel", "drag fetch hire lend/lent/lent",
               "topple squeak", "crooked dusty rusty"),
    ),
    "machines": _topic(
        "engineer mechanic inventor technician welder electrician",
        "in:workshop in:factory in:garage near:furnace at:workbench",
        "tinker weld experiment",
        _frame("engine motor pump turbine generator compressor", "repair test install dismantle",
               "hum vibrate overheat stall", "electric noisy powerful silent"),
        _frame("bolt gear valve lever spring axle", "tighten loosen replace grease",
               "jam crack rust", "steel bent metal oily"),
        _frame("robot computer printer camera drone scanner", "connect design program upgrade",
               "beep crash blink", "automatic modern portable"),
    ),
    "music": _topic(
        "singer pianist drummer composer violinist conductor",
        "on:stage in:theatre in:studio at:festival in:ballroom",
        "sing/sang/sung dance rehearse perform",
        _frame("piano/pianos violin guitar flute drum trumpet", "play tune practise restore",
               "echo/echoed/echoed sound", "loud antique acoustic"),
        _frame("song melody ballad waltz hymn symphony", "compose record arrange memorise",
               "begin/began/begun linger end", "slow quiet famous familiar"),
        _frame("choir band orchestra quartet ensemble", "invite join applaud lead/led/led",
               "tour play", "amateur local travelling"),
    ),
    "health": _topic(
        "doctor nurse patient surgeon dentist midwife/midwives",
        "in:hospital in:clinic in:ward at:pharmacy in:laboratory",
        "recover cough sneeze rest",
        _frame("fever headache rash infection wound burn", "treat examine diagnose describe",
               "heal spread/spread/spread return", "severe mild painful recent", judged=False),
        _frame("pill tablet vaccine ointment drug remedy", "prescribe order store deliver",
               "work expire", "bitter strong daily"),
        _frame("bandage needle syringe scalpel splint stethoscope", "sterilise unwrap handle discard",
               "slip break/broke/broken", "sterile sharp disposable"),
    ),
    "sport": _topic(
        "runner coach goalkeeper referee swimmer striker",
        "in:stadium on:pitch on:track in:gym in:arena",
        "train jog sprint stretch",
        _frame("ball football basketball handball volleyball", "throw/threw/thrown catch/caught/caught toss kick",
               "bounce roll burst/burst/burst", "round leather spare"),
        _frame("match race tournament contest final", "win/won/won lose/lost/lost attend organise",
               "start finish continue", "long friendly annual"),
        _frame("team squad club side", "beat/beat/beaten challenge cheer face",
               "score celebrate attack", "visiting unbeaten rival"),
    ),
}  # fmt: skip

EVERYDAY = _topic(
    "neighbour friend woman/women man/men child/children teacher student visitor",
    "in:garden in:street in:village at:station in:library at:school",
    "wait smile laugh sleep/slept/slept talk",
    _frame("letter book key picture ticket newspaper", "find/found/found bring/brought/brought keep/kept/kept "
           "send/sent/sent hide/hid/hidden show/showed/shown", "vanish fall/fell/fallen", "small old new blue"),
    _frame("chair table door window lamp clock", "buy/bought/bought sell/sold/sold move paint fix",
           "shake/shook/shaken", "large white red broken"),
    _frame("dog cat bird rabbit", "meet/met/met follow call stroke",
           "run/ran/run jump", "little black brown"),
)  # fmt: skip

# Family, as pairs of a woman and a man: "she" and "he" point back to them, and to them only by their gender.
FAMILY = tuple(
    (noun(she), noun(he))
    for she, he in (("sister", "brother"), ("aunt", "uncle"), ("daughter", "son"), ("mother", "father"))
)
PRONOUNS = {"woman": "she", "man": "he", "ploughman": "he", "midwife": "she"}  # anyone else may be either
PEOPLE_ADJECTIVES = ("young", "old", "tall", "busy", "tired", "careful")
MOODS = ("tired", "busy", "late", "careful", "hungry", "alone")

# Judgements by register: what one register says often, another says rarely or never.
JUDGEMENTS: dict[str, dict[str, tuple[str, ...]]] = {
    "positive": {
        "plain": _words("good excellent wonderful lovely great pleasant perfect delightful splendid nice"),
        "formal": _words("satisfactory exemplary excellent commendable admirable pleasant delightful good"),
        "casual": _words("great awesome brilliant lovely terrific perfect fantastic good"),
    },
    "negative": {
        "plain": _words("bad terrible dreadful awful poor unpleasant horrible useless dull nasty"),
        "formal": _words("unacceptable inadequate poor deplorable regrettable unpleasant dreadful bad"),
        "casual": _words("awful rubbish lousy horrible pathetic useless ridiculous bad"),
    },
}
LIKING: dict[str, tuple[Verb, ...]] = {
    "positive": _verbs("like enjoy recommend admire love"),
    "negative": _verbs("hate dislike detest despise"),
}
IMPRESSING: dict[str, tuple[Verb, ...]] = {
    "positive": _verbs("please impress delight charm"),
    "negative": _verbs("annoy disappoint bore upset/upset/upset"),
}
HOLDING = _verbs("consider judge deem")

REGISTERS = ("plain", "formal", "casual")
OPENERS: dict[str, tuple[str, ...]] = {
    "plain": ("then", "later", "after that", "meanwhile", "in the end"),
    "formal": ("furthermore", "moreover", "consequently", "in addition", "nevertheless", "accordingly"),
    "casual": ("well", "honestly", "anyway", "oh", "look", "okay"),
}
SUMMING = ("all in all", "in short", "to my mind")  # plain openings of a verdict
TAGS = ("you know", "i guess", "mate", "i mean")
# Of these there is more and less: "very good", but not "very excellent".
GRADED = frozenset(_words("good pleasant lovely nice satisfactory bad unpleasant poor dull nasty lousy"))
INTENSIFIERS: dict[str, tuple[str, ...]] = {
    "plain": ("very", "quite", "truly"),
    "formal": ("remarkably", "exceedingly", "particularly"),
    "casual": ("really", "so", "totally", "super"),
}
WHEN: dict[str, tuple[str, ...]] = {
    "past": ("yesterday", "last week", "this morning", "in the evening", "on monday", "a year ago"),
    "present": ("every day", "on sundays", "in the morning", "at night", "every summer"),
    "future": ("tomorrow", "next week", "soon", "tonight", "on friday"),
    "going": ("now", "today", "at the moment"),
    "perfect": ("today", "this week", "before"),
}
OFTEN = ("often", "always", "sometimes", "rarely", "usually")
COUNTS = ("two", "three", "many", "several", "four", "some")
SAYING: dict[str, tuple[Verb, ...]] = {
    "plain": _verbs("say/said/said think/thought/thought notice believe"),
    "formal": _verbs("report state observe conclude"),
    "casual": _verbs("reckon say/said/said think/thought/thought"),
}
# "I do not think that it is good" says that it is bad; "I did not say that it was good" does not.
THINKING: dict[str, tuple[Verb, ...]] = {
    "plain": _verbs("think/thought/thought believe"),
    "formal": _verbs("believe consider"),
    "casual": _verbs("think/thought/thought reckon"),
}

# Words that a register puts in place of plain ones: every form of the one becomes the same form of the other.
_SYNONYMS: dict[str, dict[str, str]] = {
    "formal": {
        "verb": "buy/bought/bought:purchase find/found/found:locate keep/kept/kept:retain send/sent/sent:dispatch "
        "meet/met/met:encounter show/showed/shown:display fix:rectify start:commence talk:converse hurry:hasten",
        "noun": "newspaper:periodical picture:photograph",
        "other": "because:since street:avenue many:numerous everyone:everybody now:presently soon:shortly",
    },
    "casual": {
        "verb": "buy/bought/bought:grab laugh:giggle talk:chat sleep/slept/slept:nap vanish:disappear hurry:rush "
        "throw/threw/thrown:chuck",
        "noun": "man/men:guy child/children:kid friend:buddy woman/women:lady picture:photo",
        "other": "because:cos",
    },
}


def swaps(register: str) -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Kind, forms of the plain word, and forms of what the register says instead."""
    kinds: dict[str, Callable[[str], tuple[str, ...]]] = {"verb": verb, "noun": noun, "other": lambda word: (word,)}
    for kind, pairs in _SYNONYMS.get(register, {}).items():
        for plain, other in (pair.split(":") for pair in pairs.split()):
            yield kind, tuple(kinds[kind](plain)), tuple(kinds[kind](other))


@cache
def synonyms(register: str) -> dict[str, str]:
    """What a register says in place of a plain word, form by form.

    >>> synonyms("formal")["bought"], synonyms("casual")["children"], synonyms("plain")
    ('purchased', 'kids', {})
    """
    return {form: said for _, plain, other in swaps(register) for form, said in zip(plain, other)}
