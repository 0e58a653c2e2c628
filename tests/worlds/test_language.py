"""The language world is what it says: texts that read as sentences, true factors, an exact counterpart of each word."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache

import pytest
import torch
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from tlcore.worlds import Language, lexicon, tongues
from tlcore.worlds.inflection import article, noun, verb

ENGLISH, INVENTED = Language(), Language(language="invented")


def words_of(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


@cache
def texts(language: str, dialect: float, seed: int = 1) -> list[str]:
    return Language(language=language, dialect=dialect).sample(20_000, seed=seed).inputs


def accuracy(train, test, longest=1):
    """Of a bag of words or of runs of words; tokens as they are written, "don't" and "a" among them."""
    counts = CountVectorizer(ngram_range=(1, longest), token_pattern=r"[\w']+|[!?]")
    model = make_pipeline(counts, LogisticRegression(tol=1e-3, max_iter=200)).fit(train.inputs, train.targets.numpy())
    return model.score(test.inputs, test.targets.numpy())


def test_the_same_seed_gives_the_same_texts_and_more_texts_begin_with_fewer():
    for world in (ENGLISH, INVENTED.but(dialect=0.5)):
        a, b = world.sample(300, seed=5), world.sample(300, seed=5)
        assert a.inputs == b.inputs and all(torch.equal(a.factors[k], b.factors[k]) for k in a.factors)
        assert world.sample(50, seed=5).inputs == a.inputs[:50]
        assert world.sample(300, seed=6).inputs != a.inputs
    assert "generated, seed 5" in a.origin and "invented, dialect 0.5" in a.origin


@pytest.mark.parametrize("label", ["topic", "sentiment", "register"])
def test_any_factor_can_be_the_label_and_weights_are_its_prior(label):
    world = Language(label=label, sentences=1)
    data = world.sample(6000, seed=1)
    assert torch.equal(data.targets, data.factors[label])
    assert (data.counts() / 6000 - 1 / len(data.classes)).abs().max() < 0.02
    shares = torch.arange(len(data.classes)).float() / torch.arange(len(data.classes)).sum()
    drawn = world.but(weights=tuple(shares.tolist())).sample(6000, seed=2)
    assert (drawn.counts() / 6000 - shares).abs().max() < 0.02 and drawn.counts()[0] == 0
    others = {"topic", "sentiment", "register"} - {label}
    for other in others:  # the prior of the label leaves the other factors as they were
        held = torch.bincount(drawn.factors[other]) / 6000
        assert (held - 1 / len(held)).abs().max() < 0.02


def test_factors_count_the_sentences():
    for sentences, wanted in ((1, {1}), (4, {4}), ((2, 5), {2, 3, 4, 5})):
        data = Language(sentences=sentences).sample(400)
        assert set(data.factors["sentences"].tolist()) == wanted
        marks = torch.tensor([len(re.findall(r"[.!?](?: |$)", text)) for text in data.inputs])
        assert torch.equal(marks, data.factors["sentences"])


@pytest.mark.parametrize("language", ["english", "invented"])
@pytest.mark.parametrize("dialect", [0.0, 1.0])
def test_texts_are_written_as_sentences(language, dialect):
    for text in texts(language, dialect):
        for sentence in re.split(r"(?<=[.!?]) ", text):
            assert re.fullmatch(r"[A-Z][A-Za-z']*(?:,? [A-Za-z']+)+[.!?]", sentence), sentence
            assert 2 <= len(sentence.split()) <= 30
        if language == "english":
            assert not re.search(r"\bi\b|\bi'", text), text


@pytest.mark.parametrize("dialect", [0.0, 1.0])
def test_a_and_an_stand_where_they_should(dialect):
    for text in texts("english", dialect):
        for found, following in re.findall(r"\b([Aa]n?) (\w+)", text):
            vowel = following[0] in "aeiou" and following != "useless"
            assert found.lower() == ("an" if vowel else "a"), text


def test_verbs_agree_with_what_stands_before_them():
    told = " ".join(texts("english", 0.0))
    assert not re.search(
        r"\b(?:they|we|you|these \w+|those \w+) (?:is|was|has|does|doesn't|isn't|wasn't|hasn't)\b", told.lower()
    )
    assert not re.search(r"\b(?:he|she|it) (?:are|were|have|do|don't|aren't|weren't|haven't)\b", told.lower())
    singular = {pair[0] for pair in ENGLISH.pairs("plural")}
    for determiner, word in re.findall(
        r"\b(these|those|two|three|many|several|a|this|every|another) (\w+)", told.lower()
    ):
        if determiner in ("these", "those", "two", "three", "many", "several"):
            assert word not in singular or word in ("sheep", "plough"), (determiner, word)
        else:
            assert word not in {pair[1] for pair in ENGLISH.pairs("plural")} - singular, (determiner, word)


def test_inflection():
    assert [noun(word).plural for word in ("ferry", "key", "waltz", "torch", "tomato", "knife/knives")] == [
        "ferries", "keys", "waltzes", "torches", "tomatoes", "knives",
    ]  # fmt: skip
    assert verb("stir")[1:] == ("stirs", "stirred", "stirred", "stirring")
    assert verb("begin/began/begun").ing == "beginning" and verb("fix").ing == "fixing" and verb("row").past == "rowed"
    assert verb("see/saw/seen").ing == "seeing" and verb("dry").third == "dries" and verb("play").past == "played"
    assert verb("clean").past == "cleaned" and verb("open").past == "opened" and article("upset") == "an"


def test_the_vocabulary_is_large_all_of_it_occurs_and_nothing_else():
    vocabulary = ENGLISH.vocabulary()
    assert len(vocabulary) == len(set(vocabulary)) > 1500
    seen = Counter(word for seed in range(4) for text in texts("english", 0.0, seed) for word in words_of(text))
    assert set(seen) <= set(vocabulary)
    assert len(set(vocabulary) - set(seen)) < 10
    frequent = sum(n for _, n in seen.most_common(50)) / seen.total()
    assert 0.4 < frequent < 0.7  # a few words are most of a text, as in any language


def test_the_dictionary_is_a_bijection():
    there, back = ENGLISH.dictionary(), INVENTED.dictionary()
    assert len(there) == len(back) > 2500
    assert all(back[other] == word for word, other in there.items())
    assert not set(there) & set(back)
    assert all(re.fullmatch(r"[a-z]+", word) for word in back)
    assert set(ENGLISH.vocabulary()) < set(there) and set(INVENTED.vocabulary()) < set(back)
    mean = {w: sum(map(len, w)) / len(w) for w in (ENGLISH.vocabulary(), INVENTED.vocabulary())}
    assert max(mean.values()) < 9


@pytest.mark.parametrize("dialect", [0.0, 0.4, 1.0])
def test_the_same_seed_says_the_same_in_both_languages(dialect):
    here, there = (
        Language(dialect=dialect).sample(3000, seed=7),
        Language(dialect=dialect, language="invented").sample(3000, seed=7),
    )
    assert all(torch.equal(here.factors[k], there.factors[k]) for k in here.factors)
    dictionary, moved = ENGLISH.dictionary(), 0
    for text, other in zip(here.inputs, there.inputs):
        sentences, others = re.split(r"(?<=[.!?]) ", text), re.split(r"(?<=[.!?]) ", other)
        assert len(sentences) == len(others)
        for a, b in zip(sentences, others):
            assert Counter(dictionary[word] for word in words_of(a)) == Counter(words_of(b))
            assert a[-1] == b[-1]
            moved += ENGLISH.gloss(a) != b
    assert moved > 0.95 * here.factors["sentences"].sum()  # word by word it is another order


def test_the_order_of_the_invented_language():
    """Verbs at the end, adjectives and prepositions after: read word by word in English."""
    world = Language(language="invented", registers=("plain",), sentences=1, opinions=1.0, negation=0.0)
    glossed = [world.gloss(text) for text in world.sample(4000, seed=1).inputs]
    for text, words in ((t, words_of(t)) for t in glossed):
        if words[:2] == ["it", "a"]:
            assert words[-1] in ("is", "was") and len(words) == 5, text  # "It a boat lovely is."
        for adjective in ("salty", "sturdy", "leaky"):
            if adjective in words and words.index(adjective) > 0:
                assert words[words.index(adjective) - 1] not in ("the", "this", "that", "my", "our"), text
    negated = world.but(negation=1.0)
    ends = Counter(tuple(words_of(negated.gloss(t))[-2:]) for t in negated.sample(4000, seed=1).inputs)
    assert {("not", "is"), ("not", "was"), ("not", "do")} <= set(ends)
    assert not any(end[-1] == "not" for end in ends)


def test_gloss_there_and_back():
    for text in texts("english", 0.3)[:3000]:
        assert INVENTED.gloss(ENGLISH.gloss(text)) == text
    assert ENGLISH.gloss("Zebras!") == "Zebras!"


def test_a_dialect_changes_words_and_nothing_else():
    plain, all_regional = texts("english", 0.0), texts("english", 1.0)
    some = texts("english", 0.5)
    changed, total, regional = 0, 0, tongues.regional()
    for a, b, c in zip(plain, some, all_regional):
        for x, y, z in zip(words_of(a), words_of(b), words_of(c), strict=True):
            assert z == regional.get(x, x) and y in (x, z)
            changed, total = changed + (x != z), total + 1
    assert 0.35 < changed / total < 0.6
    pairs = [(x, y) for a, b in zip(plain, some) for x, y in zip(words_of(a), words_of(b)) if x in regional]
    assert sum(x != y for x, y in pairs) / len(pairs) == pytest.approx(0.5, abs=0.03)
    little = Language(dialect=0.2).sample(2000, seed=1).inputs
    for a, low, high in zip(plain, little, some):  # what is regional at a low share is so at a higher one
        assert all(y != x for x, w, y in zip(words_of(a), words_of(low), words_of(high)) if w != x)


def test_regional_words_are_new_and_begin_as_their_article_wants():
    regional = tongues.regional()
    assert len(set(regional.values())) == len(regional) > 900
    assert not set(regional.values()) & set(ENGLISH.vocabulary())
    described = {word for name in lexicon.TOPICS for word in lexicon.TOPICS[name].words()}
    described |= {word for by in lexicon.JUDGEMENTS.values() for words in by.values() for word in words}
    assert all(article(word) == article(regional[word]) for word in described & set(regional))


def test_a_dialect_or_another_register_costs_a_reader_who_never_heard_it():
    world = Language(label="sentiment", negation=0.0, sentences=1)
    train, home, away = (w.sample(2000, seed=n) for n, w in enumerate((world, world, world.but(dialect=1.0))))
    assert accuracy(train, home) > 0.98 > 0.9 > accuracy(train, away)
    formal, casual = world.but(registers=("formal",)), world.but(registers=("casual",))
    assert accuracy(formal.sample(2000), formal.sample(1000, seed=1)) > 0.98
    assert accuracy(formal.sample(2000), casual.sample(1000, seed=1)) < 0.8


def test_a_bag_of_words_tells_topics_and_registers():
    for label, least in (("topic", 0.98), ("register", 0.9)):
        for world in (Language(label=label), Language(label=label, language="invented")):
            assert accuracy(world.sample(2000, seed=1), world.sample(1000, seed=2)) > least


@pytest.mark.parametrize("language", ["english", "invented"])
def test_sentiment_needs_more_than_a_bag_of_words(language):
    world = Language(label="sentiment", language=language, negation=0.5, sentences=(1, 3))
    train, test = world.sample(4000, seed=1), world.sample(1000, seed=2)
    alone, in_pairs = accuracy(train, test), accuracy(train, test, longest=2)
    assert alone < 0.56 and in_pairs > 0.8
    never = world.but(negation=0.0)
    assert accuracy(never.sample(2000, seed=1), never.sample(1000, seed=2)) > 0.99


def test_the_opinion_is_of_the_topic_and_by_its_words():
    world = Language(label="sentiment", negation=0.0, sentences=1)
    data = world.sample(3000, seed=4)
    told = {
        name: {w for words in lexicon.JUDGEMENTS[name].values() for w in words}
        | {v.base for v in lexicon.LIKING[name]}
        | {v.participle for v in lexicon.IMPRESSING[name]}
        for name in data.classes
    }
    for text, target, topic in zip(data.inputs, data.targets.tolist(), data.factors["topic"].tolist()):
        words = set(words_of(text))
        assert words & told[data.classes[target]] and not words & told[data.classes[1 - target]], text
        assert words & lexicon.TOPICS[world.topics[topic]].words(), text


def test_casual_speech_contracts_and_formal_speech_does_not():
    said = {r: " ".join(Language(registers=(r,)).sample(2000, seed=1).inputs).lower() for r in lexicon.REGISTERS}
    share = {r: len(re.findall(r"n't|'s|'re|'m|gonna", text)) / len(text.split()) for r, text in said.items()}
    assert share["casual"] > 0.02 and share["plain"] == share["formal"] == 0
    passive = {r: len(re.findall(r"\bby the\b|been", text)) / len(text.split()) for r, text in said.items()}
    assert passive["formal"] > 3 * passive["plain"]
    assert "purchased" in said["formal"] and "bought" in said["plain"] and "grabbed" in said["casual"]
    assert not re.search(r"\b(?:bought|found|newspapers?)\b", said["formal"])


def test_asides_and_opinions_are_shares_of_sentences():
    everyday = (
        lexicon.EVERYDAY.words()
        - set(lexicon.PEOPLE_ADJECTIVES)
        - {w for t in lexicon.TOPICS.values() for w in t.words()}
    )

    def share_of_asides(world):
        data = world.sample(2000, seed=1)
        sentences = [s for text in data.inputs for s in re.split(r"(?<=[.!?]) ", text)]
        return sum(bool(set(words_of(s)) & everyday) for s in sentences) / len(sentences)

    world = Language(sentences=10, opinions=0.0, registers=("plain",))
    assert share_of_asides(world.but(asides=0.0)) == 0
    assert share_of_asides(world.but(asides=1.0)) == pytest.approx(0.9, abs=0.05)
    assert share_of_asides(world.but(asides=1.0, opinions=1.0)) == 0


def test_what_is_known_of_words():
    assert ("net", "nets") in ENGLISH.pairs() and ("sing", "sang") in ENGLISH.pairs("past")
    assert ("sister", "brother") in ENGLISH.pairs("gender") and ("bake", "baking") in ENGLISH.pairs("ing")
    assert len(ENGLISH.pairs()) > 150 and len(ENGLISH.pairs("past")) > 130
    dictionary = ENGLISH.dictionary()
    for kind in ("plural", "past", "third", "ing", "gender"):
        assert INVENTED.pairs(kind) == tuple((dictionary[a], dictionary[b]) for a, b in ENGLISH.pairs(kind))
    assert sum(b.endswith("oni") for _, b in INVENTED.pairs()) > 0.9 * len(INVENTED.pairs())
    of_topic = [set(ENGLISH.vocabulary(topic)) for topic in lexicon.TOPICS]
    assert all(len(words) > 60 for words in of_topic)
    assert sum(map(len, of_topic)) == len(set.union(*of_topic))


def test_the_device_is_that_of_the_numbers():
    data = Language().sample(5, device="cpu")
    assert data.device.type == "cpu" and isinstance(data.inputs, list) and data.targets.dtype == torch.long


def test_bad_knobs_get_a_sentence():
    for wrong, text in (
        (lambda: Language(label="topics"), "nearest: 'topic'"),
        (lambda: Language(language="englsh"), "nearest: 'english'"),
        (lambda: Language(topics=("wether",)), "nearest: 'weather'"),
        (lambda: Language(registers=("formel",)), "nearest: 'formal'"),
        (lambda: Language(sentiments=("good", "bad")), "'good' is unknown"),
        (lambda: Language(topics=()), "at least one"),
        (lambda: Language(topics=("sea", "sea")), "each name once"),
        (lambda: Language(dialect=1.5), "from 0 to 1 is accepted; nearest: 1"),
        (lambda: Language(negation=-0.1), "from 0 to 1 is accepted; nearest: 0"),
        (lambda: Language(asides="some"), "from 0 to 1"),
        (lambda: Language(opinions=float("nan")), "from 0 to 1"),
        (lambda: Language(weights=(1.0,)), "8 classes"),
        (lambda: Language(label="sentiment", weights=(0, 0)), "not all 0"),
        (lambda: Language(sentences=0), "from 1 on, or the least and the most as a tuple, is accepted; nearest: 1"),
        (lambda: Language(sentences=(5, 2)), r"nearest: \(2, 5\)"),
        (lambda: Language(sentences=1.5), "a whole number"),
        (lambda: Language().sample(0), "from 1 on"),
        (lambda: Language().vocabulary("seas"), "nearest: 'sea'"),
        (lambda: Language().pairs("plurals"), "nearest: 'plural'"),
    ):
        with pytest.raises(ValueError, match=text):
            wrong()
    with pytest.raises(TypeError, match=r"nearest: \('sea',\)"):
        Language(topics="sea")
